// SPDX-License-Identifier: MIT OR Apache-2.0
//! Quota groups whose subvolumes are gone.
//!
//! The kernel makes a quota group (`0/ID`) along with each subvolume, and does not always remove it
//! with that: under simple quotas a group stays for as long as clones share data that its subvolume
//! wrote, and for ever after; before Linux 6.11 every group stays (fs/btrfs/qgroup.c,
//! `btrfs_qgroup_cleanup_dropped_subvolume`). When the last of that data goes, nobody is told. So
//! each command that changes something removes those that count nothing any more.

use std::collections::HashSet;
use std::os::fd::BorrowedFd;

use linux_raw_sys::btrfs::{
    BTRFS_QGROUP_INFO_KEY, BTRFS_QGROUP_STATUS_FLAG_RESCAN, BTRFS_QGROUP_STATUS_KEY,
    BTRFS_ROOT_ITEM_KEY,
};
use rustix::io::{Errno, Result};

use crate::config::QuotaUse;
use crate::driver::Btrfs;
use crate::ioctl;
use crate::items::{self, Usage};
use crate::search::{self, Key, QUOTA_TREE, ROOT_TREE};

/// The least and the greatest id of a subvolume that can be made and dropped, which is also the
/// number of its quota group; those of a higher level have it in their upper 16 bits
/// (include/uapi/linux/btrfs_tree.h, `BTRFS_FIRST_FREE_OBJECTID`, `BTRFS_QGROUP_LEVEL_SHIFT`).
const IDS: [u64; 2] = [256, (1 << 48) - 1];

/// How many groups one command removes; the next one goes on.
const MOST: usize = 1000;

/// The quota group of a subvolume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Id of the subvolume.
    pub id: u64,
    /// What it counts.
    pub usage: Usage,
}

impl Group {
    /// Whether it counts nothing: that of a subvolume which is there counts at least its root block,
    /// from the end of the transaction on that makes both.
    pub fn is_empty(&self) -> bool {
        (self.usage.referenced, self.usage.exclusive) == (0, 0)
    }
}

/// The quota groups that counted nothing at one moment.
///
/// A group that counts nothing can also be one that somebody else is making just now with its
/// subvolume, in one transaction. So the look comes first, then the command's own commit, which
/// ends that transaction too, and then the proof that there is no such subvolume.
#[derive(Debug, Default)]
pub struct Candidates(Vec<u64>);

impl Candidates {
    /// The look, to be taken before the command commits. None where quotas are off or not to be
    /// used, or without CAP_SYS_ADMIN.
    pub fn before(btrfs: &Btrfs) -> Self {
        if btrfs.options.quota == QuotaUse::Off {
            return Self::default();
        }
        match empty_groups(btrfs.location.dir()) {
            Ok(groups) => Self(groups),
            Err(errno) => {
                btrfs
                    .host
                    .debug(&format!("no look at dead qgroups: {errno}"));
                Self::default()
            }
        }
    }

    /// Removes those whose subvolumes are not there, after the commit; their number. What fails is
    /// not the command's concern: the next one tries again.
    pub fn sweep(self, btrfs: &Btrfs) -> usize {
        let (host, dir) = (&btrfs.host, btrfs.location.dir());
        let mut removed = 0;
        for id in self.0 {
            match remove(dir, id) {
                Ok(true) => {
                    host.debug(&format!("removed qgroup 0/{id}, of no subvolume"));
                    removed += 1;
                }
                Ok(false) => {}
                Err(errno) => {
                    host.debug(&format!("dead qgroup 0/{id} stays: {errno}"));
                    break;
                }
            }
            if removed == MOST || host.is_cancelled() {
                break;
            }
        }
        removed
    }
}

/// Removes the group if there is no such subvolume. `Ok(false)`: it is there, or still counts.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN; the kernel's.
fn remove(dir: BorrowedFd<'_>, id: u64) -> Result<bool> {
    let mut is_there = false;
    let items = Key::all(id, BTRFS_ROOT_ITEM_KEY);
    search::each(dir, ROOT_TREE, items, |_, _| is_there = true)?;
    if is_there {
        return Ok(false);
    }
    match ioctl::destroy_qgroup(dir, id) {
        Ok(()) => Ok(true),
        Err(Errno::BUSY | Errno::NOENT | Errno::NOTCONN) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The quota groups whose subvolumes are gone, in the order of their ids. One that was dropped a
/// moment ago, and is still being cleaned, is not gone.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN; the kernel's.
pub fn dead_groups(dir: BorrowedFd<'_>) -> Result<Vec<Group>> {
    let mut groups = groups(dir)?;
    if groups.is_empty() {
        return Ok(groups);
    }
    let [least, greatest] = IDS;
    let all = [
        Key::all(least, BTRFS_ROOT_ITEM_KEY)[0],
        Key::all(greatest, BTRFS_ROOT_ITEM_KEY)[1],
    ];
    let mut there = HashSet::new();
    search::each(dir, ROOT_TREE, all, |key, _| {
        if key.kind == BTRFS_ROOT_ITEM_KEY {
            there.insert(key.object);
        }
    })?;
    groups.retain(|group| !there.contains(&group.id));
    Ok(groups)
}

/// All groups that count nothing. While the kernel counts anew all do, and none is looked at.
fn empty_groups(dir: BorrowedFd<'_>) -> Result<Vec<u64>> {
    let mut flags = 0;
    let status = Key::all(0, BTRFS_QGROUP_STATUS_KEY);
    search::each(dir, QUOTA_TREE, status, |_, data| {
        flags = items::quota_flags(data).unwrap_or(0);
    })?;
    if flags & u64::from(BTRFS_QGROUP_STATUS_FLAG_RESCAN) != 0 {
        return Ok(Vec::new());
    }
    let groups = groups(dir)?;
    let empty = groups.iter().filter(|group| group.is_empty());
    Ok(empty.map(|group| group.id).collect())
}

/// What the group of one subvolume counted at the last commit; `None` if it has none.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN; the kernel's.
pub(crate) fn usage(dir: BorrowedFd<'_>, id: u64) -> Result<Option<Usage>> {
    Ok(groups_between(dir, [id, id])?
        .pop()
        .map(|group| group.usage))
}

/// The quota groups of all subvolumes, in the order of their ids; none where quotas are off.
fn groups(dir: BorrowedFd<'_>) -> Result<Vec<Group>> {
    groups_between(dir, IDS)
}

fn groups_between(dir: BorrowedFd<'_>, ids: [u64; 2]) -> Result<Vec<Group>> {
    let keys = ids.map(|id| Key {
        object: 0,
        kind: BTRFS_QGROUP_INFO_KEY,
        offset: id,
    });
    let mut groups = Vec::new();
    search::each(dir, QUOTA_TREE, keys, |key, data| {
        let usage = Usage::from_item(data);
        groups.extend(usage.map(|usage| Group {
            id: key.offset,
            usage,
        }));
    })?;
    Ok(groups)
}
