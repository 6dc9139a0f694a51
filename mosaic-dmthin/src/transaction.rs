// SPDX-License-Identifier: MIT OR Apache-2.0
//! A change of the catalog and of the pool's thin devices, as one step.
//!
//! The kernel commits thin devices, we the catalog, and neither knows of the other. The pool's
//! transaction id T ties them together: the slot with the stamp T is the true catalog, and one
//! message, which the kernel commits as a whole, changes T. With the catalog's device held
//! exclusively and [`recover`](crate::recover) done, the steps are:
//!
//! 1. Look: the pool takes messages and its metadata met no error; the slot with T is whole; the ids
//!    that will be made are free in the pool. Room for the next state is made in **both** slots
//!    while there is space, with a block to spare.
//! 2. Write the next state into the other slot with the stamp T + 1, and flush. It is not true, but
//!    it names every id that is about to be made.
//! 3. Make the ids: `create_thin`, or `create_snap` with its origin suspended, if it is active, and
//!    resumed whatever happens. Put on them what belongs there, and make that durable.
//! 4. `set_transaction_id T T+1`.
//! 5. **Commit**: the status then shows T + 1, mode `rw` or `out_of_data_space`, no `needs_check`.
//!    Only that is a proof: with a failing metadata device the messages answer 0 all the same.
//!    The slot is then marked as committed, without a flush.
//! 6. What the new state lists as [pending](crate::catalog::Pending) is done: `delete` of a dropped
//!    volume's id, once its device is gone.
//!
//! What a kill leaves, by the step that it came after:
//!
//! | after | left | the next holder |
//! |---|---|---|
//! | 1 | zeroes in blocks of the catalog | does it again |
//! | 2 | a slot with T + 1, or a torn one | nothing is in the pool that only it names |
//! | 3 | ids that only the slot with T + 1 names; an origin suspended | resumes, deletes them |
//! | 4, 5 | the new state | does what is pending |
//!
//! Without the mark of 5 the slot is as true; it only tells later that a pool was set back, and of one
//! that takes no changes any more that the last one was made (`doubt`). The next holder makes it again.
//!
//! A cut of power in 4 leaves T or T + 1, as the kernel commits it or not, and the slot for either
//! is whole. An error in 3 or 4 is undone at once in the same way. If the status cannot prove 5 and
//! cannot prove that T still holds, the outcome is unknown, nothing more is sent, and what
//! `thin_check` and the next activation find decides.

use mosaic_core::{Error, ErrorKind, Result};

use crate::catalog::Catalog;
use crate::catalog::store::{self, Truth};
use crate::health::{Floors, require_writable};
use crate::identity::is_there;
use crate::target::{Message, PoolStatus, ThinId, WorkingPool};
use crate::thin_pool::ThinPool;

/// How many ids are looked at to find a free one.
const IDS_TRIED: usize = 100;

/// A change that has begun.
pub struct Transaction<'p> {
    pool: &'p dyn ThinPool,
    status: WorkingPool,
    truth: Truth,
    /// The next state.
    draft: Catalog,
    made: Vec<ThinId>,
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("status", &self.status)
            .field("made", &self.made)
            .finish_non_exhaustive()
    }
}

impl<'p> Transaction<'p> {
    /// Looks at pool and catalog. What the true state lists as pending, and is done, is not in the
    /// next one.
    ///
    /// # Errors
    /// `Io` for a pool that takes no messages; `Corrupt`; `Busy` if what a killed command left
    /// could not be undone yet.
    pub fn begin(pool: &'p dyn ThinPool) -> Result<Self> {
        let status = require_writable(pool, pool.status()?)?;
        let truth = store::read(pool.catalog(), status.transaction)?;
        truth.require_other()?;
        for id in unfinished(&truth) {
            if pool
                .details(id)?
                .is_some_and(|d| d.made_in == status.transaction)
            {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!(
                        "{} still has thin id {id} of a command that was killed, and its device \
                         is in use",
                        pool.label()
                    ),
                ));
            }
        }
        let mut draft = truth.catalog.clone();
        draft.pending.clear();
        for pending in &truth.catalog.pending {
            if let crate::catalog::Pending::Delete { id, made_in } = pending
                && is_there(pool, *id, *made_in)?
            {
                draft.pending.push(*pending);
            }
        }
        Ok(Self {
            pool,
            status,
            truth,
            draft,
            made: Vec::new(),
        })
    }

    /// The pool's status when this began.
    pub fn status(&self) -> &WorkingPool {
        &self.status
    }

    /// The true state.
    pub fn catalog(&self) -> &Catalog {
        &self.truth.catalog
    }

    /// The state that is to be.
    pub fn draft(&mut self) -> &mut Catalog {
        &mut self.draft
    }

    /// An id that neither catalog nor pool has. It is made in [`Self::commit`].
    ///
    /// # Errors
    /// `Corrupt` if the pool has many ids that the catalog does not know; `NoSpace`.
    pub fn take_id(&mut self) -> Result<ThinId> {
        for _ in 0..IDS_TRIED {
            let id = self.draft.take_id()?;
            if self.pool.details(id)?.is_none() {
                self.made.push(id);
                return Ok(id);
            }
            self.pool.warn(&format!(
                "{} has thin id {id}, which the catalog does not know; check says more",
                self.pool.label()
            ));
        }
        Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "{} has many thin ids that the catalog does not know; run check",
                self.pool.label()
            ),
        ))
    }

    /// Goes on if what was done since this began is on disk, as far as the pool knows.
    ///
    /// # Errors
    /// `Io` for a pool that takes no messages any more.
    pub fn check_pool(&self) -> Result<()> {
        require_writable(self.pool, self.pool.status()?).map(|_| ())
    }

    /// Makes the next state the true one: steps 1 to 5. `work` is step 3.
    ///
    /// # Errors
    /// What `work` answered, undone; `NoSpace` if the catalog has no room; `Io` if the outcome is
    /// unknown.
    pub fn commit(self, floors: Floors, work: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let capacity = self.make_room(floors)?;
        let (index, pool) = (self.truth.index.other(), self.truth.header.pool);
        let (from, medium) = (self.status.transaction, self.pool.catalog());
        let to = from.checked_add(1).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "the pool's transactions are used up",
            )
        })?;
        let header = store::write(medium, index, pool, to, capacity, &self.draft)?;
        if let Err(error) = work(&self) {
            return Err(error.after_undo(self.undo()));
        }
        let sent = self.pool.message(Message::SetTransactionId(from, to));
        let after = self.pool.committed_status();
        match (sent, after) {
            (Ok(()), Ok(status)) if is_proof(&status, to) => {
                // It is committed, with or without a witness.
                let _ = store::mark_committed(medium, index, header);
                Ok(())
            }
            (Err(error), Ok(status)) if is_proof(&status, from) => {
                Err(error.after_undo(self.undo()))
            }
            (sent, after) => Err(self.unknown(sent.and(after.map(|_| ())))),
        }
    }

    /// Step 1: the capacity of both slots, enough for the next state.
    fn make_room(&self, floors: Floors) -> Result<u64> {
        let capacity = self.truth.header.capacity;
        let block = self.pool.block().0;
        let wanted = store::wanted_capacity(&self.draft, block)?;
        if wanted <= capacity {
            return Ok(capacity);
        }
        // In both slots, and one block for an end that is in the midst of one.
        let blocks = 2 * ((wanted - capacity).div_ceil(block) + 1);
        let fits = store::fits(&self.draft, capacity)?;
        match floors.require(self.pool, &self.status, blocks) {
            Err(_) if fits => return Ok(capacity),
            other => other?,
        }
        store::provision(self.pool.catalog(), capacity, wanted)?;
        Ok(wanted)
    }

    /// Deletes what step 3 made. What resists is deleted by the next holder.
    fn undo(&self) -> Result<()> {
        for id in &self.made {
            delete_attempt(self.pool, *id, self.status.transaction)?;
        }
        Ok(())
    }

    fn unknown(&self, cause: Result<()>) -> Error {
        let text = format!(
            "{} does not prove that the change is on disk: whether it was made is unknown until \
             its metadata is checked; {}",
            self.pool.label(),
            self.pool.way_back()
        );
        let error = Error::new(ErrorKind::Io, text);
        match cause {
            Err(cause) => error.with_source(cause),
            Ok(()) => error,
        }
    }
}

/// Whether a status proves that the pool's transaction id is this on disk.
pub fn is_proof(status: &PoolStatus, transaction: u64) -> bool {
    match status {
        PoolStatus::Working(status) => {
            status.transaction == transaction && status.mode.takes_messages() && !status.needs_check
        }
        PoolStatus::Fail | PoolStatus::Error => false,
    }
}

/// The ids that only an attempt at a next state names.
pub(crate) fn unfinished(truth: &Truth) -> Vec<ThinId> {
    let known: std::collections::HashSet<ThinId> = truth.catalog.ids().collect();
    let attempted = truth.attempt.iter().flat_map(Catalog::ids);
    attempted.filter(|id| !known.contains(id)).collect()
}

/// Deletes a thin device that an attempt made in this transaction, and its device before. One of
/// that id which was there before is somebody else's.
pub(crate) fn delete_attempt(pool: &dyn ThinPool, id: ThinId, transaction: u64) -> Result<()> {
    match pool.details(id)? {
        None => return Ok(()),
        Some(details) if details.made_in != transaction => {
            pool.warn(&format!(
                "{} has thin id {id}, which the catalog does not know; check says more",
                pool.label()
            ));
            return Ok(());
        }
        Some(_) => {}
    }
    delete(pool, id)
}

/// Deletes a thin device, and its device before.
pub(crate) fn delete(pool: &dyn ThinPool, id: ThinId) -> Result<()> {
    if pool.device(id)?.is_some() {
        pool.remove(id)?;
    }
    pool.message(Message::Delete(id))
}
