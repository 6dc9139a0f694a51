// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting a program that goes on by itself: a server that lives as long as what it serves.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::ioctl::spawn::{self, Parting};

/// Runs a program that starts a server and ends at once, so that the server is nobody's child.
///
/// `stdin` is its standard input, such as a socket over which it is told what to serve; of our other
/// descriptors it gets none.
///
/// # Errors
/// `Io` if it cannot be run, or does not end well.
pub fn launch_server(program: &Path, stdin: OwnedFd) -> Result<()> {
    let mut command = std::process::Command::new(program);
    command
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    spawn::isolate(&mut command, Parting::GoesOn);
    let failed = || format!("cannot run {program:?}");
    let status = command.status().context(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Io,
        format!("{program:?} did not start a server: {status}"),
    ))
}
