// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a disk has a server: one that answers, or one that holds its locks.
//!
//! That nobody answers proves little. The socket is in a folder that may be another's, who can remove
//! it, or it is looked for in another folder than the server's. What proves that there is none is
//! that its locks are free: it has them as long as it is.

use std::time::{Duration, Instant};

use mosaic_core::{Error, ErrorKind, Host, Result};

use super::{Attached, Place};
use crate::format::storage::{Access, Folder};
use crate::lock_file::{LockFile, Purpose};
use crate::locks::{Hold, ImageLock};
use crate::server::control;

/// How long one that was killed may have its locks.
const DYING: Duration = Duration::from_secs(1);
/// How long the end of one is waited for that cannot be called.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

impl Attached {
    /// Whether there is somebody to answer when it is read or written.
    ///
    /// # Errors
    /// `Permission`; the kernel's.
    pub fn is_served(&self, place: &Place<'_>) -> Result<bool> {
        Ok(self.is_raw || self.is_called(place)? || is_locked(place))
    }

    /// Whether there is a server that can be called.
    pub(super) fn is_called(&self, place: &Place<'_>) -> Result<bool> {
        Ok(match place.private()? {
            Some(private) => control::call(&private, &self.id.socket())?.is_some(),
            None => false,
        })
    }

    /// As [`Attached::is_served`], where one that was just killed is none.
    pub(super) fn is_served_still(&self, place: &Place<'_>) -> Result<bool> {
        let start = Instant::now();
        while self.is_served(place)? {
            if self.is_raw || self.is_called(place)? || start.elapsed() > DYING {
                return Ok(true);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(false)
    }
}

/// Waits until nobody has the locks of a server any more that could not be called.
pub(super) fn await_unlocked(host: &Host, place: &Place<'_>) -> Result<()> {
    let start = Instant::now();
    while is_locked(place) {
        host.check_cancelled()?;
        if start.elapsed() > PATIENCE {
            return Err(Error::new(
                ErrorKind::Busy,
                "in use: its block server has not ended yet",
            ));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Whether somebody has one of the locks that a server has: that of libploop up to 7, or those on the
/// top. What cannot be looked at is not locked.
fn is_locked(place: &Place<'_>) -> bool {
    let busy = || Err(Error::new(ErrorKind::Busy, "in use: it is locked"));
    let lock = LockFile::take(place.folder, Purpose::Look, busy);
    is_busy(lock) || is_busy(ask_top(place))
}

fn ask_top(place: &Place<'_>) -> Result<()> {
    let disk = place.disk()?;
    let descriptor = disk.descriptor();
    let Some(name) = descriptor.file(descriptor.top()) else {
        return Ok(());
    };
    let file = disk.folder().open(name, Access::Read);
    let file = file.map_err(|e| Error::io(e, format!("cannot open {name:?}")))?;
    ImageLock::ask(&file.into(), name, &Hold::ALONE)
}

fn is_busy<T>(done: Result<T>) -> bool {
    done.is_err_and(|error| error.kind() == ErrorKind::Busy)
}
