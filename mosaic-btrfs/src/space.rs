// SPDX-License-Identifier: MIT OR Apache-2.0
//! How full the file system is. It has two kinds of space, for data and for metadata, and either can
//! be full while the other has room: then `df` shows space that nobody gets.
//!
//! The kernel gives devices out to both in block groups. What no block group has yet is free for
//! either, less the copies that its profile keeps.

use std::os::fd::BorrowedFd;

use linux_raw_sys::btrfs::{
    BTRFS_BLOCK_GROUP_DATA, BTRFS_BLOCK_GROUP_DUP, BTRFS_BLOCK_GROUP_METADATA,
    BTRFS_BLOCK_GROUP_RAID1, BTRFS_BLOCK_GROUP_RAID1C3, BTRFS_BLOCK_GROUP_RAID1C4,
    BTRFS_BLOCK_GROUP_RAID5, BTRFS_BLOCK_GROUP_RAID6, BTRFS_BLOCK_GROUP_RAID10,
    BTRFS_SPACE_INFO_GLOBAL_RSV, btrfs_ioctl_space_info,
};
use mosaic_core::volume::Space;
use mosaic_core::{Bytes, Context, Result};
use rustix::io::Errno;

use crate::ioctl;

const DATA: u64 = BTRFS_BLOCK_GROUP_DATA as u64;
const METADATA: u64 = BTRFS_BLOCK_GROUP_METADATA as u64;

/// The begin of each device, which the kernel leaves alone, bytes: `BTRFS_DEVICE_RANGE_RESERVED` in
/// `dev_search_start` of fs/btrfs/volumes.c (Linux 6.18).
const RESERVED: u64 = 1 << 20;

/// The classes `data` and `metadata`; `data` alone where block groups are mixed. What no block group
/// has yet counts as free in both, and what the kernel keeps in reserve as free in none.
///
/// # Errors
/// The kernel's.
pub(crate) fn classes(dir: BorrowedFd<'_>) -> Result<Vec<Space>> {
    let failed = || "cannot ask the file system for its space".to_owned();
    let groups = ioctl::space_info(dir).context(failed)?;
    let unallocated = unallocated(dir).context(failed)?;
    let is_mixed = groups.iter().any(|group| kinds(group) == DATA | METADATA);
    let names: &[(&str, u64)] = match is_mixed {
        true => &[("data", DATA | METADATA)],
        false => &[("data", DATA), ("metadata", METADATA)],
    };
    let classes = names
        .iter()
        .map(|(name, kind)| class(name, *kind, &groups, &unallocated));
    Ok(classes.collect())
}

/// One class of block groups.
fn class(name: &str, kind: u64, groups: &[btrfs_ioctl_space_info], unallocated: &[u64]) -> Space {
    let is_reserve =
        |group: &&btrfs_ioctl_space_info| group.flags & BTRFS_SPACE_INFO_GLOBAL_RSV != 0;
    let ours = || {
        groups
            .iter()
            .filter(|group| kinds(group) == kind && !is_reserve(group))
    };
    let sum = |of: fn(&btrfs_ioctl_space_info) -> u64| ours().map(of).fold(0, u64::saturating_add);
    // While it is converted a file system has two profiles; the larger one says more.
    let profile = ours().max_by_key(|group| group.total_bytes);
    let profile = Profile::of(profile.map_or(0, |group| group.flags));
    let used = sum(|group| group.used_bytes);
    let total = sum(|group| group.total_bytes).saturating_add(profile.room(unallocated));
    let reserve = groups.iter().filter(is_reserve);
    let reserve: u64 = match kind & METADATA {
        0 => 0,
        _ => reserve
            .map(|group| group.total_bytes.saturating_sub(group.used_bytes))
            .sum(),
    };
    Space {
        class: name.to_owned(),
        total: Bytes(total),
        used: Bytes(used),
        free: Bytes(total.saturating_sub(used).saturating_sub(reserve)),
    }
}

fn kinds(group: &btrfs_ioctl_space_info) -> u64 {
    group.flags & (DATA | METADATA)
}

/// What no block group has yet and can get on each device, bytes. A device that is missing gives nothing.
fn unallocated(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<u64>> {
    let info = ioctl::fs_info(dir)?;
    let mut free = Vec::new();
    for device in 1..=info.max_id {
        match ioctl::device_info(dir, device) {
            Ok(info) if info.path[0] == 0 => {}
            Ok(info) => {
                let all = info.total_bytes.saturating_sub(info.bytes_used);
                free.push(all.saturating_sub(RESERVED));
            }
            Err(Errno::NODEV) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(free)
}

/// How a block group lies on devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Profile {
    /// So many copies, on one device or on any.
    Anywhere(u64),
    /// So many copies, each on another device.
    Apart(usize),
    /// Stripes on all devices that have room, so many of them parity.
    Parity(u64),
}

impl Profile {
    /// From the flags of a block group (`btrfs_raid_array` of fs/btrfs/volumes.c, Linux 6.18).
    fn of(flags: u64) -> Self {
        let has = |profile: u32| flags & u64::from(profile) != 0;
        match () {
            () if has(BTRFS_BLOCK_GROUP_DUP) => Self::Anywhere(2),
            () if has(BTRFS_BLOCK_GROUP_RAID1 | BTRFS_BLOCK_GROUP_RAID10) => Self::Apart(2),
            () if has(BTRFS_BLOCK_GROUP_RAID1C3) => Self::Apart(3),
            () if has(BTRFS_BLOCK_GROUP_RAID1C4) => Self::Apart(4),
            () if has(BTRFS_BLOCK_GROUP_RAID5) => Self::Parity(1),
            () if has(BTRFS_BLOCK_GROUP_RAID6) => Self::Parity(2),
            // Single, and RAID0, which has no copies.
            () => Self::Anywhere(1),
        }
    }

    /// How much can be stored where devices have this much room, bytes.
    fn room(self, devices: &[u64]) -> u64 {
        let mut devices = devices.to_vec();
        devices.sort_unstable();
        match self {
            Self::Anywhere(copies) => devices.iter().sum::<u64>() / copies,
            // The largest devices can hold no more than one copy each.
            Self::Apart(copies) => (0..copies)
                .map(|largest| {
                    let others = devices.len().saturating_sub(largest);
                    devices[..others].iter().sum::<u64>() / (copies - largest) as u64
                })
                .min()
                .unwrap_or(0),
            // Stripes get narrower as devices are full, the smallest first.
            Self::Parity(parity) => {
                let (mut room, mut below) = (0, 0);
                for (at, device) in devices.iter().enumerate() {
                    let width = (devices.len() - at) as u64;
                    room += (device - below) * width.saturating_sub(parity);
                    below = *device;
                }
                room
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_raw_sys::btrfs::{BTRFS_BLOCK_GROUP_RAID0, BTRFS_BLOCK_GROUP_SYSTEM};

    #[test]
    fn copies_take_their_part_of_the_devices() {
        for (profile, devices, room) in [
            (Profile::Anywhere(1), &[10, 30][..], 40),
            (Profile::Anywhere(2), &[10, 30], 20),
            (Profile::Apart(2), &[30], 0),
            (Profile::Apart(2), &[10, 30], 10),
            (Profile::Apart(2), &[10, 20, 30], 30),
            (Profile::Apart(2), &[10, 10, 30], 20),
            (Profile::Apart(3), &[10, 20, 30], 10),
            (Profile::Apart(3), &[10, 20, 30, 30], 30),
            (Profile::Apart(4), &[10, 20, 30], 0),
            (Profile::Parity(1), &[10, 20, 30], 30),
            (Profile::Parity(2), &[10, 20, 30], 10),
            (Profile::Parity(1), &[10], 0),
            (Profile::Parity(2), &[], 0),
        ] {
            assert_eq!(profile.room(devices), room, "{profile:?} on {devices:?}");
        }
    }

    #[test]
    fn each_kind_of_block_group_has_its_class() {
        let group = |flags: u64, total_bytes, used_bytes| btrfs_ioctl_space_info {
            flags,
            total_bytes,
            used_bytes,
        };
        let dup = u64::from(BTRFS_BLOCK_GROUP_DUP);
        let groups = [
            group(DATA | u64::from(BTRFS_BLOCK_GROUP_RAID0), 100, 40),
            group(u64::from(BTRFS_BLOCK_GROUP_SYSTEM) | dup, 1000, 1),
            group(METADATA | dup, 50, 30),
            group(METADATA | BTRFS_SPACE_INFO_GLOBAL_RSV, 7, 2),
        ];
        let space = class("data", DATA, &groups, &[60]);
        assert_eq!((space.total.0, space.used.0, space.free.0), (160, 40, 120));
        let space = class("metadata", METADATA, &groups, &[60]);
        assert_eq!((space.total.0, space.used.0, space.free.0), (80, 30, 45));
        let mixed = [group(DATA | METADATA, 10, 9), groups[3]];
        let space = class("data", DATA | METADATA, &mixed, &[0]);
        assert_eq!((space.total.0, space.used.0, space.free.0), (10, 9, 0));
    }
}
