// SPDX-License-Identifier: MIT OR Apache-2.0
//! The floor under the driver `btrfs`: the same ioctls, and as many commits.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use linux_raw_sys::btrfs::{
    BTRFS_QGROUP_INFO_KEY, BTRFS_QGROUP_LIMIT_KEY, BTRFS_ROOT_BACKREF_KEY, BTRFS_ROOT_ITEM_KEY,
};
use mosaic_btrfs::ioctl::{self, Inherit};
use mosaic_btrfs::items::{Root, Usage};
use mosaic_btrfs::search::{self, Key, QUOTA_TREE, ROOT_TREE};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_bind, mount_remount};

use crate::bytes;

/// Id of the first subvolume, `BTRFS_FIRST_FREE_OBJECTID`.
const FIRST: u64 = 256;
/// A qgroup's id has its level from this bit on.
const LEVEL: u32 = 48;

/// Does what the words say.
pub fn run(words: &[&Path]) -> Result<()> {
    let (verb, paths) = words.split_first().context("no verb")?;
    match (verb.to_str(), paths) {
        (Some("info"), [path]) => drop(ioctl::subvolume_info(open(path)?)?),
        (Some("list"), [at]) => list(at)?,
        (Some("new"), [path, size]) => {
            let (folder, name) = parted(path)?;
            rustix::process::umask(Mode::from_raw_mode(0o077));
            ioctl::create(folder.as_fd(), name, Some(&limited(bytes(size)?)))?;
            fs::fsync(folder)?;
        }
        // Commits by itself.
        (Some("clone"), [from, to, size]) => {
            let (folder, name) = parted(to)?;
            let source = open(from)?;
            let limit = limited(bytes(size)?);
            ioctl::snapshot(folder.as_fd(), name, source.as_fd(), false, Some(&limit))?;
        }
        (Some("limit"), [path, size]) => {
            let subvolume = open(path)?;
            let id = ioctl::subvolume_id(&subvolume)?;
            ioctl::limit(&subvolume, id, Some(bytes(size)?))?;
            ioctl::sync(subvolume)?;
        }
        (Some("drop"), [path]) => {
            let (folder, name) = parted(path)?;
            ioctl::destroy(folder.as_fd(), name)?;
            fs::fsync(folder)?;
        }
        (Some("mount"), [path, at]) => {
            mount_bind(*path, *at)?;
            mount_remount(
                *at,
                MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV,
                "",
            )?;
        }
        (Some("quota"), [at, kind]) => {
            let location = open(at)?;
            ioctl::enable_quotas(&location, kind.to_str() == Some("simple"))?;
        }
        (Some("fill"), [at, number]) => fill(at, bytes(number)?)?,
        (Some("settle"), [at]) => settle(at)?,
        _ => bail!("no such verb, or not its arguments: {words:?}"),
    }
    Ok(())
}

fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::open(path, flags, Mode::empty())?)
}

fn parted(path: &Path) -> Result<(OwnedFd, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    let folder = path.parent().context("no folder")?;
    Ok((open(folder)?, name.context("no name")?))
}

fn limited(bytes: u64) -> Inherit {
    Inherit {
        limit: Some(bytes),
        groups: Vec::new(),
    }
}

/// Subvolumes with their names; usage and limits where quotas are on.
fn list(at: &Path) -> Result<()> {
    let location = open(at)?;
    let mut bytes = 0;
    let mut see = |_: Key, data: &[u8]| bytes += data.len();
    let range = between(FIRST, BTRFS_ROOT_ITEM_KEY, BTRFS_ROOT_BACKREF_KEY);
    search::each(location.as_fd(), ROOT_TREE, range, &mut see)?;
    let range = between(0, BTRFS_QGROUP_INFO_KEY, BTRFS_QGROUP_LIMIT_KEY);
    search::each(location.as_fd(), QUOTA_TREE, range, &mut see)?;
    std::hint::black_box(bytes);
    Ok(())
}

/// Volumes as Mosaic makes them, in one transaction.
fn fill(at: &Path, number: u64) -> Result<()> {
    let location = open(at)?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let limit = limited(1 << 30);
    for at in 0..number {
        ioctl::create(location.as_fd(), format!("volume{at:05}"), Some(&limit))?;
    }
    fs::fsync(location)?;
    Ok(())
}

/// Returns when destroyed subvolumes have gone, with their qgroups: each round begins alike.
fn settle(at: &Path) -> Result<()> {
    let location = open(at)?;
    loop {
        // This wakes what cleans up.
        ioctl::sync(&location)?;
        let mut living = BTreeSet::new();
        let mut dead = false;
        let range = between(FIRST, BTRFS_ROOT_ITEM_KEY, BTRFS_ROOT_ITEM_KEY);
        search::each(location.as_fd(), ROOT_TREE, range, |key, data| {
            if key.kind == BTRFS_ROOT_ITEM_KEY {
                living.insert(key.object);
                dead |= Root::from_item(data).is_some_and(|root| root.is_dead);
            }
        })?;
        if !dead {
            return remove_qgroups(&location, &living);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn remove_qgroups(location: &OwnedFd, living: &BTreeSet<u64>) -> Result<()> {
    let mut empty = Vec::new();
    let range = between(0, BTRFS_QGROUP_INFO_KEY, BTRFS_QGROUP_INFO_KEY);
    search::each(location.as_fd(), QUOTA_TREE, range, |key, data| {
        let of_subvolume = key.kind == BTRFS_QGROUP_INFO_KEY && key.offset >> LEVEL == 0;
        let reads_0 = Usage::from_item(data).is_some_and(|usage| usage.referenced == 0);
        if of_subvolume && reads_0 && key.offset >= FIRST && !living.contains(&key.offset) {
            empty.push(key.offset);
        }
    })?;
    for qgroup in empty {
        match ioctl::destroy_qgroup(location, qgroup) {
            Ok(()) | Err(Errno::BUSY | Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn between(object: u64, first: u32, last: u32) -> [Key; 2] {
    [Key::all(object, first)[0], Key::all(u64::MAX, last)[1]]
}
