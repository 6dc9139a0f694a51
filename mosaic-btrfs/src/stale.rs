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
use std::time::SystemTime;

use linux_raw_sys::btrfs::{
    BTRFS_QGROUP_INFO_KEY, BTRFS_QGROUP_STATUS_FLAG_RESCAN, BTRFS_QGROUP_STATUS_KEY,
    BTRFS_ROOT_ITEM_KEY, btrfs_ioctl_search_header, btrfs_qgroup_info_item,
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
/// Room for the groups that one command looks at in one place, bytes: about 900 of them, in 0.15 ms.
const ROOM: usize = 64 << 10;
/// How much of it one takes.
const ITEM: usize = size_of::<btrfs_ioctl_search_header>() + size_of::<btrfs_qgroup_info_item>();
/// Room for the items of a search that asks whether there is any.
const ROOM_FOR_ONE: usize = 256;

/// The quota group of a subvolume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Id of the subvolume.
    pub id: u64,
    /// What it counts.
    pub usage: Usage,
}

impl Group {
    /// Whether it counts nothing. So does that of a subvolume which is there until the end of the
    /// transaction that makes both, and where simple quotas are younger than all that is in it.
    pub fn is_empty(&self) -> bool {
        (self.usage.referenced, self.usage.exclusive) == (0, 0)
    }
}

/// The quota groups that counted nothing, and were of no subvolume, at one moment.
///
/// Such a group can also be one that somebody else is making just now with its subvolume, in one
/// transaction. So the look comes first, then the command's own commit, which ends that transaction
/// too, and then the proof that there is no such subvolume.
#[derive(Debug, Default)]
pub struct Candidates(Vec<u64>);

impl Candidates {
    /// The look, to be taken before the command commits. Where there are many groups it is a look at
    /// some of them, at others each time, so that a command costs no more with many volumes. None
    /// where quotas are off or not to be used, or without CAP_SYS_ADMIN.
    pub fn before(btrfs: &Btrfs) -> Self {
        Self::taken(btrfs, some_empty_groups)
    }

    /// The same at all groups.
    pub fn all_before(btrfs: &Btrfs) -> Self {
        Self::taken(btrfs, empty_groups)
    }

    fn taken(btrfs: &Btrfs, look: fn(BorrowedFd<'_>) -> Result<Vec<u64>>) -> Self {
        let dir = btrfs.location.dir();
        if btrfs.options.quota == QuotaUse::Off {
            return Self::default();
        }
        // While the kernel counts anew all groups count nothing.
        match is_counting(dir).and_then(|is| if is { Ok(Vec::new()) } else { look(dir) }) {
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
    without_subvolumes(dir, groups(dir)?)
}

/// Those of these groups, in the order of their ids, that are of no subvolume: by one pass, since
/// there can be as many of them as subvolumes.
fn without_subvolumes(dir: BorrowedFd<'_>, mut groups: Vec<Group>) -> Result<Vec<Group>> {
    let (Some(first), Some(last)) = (groups.first(), groups.last()) else {
        return Ok(groups);
    };
    let all = [
        Key::all(first.id, BTRFS_ROOT_ITEM_KEY)[0],
        Key::all(last.id, BTRFS_ROOT_ITEM_KEY)[1],
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

/// Whether a rescan runs.
fn is_counting(dir: BorrowedFd<'_>) -> Result<bool> {
    let mut flags = 0;
    let status = Key::all(0, BTRFS_QGROUP_STATUS_KEY);
    search::each(dir, QUOTA_TREE, status, |_, data| {
        flags = items::quota_flags(data).unwrap_or(0);
    })?;
    Ok(flags & u64::from(BTRFS_QGROUP_STATUS_FLAG_RESCAN) != 0)
}

/// The ids of those of these groups that count nothing and are of no subvolume.
fn empty(dir: BorrowedFd<'_>, mut groups: Vec<Group>) -> Result<Vec<u64>> {
    groups.retain(Group::is_empty);
    let empty = without_subvolumes(dir, groups)?;
    Ok(empty.iter().map(|group| group.id).collect())
}

/// Those among all groups.
fn empty_groups(dir: BorrowedFd<'_>) -> Result<Vec<u64>> {
    empty(dir, groups(dir)?)
}

/// Those among the first ones, and where these are not all, among others from somewhere on.
fn some_empty_groups(dir: BorrowedFd<'_>) -> Result<Vec<u64>> {
    let look = |least: u64| {
        let mut seen = Vec::new();
        let next = search::some(dir, QUOTA_TREE, keys([least, IDS[1]]), ROOM, |key, data| {
            seen.extend(group(key, data));
        })?;
        // With room left there was no other one.
        let next = next.filter(|_| seen.len() >= ROOM / ITEM);
        Ok((empty(dir, seen)?, next))
    };
    let (mut found, next) = look(IDS[0])?;
    if let Some(next) = next {
        let least = somewhere(beyond_all(dir)?).max(next.offset);
        found.extend(look(least)?.0);
    }
    Ok(found)
}

/// A number above the ids of all groups, less than four times as great as the greatest.
fn beyond_all(dir: BorrowedFd<'_>) -> Result<u64> {
    let mut beyond = IDS[0];
    loop {
        let mut has_more = false;
        let above = keys([beyond, IDS[1]]);
        search::some(dir, QUOTA_TREE, above, ROOM_FOR_ONE, |_, _| has_more = true)?;
        if !has_more || beyond > IDS[1] / 4 {
            return Ok(beyond);
        }
        beyond *= 4;
    }
}

/// A number up to this one, another one each time.
fn somewhere(beyond: u64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanoseconds = now.map_or(0, |now| now.as_nanos());
    u64::try_from(nanoseconds).unwrap_or(0) % beyond
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
    let mut groups = Vec::new();
    search::each(dir, QUOTA_TREE, keys(ids), |key, data| {
        groups.extend(group(key, data));
    })?;
    Ok(groups)
}

/// The keys of what the groups of these subvolumes count.
fn keys(ids: [u64; 2]) -> [Key; 2] {
    ids.map(|id| Key {
        object: 0,
        kind: BTRFS_QGROUP_INFO_KEY,
        offset: id,
    })
}

fn group(key: Key, data: &[u8]) -> Option<Group> {
    let usage = Usage::from_item(data)?;
    let id = key.offset;
    Some(Group { id, usage })
}
