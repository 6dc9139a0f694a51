// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clones: a thin device that shares the blocks of another, at one instant.
//!
//! The kernel takes `create_snap` of a device that is being written to, and lets the clone change
//! under that. So a device of the origin is suspended for the message, which also brings a mounted
//! file system to rest, and resumed whatever happens. Nothing else is done in between, not even a
//! line of log: it could be written to that very device, and wait for ever.

use std::path::Path;

use mosaic_core::{Bytes, Error, ErrorKind, Result, VolumeName};

use crate::catalog::Entry;
use crate::create::{user_name, with_device};
use crate::health::Floors;
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

fn take_snapshot(pool: &dyn ThinPool, id: ThinId, origin: ThinId) -> Result<()> {
    let suspended = Suspended::new(pool, origin)?;
    let taken = pool.message(Message::CreateSnap { id, origin });
    match (taken, suspended.resume()) {
        (Err(error), Err(left)) => Err(error.with_failed_undo(&left)),
        (taken, resumed) => taken.and(resumed),
    }
}
