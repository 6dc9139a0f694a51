// SPDX-License-Identifier: MIT OR Apache-2.0
//! All subvolumes of the file system, in one pass over the tree of roots.
//!
//! The tree has for each subvolume, next to each other, its `ROOT_ITEM`, a `ROOT_BACKREF` that says
//! in which directory of which subvolume it stands, and a `ROOT_REF` for each one right within it.
//!
//! The pass is no instant. A subvolume that is renamed meanwhile has no backref for a moment, since
//! the kernel takes the old one away before it writes the new one. One that was dropped has none
//! either, but an orphan item. One that has neither is looked at again.

use std::os::fd::BorrowedFd;
use std::thread;
use std::time::Duration;

use linux_raw_sys::btrfs::{
    BTRFS_FIRST_FREE_OBJECTID, BTRFS_LAST_FREE_OBJECTID, BTRFS_ORPHAN_ITEM_KEY,
    BTRFS_ORPHAN_OBJECTID, BTRFS_ROOT_BACKREF_KEY, BTRFS_ROOT_ITEM_KEY, BTRFS_ROOT_REF_KEY,
};
use rustix::io::Result;

use crate::items::{Reference, Root};
use crate::search::{self, Key, ROOT_TREE};

/// How often one without a place is looked at again, and what lies between. The kernel is done in
/// microseconds, where it need not wait for the disk.
const AGAIN: (u32, Duration) = (100, Duration::from_millis(1));

/// A subvolume and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: u64,
    /// What it is.
    pub root: Root,
    /// The id of the subvolume that it stands in.
    pub above: u64,
    /// Directory and name in there.
    pub place: Reference,
    /// How many subvolumes stand right within it.
    pub nested: usize,
}

/// All subvolumes that stand somewhere, in the order of their ids. Without those that are being
/// deleted, and without the top one, which stands nowhere.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN; the kernel's.
pub fn subvolumes(dir: BorrowedFd<'_>) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut unplaced = Vec::new();
    let mut open: Option<Unplaced> = None;
    let keys = [
        Key {
            object: u64::from(BTRFS_FIRST_FREE_OBJECTID),
            kind: BTRFS_ROOT_ITEM_KEY,
            offset: 0,
        },
        Key {
            object: i64::from(BTRFS_LAST_FREE_OBJECTID).cast_unsigned(),
            kind: BTRFS_ROOT_REF_KEY,
            offset: u64::MAX,
        },
    ];
    search::each(dir, ROOT_TREE, keys, |key, data| match key.kind {
        BTRFS_ROOT_ITEM_KEY => {
            unplaced.extend(open.take());
            let found = Root::from_item(data).filter(|root| !root.is_dead);
            open = found.map(|root| Unplaced {
                id: key.object,
                root,
                nested: 0,
            });
        }
        BTRFS_ROOT_BACKREF_KEY => {
            if let Some(place) = Reference::from_item(data)
                && let Some(found) = open.take_if(|found| found.id == key.object)
            {
                entries.push(found.at(key.offset, place));
            }
        }
        BTRFS_ROOT_REF_KEY => match &mut open {
            Some(found) if found.id == key.object => found.nested += 1,
            _ => {
                let entry = entries.last_mut().filter(|entry| entry.id == key.object);
                entry.into_iter().for_each(|entry| entry.nested += 1);
            }
        },
        _ => {}
    })?;
    unplaced.extend(open);
    if !unplaced.is_empty() {
        for found in unplaced {
            let place = place_of(dir, found.id)?;
            entries.extend(place.map(|(above, place)| found.at(above, place)));
        }
        entries.sort_by_key(|entry| entry.id);
    }
    Ok(entries)
}

/// A subvolume whose place has not been seen.
struct Unplaced {
    id: u64,
    root: Root,
    nested: usize,
}

impl Unplaced {
    fn at(self, above: u64, place: Reference) -> Entry {
        Entry {
            id: self.id,
            root: self.root,
            above,
            place,
            nested: self.nested,
        }
    }
}

/// Where a subvolume stands now: id of the one above it, directory and name in there. `Ok(None)` if
/// it was dropped, or there is none of that id.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN; the kernel's.
pub fn place_of(dir: BorrowedFd<'_>, id: u64) -> Result<Option<(u64, Reference)>> {
    for _ in 0..AGAIN.0 {
        let mut found = None;
        let keys = Key::all(id, BTRFS_ROOT_BACKREF_KEY);
        search::each(dir, ROOT_TREE, keys, |key, data| {
            found = Reference::from_item(data).map(|place| (key.offset, place));
        })?;
        if found.is_some() || is_dropped(dir, id)? {
            return Ok(found);
        }
        // It is being renamed, or made.
        thread::sleep(AGAIN.1);
    }
    Ok(None)
}

/// Whether a subvolume has been dropped, deleted already or not.
fn is_dropped(dir: BorrowedFd<'_>, id: u64) -> Result<bool> {
    let orphan = Key {
        object: i64::from(BTRFS_ORPHAN_OBJECTID).cast_unsigned(),
        kind: BTRFS_ORPHAN_ITEM_KEY,
        offset: id,
    };
    let (mut is_there, mut is_orphan) = (false, false);
    search::each(dir, ROOT_TREE, Key::all(id, BTRFS_ROOT_ITEM_KEY), |_, _| {
        is_there = true
    })?;
    search::each(dir, ROOT_TREE, [orphan, orphan], |_, _| is_orphan = true)?;
    Ok(is_orphan || !is_there)
}
