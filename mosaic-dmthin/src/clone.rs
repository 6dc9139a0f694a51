// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clones: a thin device that shares the blocks of another, at one instant.
//!
//! The kernel takes `create_snap` of a device that is being written to, and lets the clone change
//! under that. So a device of the origin is suspended for the message, which also brings a mounted
//! file system to rest, and resumed whatever happens. Nothing else is done in between, not even a
//! line of log: it could be written to that very device, and wait for ever.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use mosaic_core::busy;
use mosaic_core::fs::FsType;
use mosaic_core::{Bytes, Context, Error, ErrorKind, Host, Result, VolumeName};

use crate::catalog::Entry;
use crate::create::{user_name, with_device};
use crate::health::Floors;
use crate::kernel_pool::KernelPool;
use crate::target::{Message, ThinId};
use crate::thin_pool::{Setup, ThinPool};
use crate::transaction::Transaction;

/// A device that is suspended until this is dropped.
struct Suspended<'p> {
    pool: &'p dyn ThinPool,
    id: ThinId,
    /// It has not been resumed.
    holds: bool,
}

impl<'p> Suspended<'p> {
    /// Suspends the device of an id, if there is one.
    fn new(pool: &'p dyn ThinPool, id: ThinId) -> Result<Self> {
        let mut suspended = Self {
            pool,
            id,
            holds: false,
        };
        let device = pool.device(id)?.filter(|device| device.is_active);
        if device.is_some() {
            match pool.suspend(id) {
                Ok(()) => suspended.holds = true,
                // It went with its last close since.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(suspended)
    }

    fn resume(mut self) -> Result<()> {
        self.resume_once()
    }

    fn resume_once(&mut self) -> Result<()> {
        match std::mem::take(&mut self.holds) {
            true => self.pool.resume(self.id),
            false => Ok(()),
        }
    }
}

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.resume_once() {
            self.pool.warn(&format!(
                "the device of thin id {} stays suspended until the next command: {}",
                self.id,
                error.chain()
            ));
        }
    }
}

/// Steps: see that there is space, and that no other program shows the origin; write the next
/// catalog; suspend the origin, `create_snap`, resume it; on a device that goes with us: `finish`,
/// which is told whether the clone is larger; **commit**. Before that a kill leaves what the next
/// command resumes and deletes, after it the clone is there. What the origin holds is not changed.
///
/// # Errors
/// `NotFound`, `Exists`, `NoSpace`, `Busy`; what `finish` answered; those of [`Transaction`].
pub fn clone(
    pool: &dyn ThinPool,
    floors: Floors,
    from: &str,
    to: &VolumeName,
    size: Option<Bytes>,
    created: u64,
    finish: &dyn Fn(&Path, bool) -> Result<()>,
) -> Result<()> {
    let mut transaction = Transaction::begin(pool)?;
    floors.require(pool, transaction.status(), 1)?;
    let origin = transaction.catalog().require(from)?.clone();
    pool.refuse_others(origin.id)?;
    transaction.catalog().check_free(to.stored())?;
    let id = transaction.take_id()?;
    let size = size.unwrap_or(origin.size);
    if size < origin.size {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("a clone of {} cannot have {size}", origin.size),
        ));
    }
    let entry = Entry {
        id,
        user: user_name(to),
        size,
        origin: Some(origin.id),
        created,
        content: origin.content.clone(),
    };
    let is_fs = entry.content != crate::catalog::Content::Disk;
    transaction.draft().insert(to.stored(), entry)?;
    transaction.commit(floors, |transaction| {
        take_snapshot(pool, id, origin.id)?;
        transaction.check_pool()?;
        let setup = Setup {
            size,
            read_only: false,
        };
        let finish = |device: &Path| finish(device, size > origin.size);
        match is_fs {
            true => with_device(pool, id, setup, &finish),
            false => Ok(()),
        }
    })
}

/// Says that somebody writes to the origin who cannot be brought to rest: what the clone then holds is
/// what a cut of power at that instant would leave.
///
/// # Errors
/// The kernel's.
pub fn warn_of_unknown_writer(pool: &KernelPool<'_>, name: &str, origin: ThinId) -> Result<()> {
    let device = pool.device(origin)?;
    let Some(device) = device.filter(|device| device.is_active && !device.is_read_only) else {
        return Ok(());
    };
    if busy::mounts_of_device(&device.path).is_ok_and(|uses| uses.is_empty()) {
        pool.warn(&format!(
            "volume {name:?} is attached at {} and not mounted: the clone holds what a power cut at \
             this instant would leave",
            device.path.display()
        ));
    }
    Ok(())
}

/// Gives a clone's file system an identity of its own and, if the clone is larger, all of its device.
///
/// # Errors
/// `Busy` for a btrfs that was caught between an fsync and its commit; what the programs say.
pub fn finish(host: &Host, fs: &FsType, device: &Path, larger: bool) -> Result<()> {
    let open = File::open(device).context(|| format!("cannot open {device:?}"))?;
    if !fs.clone_is_clean(open.as_fd())? {
        return Err(Error::new(
            ErrorKind::Busy,
            "the copy caught the file system between an fsync and its commit; try again, or mount \
             and umount it once if it is idle",
        ));
    }
    drop(open);
    fs.renew_uuid(host, device)
        .context(|| format!("cannot give the clone's {fs} a UUID of its own"))?;
    if larger {
        fs.grow(host, device, None)
            .context(|| format!("cannot grow the clone's {fs}"))?;
    }
    host.check_cancelled()
}

/// Why a type of file system is not cloned: two with one UUID are not told apart.
pub(crate) fn no_renewal(fs: &FsType) -> String {
    format!("Mosaic cannot give a clone of {fs} a UUID of its own; it can for ext4, xfs and btrfs")
}

fn take_snapshot(pool: &dyn ThinPool, id: ThinId, origin: ThinId) -> Result<()> {
    let suspended = Suspended::new(pool, origin)?;
    let taken = pool.message(Message::CreateSnap { id, origin });
    match (taken, suspended.resume()) {
        (Err(error), Err(left)) => Err(error.with_failed_undo(&left)),
        (taken, resumed) => taken.and(resumed),
    }
}
