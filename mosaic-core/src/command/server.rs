// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting a program that goes on by itself: a server that lives as long as what it serves.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use super::parting::Parting;
use super::running::{null, unclear};
use super::waiter;
use super::{fd_path, passed_by};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host_services::Host;
use crate::ioctl::spawn::{Image, Report};

/// Runs an open program that starts a server and ends at once, so that the server is nobody's
/// child.
///
/// `name` is where it was opened, for its arguments and messages. `stdin` is its standard input, such
/// as a socket over which it is told what to serve; of our other descriptors it gets the program's alone.
///
/// # Errors
/// `Io` if it cannot be run, or does not end well; `Unsupported` if this process makes its children in
/// another pid namespace than its own; `Interrupted`.
pub fn launch_server(
    host: &Host,
    program: BorrowedFd<'_>,
    name: &Path,
    stdin: OwnedFd,
) -> Result<()> {
    let failed = || format!("cannot run {name:?}");
    let text = |path: &Path| {
        let text = CString::new(path.as_os_str().as_bytes());
        text.map_err(std::io::Error::from).context(failed)
    };
    let path = fd_path(program);
    let image = Image {
        arguments: vec![text(name)?],
        path: text(&path)?,
        environment: Vec::new(),
        descriptors: passed_by(path.as_os_str()).into_iter().collect(),
    };
    let null = null().context(failed)?;
    let streams = [stdin.as_fd(), null.as_fd(), null.as_fd()];
    let shown = format!("{name:?}");
    let run = |memory| {
        let mut waiter = waiter::start(&image, streams, Parting::Leaves, &shown, memory)?;
        while !waiter::ends_soon(&waiter).context(failed)? {
            if host.is_cancelled() {
                waiter::stop(&mut waiter);
                let why = format!("{shown} was stopped: interrupted");
                return Err(Error::new(ErrorKind::Interrupted, why));
            }
        }
        match waiter.reap() {
            Some(Report::Ended(status)) => Ok(Some(ExitStatus::from_raw(status))),
            Some(Report::NotRun(errno)) => Err(errno).context(failed),
            Some(Report::Elsewhere) => Err(waiter::elsewhere(&shown)),
            Some(Report::NotBegun) => Ok(None),
            None => Err(unclear(&name.to_string_lossy(), "it may still be at work")),
        }
    };
    let status = waiter::twice_at_most(host, &shown, run)?;
    if status.success() {
        return Ok(());
    }
    let why = format!("{name:?} did not start a server: {status}");
    Err(Error::new(ErrorKind::Io, why))
}
