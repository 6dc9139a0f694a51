// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs commands before the reader's eyes: each one as it would be typed, then its output.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::interrupt::Interrupt;

/// One thing to show.
#[derive(Debug)]
pub struct Step {
    /// What the reader is about to see.
    pub why: &'static str,
    /// A line of shell.
    pub line: &'static str,
    /// The exit status that shows it.
    pub status: i32,
}

/// Where steps are shown, and with which `moctl`.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
    programs: PathBuf,
    interrupt: Interrupt,
}

impl Stage {
    /// A stage in a folder that also is the config folder; `programs` has `moctl` and the drivers.
    pub fn new(folder: &Path, programs: &Path, interrupt: Interrupt) -> Self {
        Self {
            folder: folder.to_owned(),
            programs: programs.to_owned(),
            interrupt,
        }
    }

    /// Shows the steps one by one.
    ///
    /// # Errors
    /// A step ended with another status than it should; Ctrl-C.
    pub fn show(&self, steps: &[Step]) -> Result<()> {
        for step in steps {
            self.step(step)?;
        }
        Ok(())
    }

    fn step(&self, step: &Step) -> Result<()> {
        if !step.why.is_empty() {
            println!("\n# {}", step.why);
        }
        println!("$ {}", step.line);
        let path = std::env::var("PATH").unwrap_or_default();
        let status = Command::new("/bin/sh")
            .args(["-c", &format!("exec 2>&1\n{}", step.line)])
            .current_dir(&self.folder)
            .env(
                "PATH",
                format!("{}:{path}:/usr/sbin:/sbin", self.programs.display()),
            )
            .env("MOSAIC_CONFIG_DIR", &self.folder)
            .stdin(Stdio::null())
            .status()
            .context("cannot run a shell")?;
        if self.interrupt.is_raised() {
            bail!("interrupted");
        }
        ensure!(
            status.code() == Some(step.status),
            "`{}` ended with {status}, expected exit status {}",
            step.line,
            step.status
        );
        if step.status != 0 {
            println!("(exit status {})", step.status);
        }
        Ok(())
    }
}
