// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real `moctl` with a config folder of its own and the drivers that were built beside it.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::built;
use crate::scratch::Scratch;

/// What a run of `moctl` ended with.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit status; -1 if a signal ended it.
    pub status: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// `moctl`, ready to run.
#[derive(Debug)]
pub struct Moctl {
    binary: PathBuf,
    drivers: PathBuf,
    user: Option<u32>,
    scratch: Scratch,
}

impl Moctl {
    /// Builds `moctl` and the drivers where that was not done, and makes a config folder.
    ///
    /// # Errors
    /// What kept it from doing so.
    pub fn new() -> Result<Self> {
        let scratch = Scratch::new("config")?;
        Ok(Self {
            binary: built::built_program("moctl")?,
            drivers: built::target_folder()?,
            user: None,
            scratch,
        })
    }

    /// One that runs as another user, from copies that this user can read. Needs root.
    ///
    /// # Errors
    /// What kept it from being copied.
    pub fn as_user(user: u32) -> Result<Self> {
        let mut moctl = Self::new()?;
        let bin = moctl.scratch.folder("bin")?;
        let binary = bin.join("moctl");
        std::fs::copy(&moctl.binary, &binary)?;
        for entry in std::fs::read_dir(&moctl.drivers)?.flatten() {
            if entry.path().extension() == Some(OsStr::new("so")) {
                std::fs::copy(entry.path(), bin.join(entry.file_name()))?;
            }
        }
        for path in [moctl.scratch.path(), &bin] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
        }
        chown(moctl.scratch.path(), Some(user), Some(user)).context("cannot chown")?;
        moctl.binary = binary;
        moctl.drivers = bin;
        moctl.user = Some(user);
        Ok(moctl)
    }

    /// The config folder, which also has room for mountpoints and locations.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Makes a folder in it, owned by the user that `moctl` runs as.
    ///
    /// # Errors
    /// What kept it from being made.
    pub fn make_folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.scratch.folder(name)?;
        if let Some(user) = self.user {
            chown(&path, Some(user), Some(user))?;
        }
        Ok(path)
    }

    /// Writes `NAME.mos`.
    ///
    /// # Errors
    /// What kept it from being written.
    pub fn config(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.scratch.path().join(format!("{name}.mos"));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Writes `NAME.mos` for a mosaic of one type at one location; `more` are further lines.
    ///
    /// # Errors
    /// What kept it from being written.
    pub fn mosaic(&self, name: &str, driver: &str, location: &Path, more: &str) -> Result<PathBuf> {
        let location = serde_json::to_string(&location.to_string_lossy())?;
        self.config(
            name,
            &format!("type: {driver}\nlocation: {location}\n{more}"),
        )
    }

    /// The command, for what this fixture has no method for.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(args)
            .current_dir(self.scratch.path())
            .env("MOSAIC_CONFIG_DIR", self.scratch.path())
            .env("MOSAIC_DRIVER_PATH", &self.drivers)
            .env("NO_COLOR", "1")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("COLUMNS")
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs it.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        let output = self.command(args).output();
        output.expect("moctl was built and can be started").into()
    }

    /// Runs it and gives its stdout.
    ///
    /// # Panics
    /// Its exit status is not 0.
    #[track_caller]
    pub fn ok<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        self.expect(0, args).stdout
    }

    /// Runs it.
    ///
    /// # Panics
    /// Its exit status is another one.
    #[track_caller]
    pub fn expect<S: AsRef<OsStr>>(&self, status: i32, args: &[S]) -> Output {
        let output = self.run(args);
        let words: Vec<OsString> = args.iter().map(|a| a.as_ref().to_owned()).collect();
        assert_eq!(
            output.status, status,
            "moctl {words:?}\nstdout: {}\nstderr: {}",
            output.stdout, output.stderr
        );
        output
    }

    /// Runs it with `--json` and gives the object.
    ///
    /// # Panics
    /// Its exit status is not 0, or stdout is not one JSON object of version 1.
    #[track_caller]
    pub fn json<S: AsRef<OsStr>>(&self, args: &[S]) -> serde_json::Value {
        let mut words: Vec<OsString> = vec!["--json".into()];
        words.extend(args.iter().map(|a| a.as_ref().to_owned()));
        let text = self.ok(&words);
        let value: serde_json::Value = match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(error) => panic!("moctl {words:?} wrote no JSON ({error}): {text}"),
        };
        assert_eq!(value["version"], 1, "moctl {words:?}: {text}");
        value
    }

    /// Whether the mosaic says that it has the volume.
    ///
    /// # Panics
    /// It does not answer.
    #[track_caller]
    pub fn have(&self, mosaic: &str, volume: &str) -> bool {
        let answer = self.ok(&[mosaic, "have", volume]);
        match answer.trim_end() {
            yes if yes.ends_with("exists: yes") => true,
            no if no.ends_with("exists: no") => false,
            other => panic!("have {volume}: {other}"),
        }
    }
}
