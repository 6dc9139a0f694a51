// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another state made the true one, when pool and catalog are not of the same time.
//!
//! The pool never goes back: to a writer that comes next a slot with the stamp after the pool's is an
//! attempt, whose thin devices it deletes. So the state that is taken is written once more, with a
//! stamp above the pool's and those of both slots.
//!
//! Steps: write the state into the other slot, and flush; `set_transaction_id`; **commit**: the status
//! shows it, as in a [`transaction`](crate::transaction). A kill before the commit leaves a pool that
//! has no true slot, as before, and the state that was taken twice.

use mosaic_core::{Error, ErrorKind, Result};

use crate::catalog::Catalog;
use crate::catalog::store::{self, Candidate};
use crate::health::require_writable;
use crate::target::Message;
use crate::thin_pool::ThinPool;
use crate::transaction::is_proof;

/// Most volumes that are named.
const NAMED: usize = 8;

/// Makes a state the true one of a pool at this transaction.
///
/// # Errors
/// `Io` for a pool that takes no messages, or does not prove it; the kernel's.
pub(crate) fn take_state(pool: &dyn ThinPool, transaction: u64, state: &Candidate) -> Result<()> {
    require_writable(pool, pool.status()?)?;
    let medium = pool.catalog();
    let header = store::write_again(medium, state, transaction)?;
    let (index, to) = (state.index.other(), header.stamp);
    pool.message(Message::SetTransactionId(transaction, to))?;
    match is_proof(&pool.committed_status()?, to) {
        true => {
            // It is committed, with or without a witness.
            let _ = store::mark_committed(medium, index, header);
            Ok(())
        }
        false => Err(Error::new(
            ErrorKind::Io,
            format!("{} does not prove it; {}", pool.label(), pool.way_back()),
        )),
    }
}

/// What taking a state means: how it differs from the other one.
pub(crate) fn chosen(state: &Candidate, other: Option<&Candidate>) -> String {
    let (stamp, count) = (state.header.stamp, state.catalog.len());
    let mut text = format!("take the state of transaction {stamp}, with {count} volumes");
    let Some(other) = other else {
        return text + "; no other one is whole";
    };
    let (new, old) = (&state.catalog, &other.catalog);
    let differing = |from: &Catalog, differs: &dyn Fn(&str) -> bool| -> Vec<String> {
        let volumes = from.volumes().map(|(name, _)| name);
        volumes
            .filter(|name| differs(name))
            .map(|name| format!("{name:?}"))
            .collect()
    };
    let resized = |name: &str| {
        let (new, old) = (new.find(name), old.find(name));
        new.zip(old).is_some_and(|(new, old)| new.size != old.size)
    };
    for (what, names) in [
        (
            "only it has",
            differing(new, &|name| old.find(name).is_none()),
        ),
        ("it lacks", differing(old, &|name| new.find(name).is_none())),
        ("another size has", differing(new, &resized)),
    ] {
        if !names.is_empty() {
            let more = names.len().saturating_sub(NAMED);
            let named = names[..names.len() - more].join(", ");
            let more = match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            text += &format!("; {what} {named}{more}");
        }
    }
    let stamp = other.header.stamp;
    let never = match state.header.committed && !other.header.committed {
        true => ", which is not known to have been the true one",
        false => "",
    };
    format!("{text}; compared with that of {stamp}{never}")
}

#[cfg(test)]
mod tests {
    use mosaic_core::{Bytes, VolumeName};

    use super::*;
    use crate::catalog::Content;
    use crate::catalog::slot::{PAGE, SlotIndex};
    use crate::catalog::store::{Found, Medium, candidates, look};
    use crate::create::{self, Request};
    use crate::health::Floors;
    use crate::recover::recover;
    use crate::simulated::SimulatedPool;
    use crate::target::PoolStatus;

    fn new(pool: &SimulatedPool, name: &str) -> Result<()> {
        let request = Request {
            content: Content::Disk,
            size: Bytes(1 << 20),
            created: 7,
        };
        let name = VolumeName::parse(name).unwrap();
        create::create(pool, Floors::default(), &name, request, &|_| Ok(()))
    }

    fn transaction(pool: &SimulatedPool) -> u64 {
        let PoolStatus::Working(status) = pool.status().unwrap() else {
            panic!("it failed");
        };
        status.transaction
    }

    fn is_believed(pool: &SimulatedPool) -> bool {
        matches!(look(pool, transaction(pool)).unwrap(), Found::Truth(_))
    }

    fn repair(pool: &SimulatedPool) {
        assert!(!is_believed(pool));
        let newest = candidates(pool).unwrap().remove(0);
        take_state(pool, transaction(pool), &newest).unwrap();
        assert!(is_believed(pool));
    }

    /// Three volumes, of which the last is in the true slot only, which is returned.
    fn three() -> (SimulatedPool, SlotIndex) {
        let pool = SimulatedPool::new();
        for name in ["a", "b", "c"] {
            new(&pool, name).unwrap();
        }
        let index = candidates(&pool).unwrap()[0].index;
        (pool, index)
    }

    #[test]
    fn a_damage_that_goes_away_after_the_repair_deletes_nothing() {
        let (pool, index) = three();
        let (ids, before) = (pool.ids(), transaction(&pool));
        let slot = pool.read_at(index.offset(), 2 * PAGE).unwrap();
        let mut damaged = slot.clone();
        damaged[PAGE] ^= 1;
        pool.write_at(index.offset(), &damaged).unwrap();
        pool.sync().unwrap();
        repair(&pool);
        assert!(transaction(&pool) > before);
        recover(&pool).unwrap();
        new(&pool, "d").unwrap();
        recover(&pool).unwrap();
        assert!(ids.is_subset(&pool.ids()));
        // Nor is it believed again, wherever it stands.
        for at in SlotIndex::ALL {
            let (pool, _) = three();
            pool.write_at(index.offset(), &damaged).unwrap();
            repair(&pool);
            pool.write_at(at.offset(), &slot).unwrap();
            pool.sync().unwrap();
            recover(&pool).unwrap();
            let _ = new(&pool, "d");
            recover(&pool).unwrap();
            assert!(ids.is_subset(&pool.ids()), "{at:?}");
        }
    }

    #[test]
    fn a_pool_that_was_set_back_by_one_is_met_and_brought_forward() {
        let (pool, _) = three();
        let (ids, now) = (pool.ids(), transaction(&pool));
        pool.message(Message::SetTransactionId(now, now - 1))
            .unwrap();
        recover(&pool).unwrap();
        assert!(new(&pool, "d").unwrap_err().chain().contains("committed"));
        assert_eq!(pool.ids(), ids);
        repair(&pool);
        assert!(transaction(&pool) > now);
        recover(&pool).unwrap();
        new(&pool, "d").unwrap();
        assert!(pool.truth().unwrap().find("c").is_some());
        assert!(ids.is_subset(&pool.ids()));
    }

    #[test]
    fn what_a_failed_command_left_is_not_taken_for_a_state_that_was() {
        let (pool, _) = three();
        let (ids, now) = (pool.ids(), transaction(&pool));
        let request = Request {
            content: Content::Fs("ext4".into()),
            size: Bytes(1 << 20),
            created: 7,
        };
        let name = VolumeName::parse("never").unwrap();
        let failed = |_: &std::path::Path| Err(Error::new(ErrorKind::Io, "mkfs failed"));
        create::create(&pool, Floors::default(), &name, request, &failed).unwrap_err();
        let newest = |found: &[Candidate]| found.iter().map(|of| of.header.stamp).max();
        let found = candidates(&pool).unwrap();
        assert_eq!(newest(&found), Some(now + 1));
        let text = chosen(&found[0], Some(&found[1]));
        assert!(text.contains("not known to have been"), "{text}");
        pool.message(Message::SetTransactionId(now, now - 2))
            .unwrap();
        repair(&pool);
        let truth = pool.truth().unwrap();
        assert!(truth.find("never").is_none() && truth.find("c").is_some());
        assert!(ids.is_subset(&pool.ids()));
    }

    #[test]
    fn a_repair_cut_at_any_call_leaves_no_truth_or_the_one_chosen() {
        let mut at = 0;
        loop {
            let (pool, index) = three();
            let ids = pool.ids();
            let mut page = pool.read_at(index.offset() + PAGE as u64, PAGE).unwrap();
            page[0] ^= 1;
            pool.write_at(index.offset() + PAGE as u64, &page).unwrap();
            pool.sync().unwrap();
            let (now, newest) = (transaction(&pool), candidates(&pool).unwrap().remove(0));
            pool.cut(crate::simulated::Cut::Kill {
                at,
                done: at % 2 == 0,
            });
            let done = take_state(&pool, now, &newest);
            let was_cut = pool.is_dead();
            pool.next_process();
            recover(&pool).unwrap();
            if !is_believed(&pool) {
                repair(&pool);
            }
            recover(&pool).unwrap();
            new(&pool, "d").unwrap();
            assert!(ids.is_subset(&pool.ids()), "cut at {at}");
            let truth = pool.truth().unwrap();
            assert!(truth.find("b").is_some() && truth.find("c").is_none());
            if !was_cut {
                return done.unwrap();
            }
            at += 1;
        }
    }

    #[test]
    fn what_taking_a_state_means_is_said() {
        let (pool, _) = three();
        let found = candidates(&pool).unwrap();
        let text = chosen(&found[1], Some(&found[0]));
        assert!(
            text.contains("2 volumes") && text.contains("lacks \"c\""),
            "{text}"
        );
        assert!(chosen(&found[0], Some(&found[1])).contains("only it has \"c\""));
        assert!(chosen(&found[0], None).contains("no other"));
    }
}
