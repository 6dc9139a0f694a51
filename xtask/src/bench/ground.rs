// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a bench runs on: a mosaic `bench` at a location of its own, and the programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mosaic_tests::{MountedFs, loop_devices_beneath};

use super::{Case, SIDES};
use crate::cargo;

/// A file system, mounted as the location, and a config for it.
#[derive(Debug)]
pub struct Ground {
    location: PathBuf,
    folder: PathBuf,
    programs: PathBuf,
    // Goes last.
    _fs: MountedFs,
}

impl Ground {
    /// Makes one of a file system and a size in bytes; `config` is what stands in the config file
    /// besides the location.
    ///
    /// # Errors
    /// What kept it from being made.
    pub fn new(fs: &str, size: u64, config: &str) -> Result<Self> {
        let fs = MountedFs::with_size(fs, size)?;
        let folder = fs.folder_beside("bench")?;
        let ground = Self {
            location: fs.path().to_owned(),
            programs: cargo::target().join("release"),
            folder,
            _fs: fs,
        };
        for at in ["A0", "A1", "A2"] {
            std::fs::create_dir(ground.folder.join(at))?;
        }
        let config = format!("location: {}\n{config}", ground.location.display());
        std::fs::write(ground.folder.join("bench.mos"), config)?;
        Ok(ground)
    }

    /// How long a side takes for a case.
    ///
    /// # Errors
    /// It failed.
    pub fn time(&self, case: &Case, side: usize) -> Result<Duration> {
        self.run(side, case.lines[side])
            .with_context(|| format!("{} by {}", case.verb, SIDES[side]))
    }

    /// Runs a side's line.
    ///
    /// # Errors
    /// It failed.
    pub fn run(&self, side: usize, line: &str) -> Result<Duration> {
        let programs = line.split(" && ");
        programs.map(|line| self.run_one(side, line)).sum()
    }

    fn run_one(&self, side: usize, line: &str) -> Result<Duration> {
        let mut words = line.split(' ').map(|word| self.word(word, side));
        let mut command = match side {
            0 => {
                let mut moctl = Command::new(self.programs.join("moctl"));
                moctl.arg("bench").env("MOSAIC_CONFIG_DIR", &self.folder);
                moctl
            }
            1 => Command::new(self.programs.join("floor")),
            _ => Command::new(words.next().context("no tool")??),
        };
        let args = words.collect::<Result<Vec<_>>>()?;
        command.args(args).stdin(Stdio::null());
        let start = Instant::now();
        let output = command.output().context("cannot be run")?;
        let time = start.elapsed();
        ensure!(
            output.status.success(),
            "{line} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(time)
    }

    fn word(&self, word: &str, side: usize) -> Result<PathBuf> {
        if word == "A" {
            return Ok(self.folder.join(format!("A{side}")));
        }
        if let Some(name) = word.strip_prefix("D/") {
            let devices = loop_devices_beneath(&self.location.join(name));
            return devices.into_iter().next().context("no device on the image");
        }
        Ok(match word.strip_prefix("L") {
            Some("") => self.location.clone(),
            Some(name) if name.starts_with('/') => self.location.join(&name[1..]),
            _ => Path::new(word).to_owned(),
        })
    }
}
