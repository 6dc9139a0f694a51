// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a killed command left, finished or undone by the next that holds the catalog.
//!
//! In this order, for each step stands on the one before:
//!
//! 1. Devices of ours that are suspended are resumed, those without an active table removed. Nobody
//!    else is at work on them: who is, holds the catalog. This is all that is done to a pool that
//!    takes no messages.
//! 2. The true slot is marked as committed, if a kill or a cut kept it from that. Ids that only the
//!    slot with T + 1 names are deleted: an attempt that was not committed.
//! 3. What the true state lists as pending is done: an id deleted, a device given its size, a tail
//!    discarded. A discard is then taken from the catalog, since the volume may grow again.
//!
//! Each may be done again, in whole or in part, with the same end. What resists is said, and stays
//! for the next time: it must not keep a volume from being unmounted. Only a discard that fails is
//! given up: what is behind the volume's end then stays mapped until the volume goes.

use std::ops::Range;

use mosaic_core::{Bytes, ErrorKind, Result};

use crate::catalog::store::{self, Truth};
use crate::catalog::{Catalog, Pending};
use crate::health::{Floors, require_writable};
use crate::identity::is_there;
use crate::target::ThinId;
use crate::thin_pool::{Setup, ThinPool};
use crate::transaction::{Transaction, delete, delete_attempt, unfinished};

/// Does all of it, with the catalog held.
///
/// # Errors
/// The kernel's, if it could not be asked.
pub fn recover(pool: &dyn ThinPool) -> Result<()> {
    put_devices_right(pool)?;
    let Ok(status) = require_writable(pool, pool.status()?) else {
        return Ok(());
    };
    // A verb that needs it says what is wrong with it; check can mend it.
    let Ok(truth) = store::read(pool.catalog(), status.transaction) else {
        return Ok(());
    };
    if !truth.header.committed {
        // It was: the pool takes messages at that transaction. Lost again, nothing is lost.
        let _ = store::mark_committed(pool.catalog(), truth.index, truth.header);
    }
    undo_attempt(pool, &truth, status.transaction);
    if let Err(error) = finish(pool, &truth.catalog) {
        pool.warn(&format!("something is left to be done: {}", error.chain()));
    }
    Ok(())
}

/// Step 1.
fn put_devices_right(pool: &dyn ThinPool) -> Result<()> {
    for device in pool.devices()? {
        let done = if !device.is_active {
            pool.remove(device.id)
        } else if device.is_suspended {
            pool.resume(device.id)
        } else {
            continue;
        };
        if let Err(error) = done {
            let path = device.path.display();
            pool.warn(&format!(
                "{path} was left by a command that was killed: {}",
                error.chain()
            ));
        }
    }
    Ok(())
}

/// Step 2.
fn undo_attempt(pool: &dyn ThinPool, truth: &Truth, transaction: u64) {
    for id in unfinished(truth) {
        if let Err(error) = delete_attempt(pool, id, transaction) {
            pool.warn(&format!(
                "thin id {id} of a command that was killed stays for now: {}",
                error.chain()
            ));
        }
    }
}

/// Step 3, after a commit too.
///
/// # Errors
/// Those of a [`Transaction`], which takes from the catalog what must not be done again.
pub(crate) fn finish(pool: &dyn ThinPool, catalog: &Catalog) -> Result<()> {
    let mut discarded = false;
    for pending in &catalog.pending {
        let done = match *pending {
            // One of that id that was made otherwise is somebody else's.
            Pending::Delete { id, made_in } => match is_there(pool, id, made_in) {
                Ok(false) => Ok(()),
                Ok(true) => delete(pool, id),
                Err(error) => Err(error),
            },
            Pending::Show(id) => show(pool, catalog, id),
            Pending::Discard { id, from, to } => {
                discarded = true;
                discard_tail(pool, catalog, id, from..to)
            }
        };
        if let Err(error) = done {
            let id = pending.id();
            pool.warn(&format!(
                "something is left to be done to thin id {id}: {}",
                error.chain()
            ));
        }
    }
    match discarded {
        true => Transaction::begin(pool)?.commit(Floors::default(), |_| Ok(())),
        false => Ok(()),
    }
}

/// Gives a device that shows a volume the volume's size.
fn show(pool: &dyn ThinPool, catalog: &Catalog, id: ThinId) -> Result<()> {
    let mut volumes = catalog.volumes();
    let size = volumes.find_map(|(_, entry)| (entry.id == id).then_some(entry.size));
    match (size, pool.device(id)?) {
        (Some(size), Some(device)) if device.is_active => pool.set_size(id, size),
        _ => Ok(()),
    }
}

/// Gives back what is behind the end of a volume that nobody uses.
fn discard_tail(
    pool: &dyn ThinPool,
    catalog: &Catalog,
    id: ThinId,
    range: Range<Bytes>,
) -> Result<()> {
    let mut volumes = catalog.volumes().map(|(_, entry)| entry);
    let is_made = match volumes.find(|entry| entry.id == id) {
        Some(entry) => is_there(pool, id, entry.made_in)?,
        None => false,
    };
    if !is_made || pool.device(id)?.is_some() {
        return Ok(());
    }
    discard(pool, id, range)
}

/// Gives back the blocks of a range of a thin device that nobody uses. A pool that knows no discards
/// keeps them until the thin device goes.
pub(crate) fn discard(pool: &dyn ThinPool, id: ThinId, range: Range<Bytes>) -> Result<()> {
    let setup = Setup {
        size: range.end,
        read_only: false,
    };
    let device = pool.hold(id, setup)?;
    let discarded = match device.discard(range.start, range.end) {
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
        other => other,
    };
    let closed = device.close();
    discarded.and(closed)
}
