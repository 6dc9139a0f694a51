// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a bench runs on: a mosaic `bench` at a location of its own, and the programs.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mosaic_tests::{MountedFs, loop_devices_beneath};

use super::{Case, SIDES};
use crate::cargo;

/// Udev's socket. Where there is none, libdevmapper has to make nodes itself.
const UDEV: &str = "/run/udev/control";

/// Where the volumes are.
pub trait Place: fmt::Debug {
    /// A folder beside them, for the config and mountpoints.
    ///
    /// # Errors
    /// It cannot be made.
    fn folder(&self) -> Result<PathBuf>;

    /// What stands in the config file for it.
    fn config(&self) -> String;

    /// The program that is the floor.
    fn floor(&self) -> &'static str;

    /// What a word of a side's line stands for; `None`: for itself.
    ///
    /// # Errors
    /// What it stands for is not there.
    fn word(&self, word: &str, side: usize) -> Result<Option<OsString>>;
}

/// A place, and a config for it.
#[derive(Debug)]
pub struct Ground {
    folder: PathBuf,
    programs: PathBuf,
    // Goes last.
    place: Box<dyn Place>,
}

impl Ground {
    /// One on a file system of a size in bytes; `config` is what stands in the config file besides the
    /// location.
    ///
    /// # Errors
    /// What kept it from being made.
    pub fn new(fs: &str, size: u64, config: &str) -> Result<Self> {
        Self::on(Box::new(MountedFs::with_size(fs, size)?), config)
    }

    /// One on another place.
    ///
    /// # Errors
    /// What kept it from being made.
    pub fn on(place: Box<dyn Place>, config: &str) -> Result<Self> {
        let ground = Self {
            folder: place.folder()?,
            programs: cargo::target().join("release"),
            place,
        };
        for at in ["A0", "A1", "A2"] {
            std::fs::create_dir(ground.folder.join(at))?;
        }
        let config = format!("{}{config}", ground.place.config());
        std::fs::write(ground.folder.join("bench.mos"), config)?;
        Ok(ground)
    }

    /// How long a side takes for a case; `None`: it has no way to do that.
    ///
    /// # Errors
    /// It failed.
    pub fn time(&self, case: &Case, side: usize) -> Result<Option<Duration>> {
        let line = case.lines[side];
        let time = (!line.is_empty()).then(|| self.run(side, line));
        time.transpose()
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
            1 => Command::new(self.programs.join(self.place.floor())),
            _ => Command::new(words.next().context("no tool")??),
        };
        if !Path::new(UDEV).exists() {
            command.env("DM_DISABLE_UDEV", "1");
        }
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

    fn word(&self, word: &str, side: usize) -> Result<OsString> {
        if word == "A" {
            return Ok(self.folder.join(format!("A{side}")).into());
        }
        let meant = self.place.word(word, side)?;
        Ok(meant.unwrap_or_else(|| word.into()))
    }
}

impl Place for MountedFs {
    fn folder(&self) -> Result<PathBuf> {
        self.folder_beside("bench")
    }

    fn config(&self) -> String {
        format!("location: {}\n", self.path().display())
    }

    fn floor(&self) -> &'static str {
        "floor"
    }

    /// `L` is the location, `D/NAME` the loop device that shows the file NAME in it.
    fn word(&self, word: &str, _: usize) -> Result<Option<OsString>> {
        if let Some(name) = word.strip_prefix("D/") {
            let devices = loop_devices_beneath(&self.path().join(name));
            let device = devices.into_iter().next();
            return Ok(Some(device.context("no device on the image")?.into()));
        }
        Ok(match word.strip_prefix("L") {
            Some("") => Some(self.path().into()),
            Some(name) if name.starts_with('/') => Some(self.path().join(&name[1..]).into()),
            _ => None,
        })
    }
}
