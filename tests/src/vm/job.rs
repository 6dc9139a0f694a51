// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a machine is to do, as the script that `init` runs.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use super::disk;
use super::payload::Payload;
use super::qmp::quoted;

/// A program, or a piece of shell, to be run as root in a fresh machine.
#[derive(Debug, Clone)]
pub struct Job {
    words: Vec<OsString>,
    folder: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

/// Variables that go in: our own, Rust's, cargo's. Those that name files name the same ones there.
const PREFIXES: [&str; 3] = ["MOSAIC_", "RUST_", "CARGO_"];
/// Built has everything been that is there, and there is no cargo to do so.
const SET: [(&str, &str); 2] = [("MOSAIC_VM", "1"), ("MOSAIC_TEST_BUILT", "1")];

impl Job {
    /// Runs a program of the payload or of the machine.
    pub fn program<S: AsRef<OsStr>>(program: &Path, args: &[S]) -> Self {
        let mut words = vec![program.as_os_str().to_owned()];
        words.extend(args.iter().map(|word| word.as_ref().to_owned()));
        Self {
            words,
            folder: PathBuf::from("/tmp"),
            environment: Vec::new(),
        }
    }

    /// Runs lines of shell, to the first that fails.
    pub fn shell(script: &str) -> Self {
        Self::program(Path::new("/bin/sh"), &["-e", "-c", script])
    }

    /// An interactive shell on the console, which becomes its controlling terminal by being opened:
    /// a job is the leader of its session.
    pub fn interactive() -> Self {
        let script = "exec 0<>/dev/ttyS0 1>&0 2>&0; exec bash -i || exec sh -i";
        Self::program(Path::new("/bin/sh"), &["-c", script])
    }

    /// Starts it in this folder, which has to be there.
    #[must_use]
    pub fn in_folder(mut self, folder: &Path) -> Self {
        folder.clone_into(&mut self.folder);
        self
    }

    /// Gives it a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Gives it those variables of this process that tests and Rust look at.
    #[must_use]
    pub fn with_own_environment(mut self) -> Self {
        let ours = std::env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy();
            // Some of cargo's are none that a shell could set.
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        });
        self.environment.extend(ours);
        self
    }

    /// Writes the disk that `init` reads the script from.
    pub(super) fn write(&self, disk: &Path, payload: Option<&Payload>) -> Result<()> {
        let script = self.script(payload);
        ensure!(
            script.len() as u64 <= disk::JOB_SIZE,
            "the job's words are too many: {} of {} bytes",
            script.len(),
            disk::JOB_SIZE
        );
        let file = File::create_new(disk)?;
        io::Write::write_all(&mut &file, script.as_bytes())?;
        Ok(file.set_len(disk::JOB_SIZE)?)
    }

    fn script(&self, payload: Option<&Payload>) -> String {
        let mut text = String::new();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut line = |line: String| {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{line}");
        };
        line("set -e".into());
        let now = now.unwrap_or_default().as_secs();
        line(format!("date -s @{now} >/dev/null"));
        line("mount -t xfs -o noatime /dev/vm/scratch /tmp".into());
        line("chmod 1777 /tmp".into());
        if let Some(payload) = payload {
            payload.mount_lines().into_iter().for_each(&mut line);
        }
        for (name, value) in &self.environment {
            line(format!(
                "export {}={}",
                name.to_string_lossy(),
                quoted(value)
            ));
        }
        for (name, value) in SET {
            line(format!("export {name}={value}"));
        }
        line(format!("cd {}", quoted(&self.folder)));
        let words: Vec<String> = self.words.iter().map(quoted).collect();
        line(format!("exec {}", words.join(" ")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_folder_and_variables_are_in_the_script() {
        let job = Job::program(Path::new("/a b/test"), &["--exact", "it's"]);
        let job = job.in_folder(Path::new("/a b")).env("MOSAIC_KEEP", "$x");
        let script = job.script(None);
        for line in [
            "export MOSAIC_KEEP='$x'",
            "export MOSAIC_VM=1",
            "cd '/a b'",
            r"exec '/a b/test' '--exact' 'it'\''s'",
        ] {
            assert!(script.lines().any(|l| l == line), "no {line} in {script}");
        }
    }
}
