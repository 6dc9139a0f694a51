// SPDX-License-Identifier: MIT OR Apache-2.0
//! The terminal as it was before somebody else used it.

use std::fs::File;

use anyhow::{Context, Result};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

/// Restores it when dropped.
#[derive(Debug)]
pub struct Terminal {
    device: File,
    kept: Termios,
}

impl Terminal {
    /// The terminal of this process.
    ///
    /// # Errors
    /// It has none.
    pub fn keep() -> Result<Self> {
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .context("a shell needs a terminal")?;
        let kept = tcgetattr(&device)?;
        Ok(Self { device, kept })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may be gone.
        let _ = tcsetattr(&self.device, SetArg::TCSANOW, &self.kept);
    }
}
