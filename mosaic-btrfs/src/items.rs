// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stands in the file system's trees: bytes from the disk made into types. Numbers on disk are
//! little endian; an item that is shorter than its type has it is none.
//!
//! Layouts: include/uapi/linux/btrfs_tree.h (Linux 6.18).

use std::fmt;
use std::mem::offset_of;

use linux_raw_sys::btrfs::{
    BTRFS_ROOT_ITEM_KEY, BTRFS_ROOT_SUBVOL_RDONLY, btrfs_dir_item, btrfs_disk_key,
    btrfs_qgroup_info_item, btrfs_qgroup_limit_item, btrfs_qgroup_status_item, btrfs_root_item,
    btrfs_root_ref, btrfs_timespec,
};

/// The UUID of a subvolume.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// `None` for the UUID that is all zeroes: there is none.
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Object and offset of its key in the tree of UUIDs.
    pub fn halves(&self) -> [u64; 2] {
        [0, 8].map(|at| {
            let mut half = [0; 8];
            half.copy_from_slice(&self.0[at..at + 8]);
            u64::from_le_bytes(half)
        })
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (number, byte) in self.0.iter().enumerate() {
            if matches!(number, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = DIGITS[usize::from(byte >> 4)];
            text[at + 1] = DIGITS[usize::from(byte & 15)];
            at += 2;
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A subvolume, from its `ROOT_ITEM` or from `BTRFS_IOC_GET_SUBVOL_INFO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The transaction that last changed its tree.
    pub generation: u64,
    /// It refuses writes.
    pub read_only: bool,
    /// No directory leads to it any more: it is being deleted.
    pub is_dead: bool,
    /// Its own UUID; none on file systems older than Linux 3.6.
    pub uuid: Option<Uuid>,
    /// That of the subvolume it is a snapshot of.
    pub parent: Option<Uuid>,
    /// That which the sender of a received one had.
    pub received: Option<Uuid>,
    /// When it was made, seconds since 1970.
    pub made: Option<u64>,
}

impl Root {
    /// Reads a `ROOT_ITEM`. Those from before Linux 3.6 end early, and have no UUIDs.
    pub fn from_item(data: &[u8]) -> Option<Self> {
        let generation = number(data, offset_of!(btrfs_root_item, generation))?;
        let flags = number(data, offset_of!(btrfs_root_item, flags))?;
        let refs = data
            .get(offset_of!(btrfs_root_item, refs)..)?
            .first_chunk()?;
        // An old kernel that wrote the item left the new fields as they were.
        let newer = number(data, offset_of!(btrfs_root_item, generation_v2)) == Some(generation);
        let uuid = |at: usize| Uuid::new(*data.get(at..)?.first_chunk()?).filter(|_| newer);
        let made = offset_of!(btrfs_root_item, otime) + offset_of!(btrfs_timespec, sec);
        Some(Self {
            generation,
            read_only: flags & u64::from(BTRFS_ROOT_SUBVOL_RDONLY) != 0,
            is_dead: u32::from_le_bytes(*refs) == 0,
            uuid: uuid(offset_of!(btrfs_root_item, uuid)),
            parent: uuid(offset_of!(btrfs_root_item, parent_uuid)),
            received: uuid(offset_of!(btrfs_root_item, received_uuid)),
            made: number(data, made).filter(|made| newer && *made != 0),
        })
    }
}

/// A `ROOT_REF` or `ROOT_BACKREF`: where a subvolume stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Inode of the directory in the subvolume above.
    pub directory: u64,
    /// Its name in there.
    pub name: Vec<u8>,
}

impl Reference {
    /// Reads either item.
    pub fn from_item(data: &[u8]) -> Option<Self> {
        let len = data
            .get(offset_of!(btrfs_root_ref, name_len)..)?
            .first_chunk()?;
        let name = data.get(size_of::<btrfs_root_ref>()..)?;
        Some(Self {
            directory: number(data, offset_of!(btrfs_root_ref, dirid))?,
            name: name.get(..usize::from(u16::from_le_bytes(*len)))?.to_vec(),
        })
    }
}

/// A `DIR_INDEX`: an entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The subvolume that it leads to; `None`: to a file.
    pub subvolume: Option<u64>,
    /// The transaction that it was made in.
    pub made: u64,
}

impl Entry {
    /// Reads the item.
    pub fn from_item(data: &[u8]) -> Option<Self> {
        // `location`, a key, stands at the front.
        let target = number(data, offset_of!(btrfs_disk_key, objectid))?;
        let kind = *data.get(offset_of!(btrfs_disk_key, type_))?;
        Some(Self {
            subvolume: (u32::from(kind) == BTRFS_ROOT_ITEM_KEY).then_some(target),
            made: number(data, offset_of!(btrfs_dir_item, transid))?,
        })
    }
}

/// A `QGROUP_INFO`: what a quota group counts, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// All that it refers to.
    pub referenced: u64,
    /// What only it refers to.
    pub exclusive: u64,
}

impl Usage {
    /// Reads the item.
    pub fn from_item(data: &[u8]) -> Option<Self> {
        Some(Self {
            referenced: number(data, offset_of!(btrfs_qgroup_info_item, rfer))?,
            exclusive: number(data, offset_of!(btrfs_qgroup_info_item, excl))?,
        })
    }
}

/// The limit on the bytes that a quota group refers to, from its `QGROUP_LIMIT`; `None`: unlimited.
pub fn limit(data: &[u8]) -> Option<u64> {
    let flags = number(data, offset_of!(btrfs_qgroup_limit_item, flags))?;
    let limit = number(data, offset_of!(btrfs_qgroup_limit_item, max_rfer))?;
    let is_set = flags & u64::from(linux_raw_sys::btrfs::BTRFS_QGROUP_LIMIT_MAX_RFER) != 0;
    is_set.then_some(limit)
}

/// `BTRFS_QGROUP_STATUS_FLAG_*` from a `QGROUP_STATUS`.
pub fn quota_flags(data: &[u8]) -> Option<u64> {
    number(data, offset_of!(btrfs_qgroup_status_item, flags))
}

fn number(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*data.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_items_are_none() {
        let item = vec![0xff_u8; size_of::<btrfs_root_item>()];
        assert!(Root::from_item(&item).is_some());
        assert!(Root::from_item(&item[..200]).is_none());
        assert!(Usage::from_item(&item[..10]).is_none());
        assert_eq!(limit(&item[..12]), None);
        assert_eq!(quota_flags(&[]), None);
        assert_eq!(Entry::from_item(&item[..20]), None);
        // A name that is said to be longer than the item.
        assert_eq!(Reference::from_item(&item[..40]), None);
    }

    #[test]
    fn an_item_of_before_uuids_has_none() {
        let mut item = vec![0_u8; size_of::<btrfs_root_item>()];
        item[offset_of!(btrfs_root_item, generation)] = 7;
        item[offset_of!(btrfs_root_item, uuid)] = 1;
        let root = Root::from_item(&item).unwrap();
        assert_eq!((root.generation, root.uuid, root.is_dead), (7, None, true));
        item[offset_of!(btrfs_root_item, generation_v2)] = 7;
        let uuid = Root::from_item(&item).unwrap().uuid.unwrap();
        assert_eq!(uuid.to_string(), "01000000-0000-0000-0000-000000000000");
        let old = Root::from_item(&item[..offset_of!(btrfs_root_item, generation_v2)]).unwrap();
        assert_eq!(old.uuid, None);
    }
}
