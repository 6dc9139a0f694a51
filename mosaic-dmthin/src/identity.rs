// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a thin device is the one that the catalog means.
//!
//! An id alone does not tell: another pool's metadata, or those of another time, have the same ids
//! with other data. The pool keeps with each thin device the transaction that it was made in, and so
//! does the catalog; of two that are not the same nothing is deleted, written or shown. A pool's
//! transactions begin at random, so that those of two pools are not the same by chance.

use std::collections::HashMap;

use mosaic_core::{Error, ErrorKind, Result};

use crate::catalog::Entry;
use crate::catalog::store::Candidate;
use crate::target::ThinId;
use crate::thin_metadata::Details;
use crate::thin_pool::ThinPool;

/// Whether the pool has the thin device of this id that was made in this transaction.
///
/// # Errors
/// The kernel's.
pub(crate) fn is_there(pool: &dyn ThinPool, id: ThinId, made_in: u64) -> Result<bool> {
    let details = pool.details(id)?;
    Ok(details.is_some_and(|details| details.made_in == made_in))
}

/// Goes on if the pool's thin device is not another one than a volume's. That there is none is the
/// kernel's to say.
///
/// # Errors
/// `Corrupt`, with both transactions.
pub(crate) fn require_made(pool: &dyn ThinPool, entry: &Entry) -> Result<()> {
    match pool.details(entry.id)? {
        Some(details) if details.made_in != entry.made_in => Err(Error::new(
            ErrorKind::Corrupt,
            format!("{}: {}", pool.label(), another(entry, details.made_in)),
        )),
        _ => Ok(()),
    }
}

/// More changes than a pool ever meets, and less than there are between two pools.
const FAR: u64 = 1 << 32;

/// Whether a state of a catalog can be of a pool at this transaction, with these thin devices: one of
/// its volumes is there. One without volumes is told by the transactions; of metadata that were
/// repaired and have no thin device since the pool's beginning that is 1.
pub(crate) fn may_be_of(state: &Candidate, transaction: u64, list: &[(ThinId, Details)]) -> bool {
    let made_in: HashMap<ThinId, u64> = list.iter().map(|(id, of)| (*id, of.made_in)).collect();
    let mut volumes = state.catalog.volumes().map(|(_, entry)| entry);
    match state.catalog.len() {
        0 => transaction <= 1 || transaction.abs_diff(state.header.stamp) < FAR,
        _ => volumes.any(|entry| made_in.get(&entry.id) == Some(&entry.made_in)),
    }
}

/// What is wrong with a volume of which the pool says this; `None`: nothing.
pub(crate) fn fault(entry: &Entry, details: Option<Details>) -> Option<String> {
    match details {
        None => Some(format!("{}; then drop it", lost(entry.id))),
        Some(details) if details.made_in != entry.made_in => Some(another(entry, details.made_in)),
        Some(_) => None,
    }
}

/// The same of the metadata file system, which init makes before the first transaction.
pub(crate) fn metadata_fault(details: Option<Details>) -> Option<String> {
    match details {
        None => Some(format!(
            "the metadata file system: {}",
            lost(ThinId::METADATA)
        )),
        Some(Details { made_in: 0, .. }) => None,
        Some(Details { made_in, .. }) => Some(format!(
            "the metadata file system: its thin id {} was made in transaction {made_in}, and not by \
             init: it is another thin device, {OTHER_METADATA}",
            ThinId::METADATA
        )),
    }
}

/// Goes on if the pool's thin device for the metadata file system is not another one.
///
/// # Errors
/// `Corrupt`; the kernel's.
pub(crate) fn require_metadata(pool: &dyn ThinPool) -> Result<()> {
    let details = pool.details(ThinId::METADATA)?;
    match details.and_then(|details| metadata_fault(Some(details))) {
        Some(fault) => Err(Error::new(
            ErrorKind::Corrupt,
            format!("{}: {fault}", pool.label()),
        )),
        None => Ok(()),
    }
}

fn lost(id: ThinId) -> String {
    format!(
        "its thin id {id} is not in the pool: its data is lost, if these are the pool's right metadata"
    )
}

const OTHER_METADATA: &str = "the pool's metadata are not those that the catalog belongs to";

/// What is said of a thin device that is another one.
fn another(entry: &Entry, made_in: u64) -> String {
    format!(
        "thin id {} was made in transaction {made_in}, and the catalog's in {}: it is another thin \
         device, {OTHER_METADATA}; bring the right ones back, or drop the volume: its name goes, the \
         thin device stays",
        entry.id, entry.made_in
    )
}

#[cfg(test)]
mod tests {
    use mosaic_core::{Bytes, VolumeName};

    use super::*;
    use crate::catalog::slot::{Header, SlotIndex};
    use crate::catalog::tests::{POOL, entry, id};
    use crate::catalog::{Catalog, Content};
    use crate::create::{self, Request};
    use crate::health::Floors;
    use crate::recover::recover;
    use crate::simulated::SimulatedPool;
    use crate::target::Message;
    use crate::{change, clone};

    struct Nothing;

    impl clone::Source for Nothing {
        fn flush(&self) -> Result<()> {
            Ok(())
        }

        fn finish(&self, _: &std::path::Path, _: bool) -> Result<clone::Copied> {
            Ok(clone::Copied::Finished)
        }
    }

    #[test]
    fn a_catalog_is_told_to_be_of_a_pool_by_what_both_have() {
        let (stamp, made_in) = (5 << 40, 4);
        let state = |catalog| Candidate {
            index: SlotIndex::First,
            header: Header::new(POOL, stamp, 128 << 10, b""),
            catalog,
        };
        let mut volumes = Catalog::default();
        volumes.insert("a", entry(1)).unwrap();
        volumes.insert("b", entry(2)).unwrap();
        let (none, some) = (state(Catalog::default()), state(volumes));
        let list = |of: &[(u32, u64)]| -> Vec<(ThinId, Details)> {
            let details = |made_in| Details { mapped: 1, made_in };
            of.iter()
                .map(|(n, made_in)| (id(*n), details(*made_in)))
                .collect()
        };
        let own = list(&[(2, entry(2).made_in), (9, made_in)]);
        let others = list(&[(1, made_in), (2, made_in)]);
        for transaction in [0, 1, stamp, stamp + 1, stamp << 1] {
            assert!(may_be_of(&some, transaction, &own));
            assert!(!may_be_of(&some, transaction, &others));
        }
        for (transaction, may_be) in [(1, true), (stamp + 9, true), (7, false), (6 << 40, false)] {
            assert_eq!(
                may_be_of(&none, transaction, &others),
                may_be,
                "{transaction}"
            );
        }
    }

    #[test]
    fn a_thin_device_of_another_time_is_not_deleted_and_not_used() {
        let pool = SimulatedPool::new();
        let name = |text| VolumeName::parse(text).unwrap();
        let floors = Floors::default;
        for volume in ["a", "b"] {
            let request = Request {
                content: Content::Disk,
                size: Bytes(1 << 20),
                created: 7,
            };
            create::create(&pool, floors(), &name(volume), request, &|_| Ok(())).unwrap();
        }
        let id = pool.truth().unwrap().find("a").unwrap().id;
        pool.message(Message::Delete(id)).unwrap();
        pool.make_orphan(id);
        let clone = clone::Request {
            from: "a",
            to: &name("c"),
            size: None,
            created: 8,
        };
        for error in [
            change::resize(&pool, floors(), "a", Bytes(2 << 20)).unwrap_err(),
            clone::clone(&pool, floors(), clone, &Nothing).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.chain().contains("another thin device"), "{error}");
        }
        // The name goes, the thin device does not.
        change::drop_volume(&pool, floors(), "a", true).unwrap();
        recover(&pool).unwrap();
        change::rename(&pool, floors(), "b", &name("d")).unwrap();
        recover(&pool).unwrap();
        assert_eq!(pool.content(id).as_deref(), Some("orphan"));
        assert!(pool.discarded().is_empty());
        assert!(pool.truth().unwrap().pending.is_empty());
    }
}
