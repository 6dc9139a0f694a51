// SPDX-License-Identifier: MIT OR Apache-2.0
//! A udev daemon for the time of a test, in the virtual machine, which has none else.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::await_condition::eventually;
use crate::requires::{find_program, is_in_vm};
use crate::shell::run;
use crate::vm::udev::DAEMON;

/// A running daemon, which ends when this is dropped.
#[derive(Debug)]
pub struct Udev(Child);

impl Udev {
    /// Whether it can be started: the machine has it where this one has it or could download it.
    #[must_use]
    pub fn is_installed() -> bool {
        Path::new(DAEMON).exists() && find_program("udevadm").is_some()
    }

    /// Starts it, and has it look at all block devices that are there.
    ///
    /// # Errors
    /// It cannot be started, or does not answer; this is not the virtual machine, so that there may be
    /// devices that are not the tests'.
    pub fn start() -> Result<Self> {
        ensure!(is_in_vm(), "no udev is started on a machine that is in use");
        let mut command = Command::new(DAEMON);
        command.stdin(Stdio::null());
        // It talks of each group that the machine lacks.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = Self(command.spawn().context("cannot start udev")?);
        let answers = || run("udevadm", &["control", "--ping"]).is_ok();
        ensure!(eventually(answers), "udev does not answer");
        run(
            "udevadm",
            &["trigger", "--action=add", "--subsystem-match=block"],
        )?;
        daemon.settle()?;
        Ok(daemon)
    }

    /// Waits until it has nothing to do.
    ///
    /// # Errors
    /// There is no end of that.
    pub fn settle(&self) -> Result<()> {
        run("udevadm", &["settle", "--timeout=60"])
    }
}

impl Drop for Udev {
    fn drop(&mut self) {
        let _ = run("udevadm", &["control", "--exit"]);
        let _ = (self.0.kill(), self.0.wait());
        // Others take this for a sign that it is there.
        let _ = std::fs::remove_dir_all(Path::new("/run/udev"));
    }
}
