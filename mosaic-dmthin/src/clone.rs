// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clones: a thin device that shares the blocks of another, at one instant.
//!
//! The kernel takes `create_snap` of a device that is being written to, and lets the clone change
//! under that. So a device of the origin is suspended for the message, which also brings a mounted
//! file system to rest, and resumed whatever happens. Nothing else is done in between, not even a
//! line of log: it could be written to that very device, and wait for ever.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use mosaic_core::{Bytes, Error, ErrorKind, Result, VolumeName};

use crate::catalog::{Content, Entry};
use crate::create::{user_name, with_device};
use crate::health::Floors;
use crate::identity::require_made;
use crate::target::{Message, ThinId};
use crate::thin_pool::{Setup, ThinPool, require_whole_sectors};
use crate::transaction::Transaction;

/// How long copies are taken again that cannot be finished.
const FIT_COPY: Duration = Duration::from_secs(10);
/// One refusal, of memory say, must not keep a guest waiting for the next command.
const RESUMES: u32 = 3;

/// What is on the origin of a clone.
pub trait Source {
    /// Has what was written to it before on its device.
    ///
    /// # Errors
    /// The kernel's.
    fn flush(&self) -> Result<()>;

    /// Makes a copy of it, which a device shows, a thing of its own; with `larger` it is to take all of
    /// its device. What is made durable is the caller's to do.
    ///
    /// # Errors
    /// What kept it from being done.
    fn finish(&self, copy: &Path, larger: bool) -> Result<Copied>;
}

/// Whether a copy can be made a clone of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// It is one.
    Finished,
    /// Its instant was a bad one; another may be better.
    Unfit,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// The origin's stored name.
    pub from: &'r str,
    /// The clone's names.
    pub to: &'r VolumeName,
    /// Its size; `None`: the origin's.
    pub size: Option<Bytes>,
    /// Now, in seconds since 1970.
    pub created: u64,
}

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
        self.let_go()
    }

    fn let_go(&mut self) -> Result<()> {
        let mut tries = if self.holds { RESUMES } else { 0 };
        while tries > 0 {
            tries -= 1;
            match self.pool.resume(self.id) {
                Err(_) if tries > 0 => {}
                last => {
                    // A panic does not come here: the drop tries again.
                    self.holds = false;
                    return last;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.let_go() {
            self.pool.warn(&format!(
                "the device of thin id {} stays suspended until the next command: {}",
                self.id,
                error.chain()
            ));
        }
    }
}

/// Steps: see that there is space, and that no other program shows the origin; write the next
/// catalog; suspend the origin, `create_snap`, resume it; on a device that goes with us: finish the
/// copy; **commit**. Before that a kill leaves what the next command resumes and deletes, after it the
/// clone is there. What the origin holds is not changed.
///
/// # Errors
/// `NotFound`, `Exists`, `NoSpace`; `Busy` also if no copy was fit; what the source answered; those of
/// [`Transaction`].
pub fn clone(
    pool: &dyn ThinPool,
    floors: Floors,
    request: Request<'_>,
    source: &dyn Source,
) -> Result<()> {
    let Request {
        from,
        to,
        size,
        created,
    } = request;
    let mut transaction = Transaction::begin(pool)?;
    floors.require(pool, transaction.status(), 1)?;
    let origin = transaction.catalog().require(from)?.clone();
    require_made(pool, &origin)?;
    pool.refuse_others(origin.id)?;
    transaction.catalog().check_free(to.stored())?;
    let id = transaction.take_id()?;
    let size = size.unwrap_or(origin.size);
    require_whole_sectors(pool, size)?;
    if size < origin.size {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("a clone of {} cannot have {size}", origin.size),
        ));
    }
    let entry = Entry {
        id,
        made_in: transaction.status().transaction,
        user: user_name(to),
        size,
        origin: Some(origin.id),
        created,
        content: origin.content.clone(),
    };
    transaction.draft().insert(to.stored(), entry)?;
    transaction.commit(floors, |transaction| {
        let start = Instant::now();
        loop {
            source.flush()?;
            take_snapshot(pool, id, origin.id)?;
            transaction.check_pool()?;
            if origin.content == Content::Disk {
                return Ok(());
            }
            match finish(pool, id, size, size > origin.size, source)? {
                Copied::Finished => return Ok(()),
                Copied::Unfit if start.elapsed() > FIT_COPY => return Err(never_fit()),
                Copied::Unfit => {
                    pool.message(Message::Delete(id))?;
                    transaction.check_pool()?;
                }
            }
        }
    })
}

fn finish(
    pool: &dyn ThinPool,
    id: ThinId,
    size: Bytes,
    larger: bool,
    source: &dyn Source,
) -> Result<Copied> {
    let setup = Setup {
        size,
        read_only: false,
    };
    let copied = Cell::new(Copied::Unfit);
    with_device(pool, id, setup, &|device| {
        copied.set(source.finish(device, larger)?);
        Ok(())
    })?;
    Ok(copied.get())
}

fn never_fit() -> Error {
    Error::new(
        ErrorKind::Busy,
        "each copy caught the file system between an fsync and its commit; try again when it is \
         written to less, or mount and umount it once if it is idle",
    )
}

fn take_snapshot(pool: &dyn ThinPool, id: ThinId, origin: ThinId) -> Result<()> {
    let suspended = Suspended::new(pool, origin)?;
    let taken = pool.message(Message::CreateSnap { id, origin });
    match (taken, suspended.resume()) {
        (Err(error), Err(left)) => Err(error.with_failed_undo(&left)),
        (taken, resumed) => taken.and(resumed),
    }
}
