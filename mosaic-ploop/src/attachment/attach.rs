// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attach and detach.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use mosaic_core::busy;
use mosaic_core::loopdev::{self, Binding, LoopDevice, PASSING, Release};
use mosaic_core::{Error, ErrorKind, Host, Result};
use rustix::fs::{OFlags, fsync};
use rustix::io::Errno;

use super::alive::await_unlocked;
use super::closed::{await_closed, await_last, lost, was_closed};
use super::{Attached, How, Place, VolumeId, find, serve};
use crate::format::storage::Access;
use crate::fuse;
use crate::locks::{Hold, ImageLock};
use crate::server::Opening;
use crate::server::control::Command;

/// Shows the disk as a block device.
///
/// Steps: make sure that nothing shows it and no server is closing it; start a server, which locks
/// the images and takes away the mark of one that died; **commit**: one LOOP_CONFIGURE on the file
/// that it shows. Killed before the commit the server ends, after it the disk is attached. A raw
/// base that is alone is locked and bound itself.
///
/// # Errors
/// `Busy` with where it is attached or who uses it; as [`Disk::write`] for a disk that cannot be opened;
/// `Unsupported`, `Permission` without FUSE or loop devices; `Interrupted`; the kernel's.
///
/// [`Disk::write`]: crate::format::disk::Disk::write
pub fn attach(host: &Host, place: &Place<'_>, how: &How) -> Result<LoopDevice> {
    let id = place.id()?;
    if let Some(attached) = find(place)? {
        return Err(attached_at(&attached));
    }
    if !await_closed(host, place)? {
        return Err(Error::new(
            ErrorKind::Busy,
            "in use: it has just been attached",
        ));
    }
    // A partition is for a server to show: it grows while it is shown.
    let raw = match how.partition {
        Some(_) => None,
        None => raw_file(place, how.read_only)?,
    };
    let is_raw = raw.is_some();
    let started = match raw {
        Some(file) => Ok(file),
        None => start(host, place, id, how.opening()),
    };
    let bound = started.and_then(|file| bind(host, id, is_raw, &file, how));
    if bound.is_err() {
        // Whatever has to be said was said already.
        let _ = await_closed(host, place);
    }
    bound
}

/// Starts a server. One that only reads may have had no socket at which its end could be awaited: its
/// locks are waited for.
fn start(host: &Host, place: &Place<'_>, id: VolumeId, opening: Opening) -> Result<OwnedFd> {
    let start = Instant::now();
    loop {
        match serve::start(host, place, id, opening) {
            Err(error)
                if opening.read_only
                    && error.kind() == ErrorKind::Busy
                    && start.elapsed() < PASSING =>
            {
                host.check_cancelled()?;
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

fn bind(host: &Host, id: VolumeId, is_raw: bool, file: &OwnedFd, how: &How) -> Result<LoopDevice> {
    let tag = id.tag(is_raw);
    let binding = Binding {
        read_only: how.read_only,
        lifetime: how.lifetime,
        path: Path::new(&tag),
        window: None,
    };
    let device = LoopDevice::bind(file.as_fd(), &binding)?;
    host.debug(&format!("LOOP_CONFIGURE {:?} for {tag}", device.path()));
    Ok(device)
}

/// The only file of a disk that is a raw base and nothing else, locked.
fn raw_file(place: &Place<'_>, read_only: bool) -> Result<Option<OwnedFd>> {
    let disk = place.disk()?;
    // The loop device keeps the locks as long as it is bound to the descriptor that has them.
    let (access, hold) = match read_only {
        true => (Access::Read, Hold::READ_ALONE),
        false => (Access::Write, Hold::WRITE_ALONE),
    };
    let Some((name, file)) = disk.only_raw(access)? else {
        return Ok(None);
    };
    let lock = ImageLock::take(file.into(), name, &hold)?;
    // libploop may have made a snapshot of it, before it was locked: then it is not to be written.
    if !disk.begin_raw(access)? {
        let why = "in use: somebody has just changed it";
        return Err(Error::new(ErrorKind::Busy, why));
    }
    Ok(Some(lock.into_file()))
}

/// Whether what was written to a device is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durable {
    /// It is, or there is nobody who could say.
    All,
    /// Not all of it, and another try would not change that.
    NeverMore,
}

impl Attached {
    /// Takes the device away, and returns when the server has closed the disk.
    ///
    /// Order: open the device so that the kernel refuses if it is mounted or claimed, prove that it
    /// shows the disk; have all that was written to it made durable; **commit**: LOOP_CLR_FD by the
    /// only opener; wait for the server to end. Killed before the commit it is attached as before,
    /// after it the server ends by itself.
    ///
    /// # Errors
    /// `Busy` while somebody has it open; `NotFound` if it is gone; `NoSpace`, `Io` if something that
    /// was written is lost: it is attached as before then, or detached where the disk was not written any
    /// more, or its server could not close it: the message says which.
    /// Of a device whose server was killed nothing can be said, and it just goes. The kernel's.
    pub fn detach(&self, host: &Host, place: &Place<'_>) -> Result<()> {
        let is_served = self.is_served_still(place)?;
        if !is_served {
            // Also that of a mount: its umount may wait for it.
            self.end_unserved()?;
        }
        if self.autoclear {
            let mounted = attached_at(self);
            return Err(mounted.context("it is there for a mount; umount ends it"));
        }
        if is_served {
            self.await_answer(host, place)?;
        }
        let start = Instant::now();
        loop {
            match LoopDevice::open_best(self.number, OFlags::EXCL) {
                Err(Errno::BUSY) => self.refuse_mounted()?,
                Err(errno) => return Err(loopdev::cannot_open(self.number, errno)),
                Ok(device) => {
                    drop(device);
                    let Some(device) = self.open_same(OFlags::EXCL)? else {
                        return Err(Error::new(ErrorKind::NotFound, "it is not attached"));
                    };
                    let durable = match is_served {
                        true => self.sync(host, place, &device)?,
                        false => Durable::All,
                    };
                    host.debug(&format!("LOOP_CLR_FD {:?}", device.path()));
                    if device.release()? == Release::Gone {
                        drop(device);
                        await_last(host, place)?;
                        if is_served && !self.is_raw {
                            await_unlocked(host, place)?;
                        }
                        return match durable {
                            Durable::NeverMore => Err(lost()),
                            Durable::All if is_served && !self.read_only => was_closed(place),
                            Durable::All => Ok(()),
                        };
                    }
                }
            }
            if start.elapsed() > PASSING {
                return Err(attached_at(self));
            }
            host.check_cancelled()?;
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Makes durable what was written to the device, by whomever. A failure that nobody was told of
    /// yet is told here: the kernel keeps it until then, and tells it once.
    ///
    /// A disk that is not written any more cannot be written again: it is not kept for that.
    fn sync(&self, host: &Host, place: &Place<'_>, device: &LoopDevice) -> Result<Durable> {
        let Err(errno) = fsync(device) else {
            return Ok(Durable::All);
        };
        // Killed meanwhile: the device is of no use any more.
        if !self.is_served_still(place)? {
            return Ok(Durable::All);
        }
        let path = device.path();
        let path = path.display();
        let message = format!(
            "not all that was written to {path} is on the disk; it stays attached, so that it can be \
             written again: detach it another time, or losetup -d {path}"
        );
        if errno == Errno::IO {
            match self.is_broken(host, place) {
                Ok(true) => return Ok(Durable::NeverMore),
                // The loop device says the same of whatever its file says.
                Err(error) if error.kind() == ErrorKind::NoSpace => {
                    return Err(error.context(message));
                }
                Ok(false) | Err(_) => {}
            }
        }
        Err(Error::io(errno, message))
    }

    /// Waits until the server answers us: whoever waits for it in the kernel cannot be interrupted.
    fn await_answer(&self, host: &Host, place: &Place<'_>) -> Result<()> {
        // One that only reads may have no socket.
        if self.is_raw || self.read_only {
            return Ok(());
        }
        match self.ask(host, place, Command::Ping) {
            Err((error, _)) if error.kind() == ErrorKind::Interrupted => Err(error),
            // That it was killed is found out later.
            _ => Ok(()),
        }
    }

    /// Lets all go who wait for a server that is no more. The kernel has done that already, unless
    /// some program got a descriptor of the connection and has it still.
    fn end_unserved(&self) -> Result<()> {
        let Some(device) = self.open_same(OFlags::empty())? else {
            return Ok(());
        };
        if let Some(status) = device.status()? {
            fuse::control::abort(rustix::fs::minor(status.backing.device))?;
        }
        Ok(())
    }

    /// A mount stays; another claim may be gone in a moment.
    fn refuse_mounted(&self) -> Result<()> {
        if busy::mounts_of_device(&loopdev::path(self.number))?.is_empty() {
            return Ok(());
        }
        Err(attached_at(self))
    }
}

/// The refusal for a disk that a loop device shows: which, and where it is mounted.
pub fn attached_at(attached: &Attached) -> Error {
    let device = loopdev::path(attached.number);
    let mut line = format!("in use: attached at {}", device.display());
    // The device is reason enough; where it is mounted is only good to know.
    if let Ok(uses) = busy::openers_of_device(&device)
        && let Some(more) = uses.describe().strip_prefix("in use: ")
    {
        line += &format!("; {more}");
    }
    Error::new(ErrorKind::Busy, line)
}
