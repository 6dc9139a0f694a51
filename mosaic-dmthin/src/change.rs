// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drop, rename and resize: what changes a volume that is there.

use mosaic_core::{Bytes, Result, VolumeName};

use crate::catalog::{Catalog, Pending};
use crate::create::user_name;
use crate::health::Floors;
use crate::identity::require_made;
use crate::recover;
use crate::thin_pool::{ThinPool, require_whole_sectors};
use crate::transaction::Transaction;

/// Steps: prove that nobody uses the volume; write the next catalog, without it and with its id to be
/// deleted; **commit**; give its blocks back to what is under the pool, if that is asked for
/// (`discard`); `delete`. Before the commit nothing has changed, after it the volume is gone; what a
/// kill keeps of it the next command deletes.
///
/// # Errors
/// `NotFound`; `Busy`; those of [`Transaction`].
pub fn drop_volume(pool: &dyn ThinPool, floors: Floors, stored: &str, discard: bool) -> Result<()> {
    let mut transaction = Transaction::begin(pool)?;
    let entry = transaction.catalog().require(stored)?.clone();
    pool.prove_unused(entry.id)?;
    let draft = transaction.draft();
    draft.remove(stored)?;
    draft.forget_origin(entry.id);
    draft.pending.push(Pending::Delete {
        id: entry.id,
        made_in: entry.made_in,
    });
    let after = draft.clone();
    transaction.commit(floors, |_| Ok(()))?;
    // The change is made: whatever fails now is only said.
    let discarded = pool.details(entry.id).and_then(|details| match details {
        Some(details) if details.made_in != entry.made_in => {
            pool.warn(&format!(
                "thin id {} stays: it was made in transaction {}, and the volume's in {}",
                entry.id, details.made_in, entry.made_in
            ));
            Ok(())
        }
        Some(_) if discard => recover::discard(pool, entry.id, Bytes(0)..entry.size),
        _ => Ok(()),
    });
    if let Err(error) = discarded {
        pool.warn(&format!(
            "its blocks are not given back to what is under the pool: {}",
            error.chain()
        ));
    }
    finish(pool, &after);
    Ok(())
}

/// What is still to be done when the change is made already: it is, whatever becomes of this.
fn finish(pool: &dyn ThinPool, catalog: &Catalog) {
    if let Err(error) = recover::finish(pool, catalog) {
        pool.warn(&error.chain());
    }
}

/// Steps: write the next catalog; **commit**. Thin id and device stay, so a volume in use can be
/// renamed.
///
/// # Errors
/// `NotFound`, `Exists`; those of [`Transaction`].
pub fn rename(pool: &dyn ThinPool, floors: Floors, from: &str, to: &VolumeName) -> Result<()> {
    let mut transaction = Transaction::begin(pool)?;
    let draft = transaction.draft();
    let mut entry = draft.remove(from)?;
    draft.check_free(to.stored())?;
    entry.user = user_name(to);
    draft.insert(to.stored(), entry)?;
    transaction.commit(floors, |_| Ok(()))
}

/// Growing, steps: see that there is space; write the next catalog; **commit** of the size; give a
/// device that shows the volume that size. Killed between, the next command does the last.
/// Shrinking: prove that nobody uses it; write the next catalog, with the tail to be discarded;
/// **commit**; discard the tail.
///
/// # Errors
/// `NotFound`, `NoSpace`; `Busy` for a shrink of a volume in use; those of [`Transaction`].
pub fn resize(pool: &dyn ThinPool, floors: Floors, stored: &str, size: Bytes) -> Result<()> {
    let mut transaction = Transaction::begin(pool)?;
    let entry = transaction.catalog().require(stored)?.clone();
    require_made(pool, &entry)?;
    pool.refuse_others(entry.id)?;
    require_whole_sectors(pool, size)?;
    if size < entry.size {
        pool.prove_unused(entry.id)?;
        let draft = transaction.draft();
        draft.change(stored, |entry| entry.size = size)?;
        draft.pending.push(Pending::Discard {
            id: entry.id,
            from: size,
            to: entry.size,
        });
        let after = draft.clone();
        transaction.commit(floors, |_| Ok(()))?;
        finish(pool, &after);
        return Ok(());
    }
    if size > entry.size {
        floors.require(pool, transaction.status(), 1)?;
        let draft = transaction.draft();
        draft.change(stored, |entry| entry.size = size)?;
        draft.pending.push(Pending::Show(entry.id));
        transaction.commit(floors, |_| Ok(()))?;
    }
    match pool.device(entry.id)? {
        Some(device) if device.is_active => pool.set_size(entry.id, size),
        _ => Ok(()),
    }
}
