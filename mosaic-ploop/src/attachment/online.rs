// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done to a disk while it is attached: its server does it, and nobody else.

use mosaic_core::loopdev::LoopDevice;
use mosaic_core::{Error, ErrorKind, Host, Result};
use rustix::fs::OFlags;

use super::{Attached, Place};
use crate::format::guid::Guid;
use crate::format::units::{SECTOR, Sectors};
use crate::server::control::{self, Command};

/// How often another server is asked when one was killed while it worked.
const ATTEMPTS: usize = 4;

impl Attached {
    /// Freezes what has been written as a snapshot, and goes on in a new top without losing a write.
    /// A top into which nothing was written since the last snapshot makes none. Which one it is.
    ///
    /// # Errors
    /// `Unsupported` for a raw base without a server, and as [`Disk::snapshot`]; `Io` if there is no
    /// server any more.
    ///
    /// [`Disk::snapshot`]: crate::format::disk::Disk::snapshot
    pub fn freeze(&self, host: &Host, place: &Place<'_>, guid: Guid) -> Result<Guid> {
        match self.ask(host, place, Command::Freeze(guid)) {
            Ok(name) => name.parse().map_err(|_| nonsense(&name)),
            // A server that was killed had done it already.
            Err((error, true)) if error.kind() == ErrorKind::Exists => Ok(guid),
            Err((error, _)) => Err(error),
        }
    }

    /// Makes the disk larger, and the device with it. The size that it has already is fine.
    ///
    /// Order: the server grows the top (commit), and the partition if it shows one, or we the raw file,
    /// as [`Disk::grow`] does it; LOOP_SET_CAPACITY. Killed in between, the next call does the rest.
    ///
    /// # Errors
    /// `Unsupported` for a partition with another one behind it; `Busy` if it is gone; as
    /// [`Disk::grow`]; the kernel's.
    ///
    /// [`Disk::grow`]: crate::format::disk::Disk::grow
    pub fn grow(&self, host: &Host, place: &Place<'_>, size: Sectors) -> Result<()> {
        let Some(device) = self.open_same(OFlags::empty())? else {
            return Err(Error::new(ErrorKind::Busy, "it has just been detached"));
        };
        let bytes = match self.is_raw {
            true => grow_raw(place, &device, size)?,
            false => {
                let answer = self.ask(host, place, Command::Grow(size));
                let answer = answer.map_err(|(error, _)| error)?;
                answer.parse().map_err(|_| nonsense(&answer))?
            }
        };
        grow_device(&device, bytes)
    }

    /// Whether the server says that the disk is not written any more, since something has failed for
    /// good.
    ///
    /// # Errors
    /// Why not all can be made durable of one that is written on; as for every question.
    pub(super) fn is_broken(&self, host: &Host, place: &Place<'_>) -> Result<bool> {
        let answer = self.ask(host, place, Command::IsBroken);
        let answer = answer.map_err(|(error, _)| error)?;
        Ok(answer == control::YES)
    }

    /// Asks the server; with an error comes whether an earlier server was killed over it.
    pub(super) fn ask(
        &self,
        host: &Host,
        place: &Place<'_>,
        command: Command,
    ) -> Result<String, (Error, bool)> {
        if self.is_raw {
            let why = "it is a raw image, attached without a server";
            return Err((Error::new(ErrorKind::Unsupported, why), false));
        }
        let private = place.private().map_err(|error| (error, false))?;
        for attempt in 0..ATTEMPTS {
            let again = |error| (error, attempt != 0);
            let Some(private) = &private else { break };
            let Some(server) = control::call(private, &self.id.socket()).map_err(again)? else {
                break;
            };
            if let Some(answer) = control::ask(host, &server, self.id, command).map_err(again)? {
                return Ok(answer);
            }
        }
        // One that has ended let go of its locks.
        let why = match self
            .is_served_still(place)
            .map_err(|error| (error, false))?
        {
            true => "its block server cannot be called, for its socket is gone; detach it",
            false => "its block server has been killed; detach it, the next attach repairs it",
        };
        Err((Error::new(ErrorKind::Io, why), false))
    }
}

/// Makes a raw file longer that a loop device shows; how long it is then.
fn grow_raw(place: &Place<'_>, device: &LoopDevice, size: Sectors) -> Result<u64> {
    let mut disk = place.disk()?;
    disk.settle()?;
    // The size that the descriptor has is rounded up; what the device has is there.
    let is_done = disk.descriptor().size() == size && device.size()? == size.bytes();
    if !is_done {
        disk.grow(size)?;
    }
    Ok(disk.descriptor().size().bytes())
}

/// Gives the device the size that the disk has, and looks whether it took it.
fn grow_device(device: &LoopDevice, bytes: u64) -> Result<()> {
    device.take_size()?;
    let size = device.size()?;
    if size >= bytes / SECTOR * SECTOR {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "the disk has {bytes} bytes now, but the kernel still shows {size} at {}; detach and \
             attach it",
            device.path().display()
        ),
    ))
}

fn nonsense(answer: &str) -> Error {
    Error::new(
        ErrorKind::Io,
        format!("the block server says {answer:?}, which is no answer"),
    )
}
