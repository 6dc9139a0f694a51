// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading the file system's own trees, by `BTRFS_IOC_TREE_SEARCH_V2` (Linux 3.16; CAP_SYS_ADMIN).
//!
//! An item is found by its key: object, type, offset, compared in this order. What is between two
//! keys comes in that order, so items of other types can be among them.

use std::mem::offset_of;
use std::os::fd::BorrowedFd;

use linux_raw_sys::btrfs::{btrfs_ioctl_search_header, btrfs_ioctl_search_key};
use rustix::io::{Errno, Result};

use crate::ioctl;

/// Tree of all subvolumes.
pub const ROOT_TREE: u64 = linux_raw_sys::btrfs::BTRFS_ROOT_TREE_OBJECTID as u64;
/// The tree of the subvolume that the directory is in.
pub const OWN_TREE: u64 = 0;
/// Tree of quota groups; there only while quotas are on.
pub const QUOTA_TREE: u64 = linux_raw_sys::btrfs::BTRFS_QUOTA_TREE_OBJECTID as u64;
/// Tree that leads from UUIDs to subvolumes.
pub const UUID_TREE: u64 = linux_raw_sys::btrfs::BTRFS_UUID_TREE_OBJECTID as u64;

/// Room for items in one search, bytes. Any item fits, since it is less than a node of a tree, which
/// has up to 64 KiB; more room makes it no faster, as the kernel touches all of it for each leaf.
const ROOM: usize = 64 << 10;

/// The key of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// What the item is about: a subvolume's id.
    pub object: u64,
    /// `BTRFS_*_KEY`.
    pub kind: u32,
    /// What it means depends on the type.
    pub offset: u64,
}

impl Key {
    /// The least and the greatest key that there is.
    pub const ALL: [Self; 2] = [
        Self {
            object: 0,
            kind: 0,
            offset: 0,
        },
        Self {
            object: u64::MAX,
            kind: u8::MAX as u32,
            offset: u64::MAX,
        },
    ];

    /// The least and the greatest key of this object and type.
    pub fn all(object: u64, kind: u32) -> [Self; 2] {
        [0, u64::MAX].map(|offset| Self {
            object,
            kind,
            offset,
        })
    }

    fn next(self) -> Option<Self> {
        if let Some(offset) = self.offset.checked_add(1) {
            return Some(Self { offset, ..self });
        }
        // The type of a key is one byte on disk.
        if self.kind < 255 {
            let kind = self.kind + 1;
            return Some(Self {
                kind,
                offset: 0,
                ..self
            });
        }
        let object = self.object.checked_add(1)?;
        Some(Self {
            object,
            kind: 0,
            offset: 0,
        })
    }
}

/// Shows each item of `tree` from the key `first` to the key `last` to `item`, in order. A tree that
/// is not there has none.
///
/// The trees change meanwhile: this is no instant. An item that is there all the time is shown.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN; the kernel's.
pub fn each(
    dir: BorrowedFd<'_>,
    tree: u64,
    keys: [Key; 2],
    item: impl FnMut(Key, &[u8]),
) -> Result<()> {
    each_since(dir, tree, keys, 0, item)
}

/// The same with only those items that stand in a block which was changed in the transaction `since`
/// or later. Blocks that were not are not read.
///
/// # Errors
/// Those of [`each`].
pub fn each_since(
    dir: BorrowedFd<'_>,
    tree: u64,
    [first, last]: [Key; 2],
    since: u64,
    mut item: impl FnMut(Key, &[u8]),
) -> Result<()> {
    let mut next = Some(first);
    let mut buffer = vec![0; ioctl::SEARCH_HEAD + ROOM];
    while let Some(from) = next {
        next = page(dir, tree, [from, last], since, &mut buffer, &mut item)?;
    }
    Ok(())
}

/// The same with as many items as fit into `room` bytes, which may be none. Gives the key from which
/// to go on, where there may be others; `None`: that was all.
///
/// # Errors
/// `EOVERFLOW` if not even the first item fits; else those of [`each`].
pub fn some(
    dir: BorrowedFd<'_>,
    tree: u64,
    keys: [Key; 2],
    room: usize,
    mut item: impl FnMut(Key, &[u8]),
) -> Result<Option<Key>> {
    let mut buffer = vec![0; ioctl::SEARCH_HEAD + room];
    page(dir, tree, keys, 0, &mut buffer, &mut item)
}

/// One search; gives the key from which to go on.
fn page(
    dir: BorrowedFd<'_>,
    tree: u64,
    [from, last]: [Key; 2],
    since: u64,
    buffer: &mut [u8],
    item: &mut impl FnMut(Key, &[u8]),
) -> Result<Option<Key>> {
    let key = btrfs_ioctl_search_key {
        tree_id: tree,
        min_objectid: from.object,
        max_objectid: last.object,
        min_offset: from.offset,
        max_offset: last.offset,
        min_transid: since,
        max_transid: u64::MAX,
        min_type: from.kind,
        max_type: last.kind,
        nr_items: u32::MAX,
        unused: 0,
        unused1: 0,
        unused2: 0,
        unused3: 0,
        unused4: 0,
    };
    let number = match ioctl::tree_search(dir, key, buffer) {
        Err(Errno::NOENT) => return Ok(None),
        other => other?,
    };
    if number == 0 {
        return Ok(None);
    }
    let (mut seen, mut rest) = (from, &buffer[ioctl::SEARCH_HEAD..]);
    for _ in 0..number {
        let (key, data);
        (key, data, rest) = take_item(rest).ok_or(Errno::UCLEAN)?;
        seen = key;
        item(key, data);
    }
    Ok(seen.next().filter(|next| *next <= last))
}

/// The first item, its data, and what follows.
fn take_item(bytes: &[u8]) -> Option<(Key, &[u8], &[u8])> {
    const HEAD: usize = size_of::<btrfs_ioctl_search_header>();
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let word = |at: usize| Some(u64::from_ne_bytes(head.get(at..at + 8)?.try_into().ok()?));
    let half = |at: usize| Some(u32::from_ne_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let key = Key {
        object: word(offset_of!(btrfs_ioctl_search_header, objectid))?,
        kind: half(offset_of!(btrfs_ioctl_search_header, type_))?,
        offset: word(offset_of!(btrfs_ioctl_search_header, offset))?,
    };
    let len = half(offset_of!(btrfs_ioctl_search_header, len))?;
    let (data, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    Some((key, data, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_each_other_in_the_order_of_the_tree() {
        let [first, last] = Key::all(256, 132);
        assert!(first < last);
        let next = last.next().unwrap();
        assert_eq!((next.object, next.kind, next.offset), (256, 133, 0));
        let [_, last] = Key::all(256, 255);
        assert_eq!(last.next().unwrap().object, 257);
        assert_eq!(Key::all(u64::MAX, 255)[1].next(), None);
    }

    #[test]
    fn a_cut_answer_gives_no_item() {
        let mut bytes = vec![0; 32];
        bytes[28] = 4;
        assert!(take_item(&bytes).is_none());
        bytes.extend([1, 2, 3, 4, 5]);
        let (_, data, rest) = take_item(&bytes).unwrap();
        assert_eq!((data, rest), (&[1, 2, 3, 4][..], &[5][..]));
        assert!(take_item(&bytes[..31]).is_none());
    }
}
