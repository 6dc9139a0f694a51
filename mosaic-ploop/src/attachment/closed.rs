// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of a server: it closes the disk after its device has gone, and is waited for.

use std::time::{Duration, Instant};

use mosaic_core::{Error, ErrorKind, Host, Result};

use super::{Place, find};
use crate::server::{control, handover};

/// How long whoever only looks waits for a server.
const GLANCE: Duration = Duration::from_secs(5);
/// How long one is waited for by whoever wants the disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a server whose disk is not attached any more has closed it: after the umount of a
/// device that went by itself. Whether it has; `false`, at once, while the disk is attached.
///
/// For who keeps all others from attaching the disk: what a killed server left is taken away.
///
/// # Errors
/// `Interrupted`; `Busy` if it does not end; the kernel's.
pub fn await_closed(host: &Host, place: &Place<'_>) -> Result<bool> {
    let is_closed = await_end(host, place, PATIENCE)?;
    if is_closed {
        forget(place)?;
    }
    Ok(is_closed)
}

/// The same for who only looks: somebody else may be about to attach the disk.
///
/// # Errors
/// As [`await_closed`].
pub fn look_closed(host: &Host, place: &Place<'_>) -> Result<bool> {
    await_end(host, place, GLANCE)
}

/// The same, however long it takes: for who has just taken the device away.
pub(super) fn await_last(host: &Host, place: &Place<'_>) -> Result<()> {
    await_end(host, place, Duration::MAX)?;
    forget(place)
}

/// Whether the last server of a disk that is not attached any more closed it as it should.
///
/// # Errors
/// `Io` if the disk's top is still marked in use; as for opening it.
pub fn was_closed(place: &Place<'_>) -> Result<()> {
    match place.disk()?.is_closed()? {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Io,
            "it is detached, but its block server could not close the disk, so what was written last \
             may be lost; the next attach repairs it",
        )),
    }
}

/// What is said of a disk that was detached after writing to it had failed for good. The disk is not
/// looked at: the file system that it is on may be what failed.
pub(super) fn lost() -> Error {
    let why = "it is detached, but its location failed to make something durable that was written to \
               it, so what was written last may be lost; the next attach repairs it";
    Error::new(ErrorKind::Io, why)
}

fn forget(place: &Place<'_>) -> Result<()> {
    if let Some(private) = place.private()? {
        // Nobody listens there, so what stays says nothing.
        let _ = control::forget(&private, &place.id()?.socket());
    }
    Ok(())
}

fn await_end(host: &Host, place: &Place<'_>, patience: Duration) -> Result<bool> {
    let Some(private) = place.private()? else {
        return Ok(true);
    };
    let name = place.id()?.socket();
    let start = Instant::now();
    while let Some(server) = control::call(&private, &name)? {
        // A server that is told nothing says nothing, until it ends.
        while !handover::has_message(host, &server)? {
            if find(place)?.is_some() {
                return Ok(false);
            }
            refuse_after(start, patience)?;
        }
        refuse_after(start, patience)?;
        // Between its last word and its end.
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(true)
}

fn refuse_after(start: Instant, patience: Duration) -> Result<()> {
    if start.elapsed() <= patience {
        return Ok(());
    }
    let why = "in use: its block server has not ended yet";
    Err(Error::new(ErrorKind::Busy, why))
}
