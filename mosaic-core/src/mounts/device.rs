// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which block devices a mounted file system is on.
//!
//! The mount table says it by number, but not for btrfs, which has an anonymous number of its own:
//! there the file system itself is asked, or, if it cannot be reached, the source's text is trusted.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dev, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

use super::mountinfo::MountEntry;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::ioctl::mount::btrfs_devices;

/// The number of a block device by its path.
///
/// # Errors
/// `NotFound`; `Invalid` if it is no block device.
pub(crate) fn device_number(device: &Path) -> Result<Dev> {
    let stat = rustix::fs::stat(device).context(|| format!("cannot look at device {device:?}"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("{device:?} is not a block device"),
        ));
    }
    Ok(stat.st_rdev)
}

/// What statx(2) says of an open file, with the number of its mount, asking no server on a network.
pub(crate) fn statx_of(file: impl AsFd) -> rustix::io::Result<Statx> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    rustix::fs::statx(
        file,
        "",
        flags,
        StatxFlags::BASIC_STATS | StatxFlags::MNT_ID,
    )
}

/// The device number that statx(2) gives in two halves.
pub(crate) fn device_of(stat: &Statx) -> Dev {
    rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor)
}

/// The devices of the file system of a mount whose mountpoint is found beneath `root`, which is
/// `/` or a process's `/proc/PID/root`, or not at all (`None`).
pub(crate) fn devices_of_mount(entry: &MountEntry, root: Option<&Path>) -> Vec<Dev> {
    if entry.major != 0 {
        return vec![rustix::fs::makedev(entry.major, entry.minor)];
    }
    if let Some(root) = root.filter(|_| entry.fs == "btrfs") {
        let devices = open_mount(entry, root).and_then(|inside| devices_of_btrfs(&inside));
        if let Ok(devices) = devices {
            return devices;
        }
    }
    let source = Path::new(&entry.source);
    let device = source.is_absolute().then(|| device_number(source).ok());
    device.flatten().into_iter().collect()
}

/// The devices of an open btrfs directory or file.
pub(crate) fn devices_of_btrfs(inside: impl AsFd) -> rustix::io::Result<Vec<Dev>> {
    let paths = btrfs_devices(inside.as_fd())?;
    Ok(paths
        .iter()
        .filter_map(|path| device_number(path).ok())
        .collect())
}

/// Opens the root of a mount for reading, unless another mount hides it.
fn open_mount(entry: &MountEntry, root: &Path) -> rustix::io::Result<OwnedFd> {
    let mountpoint = entry
        .mountpoint
        .strip_prefix("/")
        .unwrap_or(&entry.mountpoint);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::openat(CWD, root.join(mountpoint), flags, Mode::empty())?;
    let stat = statx_of(&found)?;
    if stat.stx_mnt_id != entry.id {
        return Err(Errno::STALE);
    }
    reopen(&found, &stat)
}

/// Opens for reading what an `O_PATH` descriptor stands for, if that is a directory or a plain file:
/// opening a device or a pipe would do something.
pub(crate) fn reopen(found: &OwnedFd, stat: &Statx) -> rustix::io::Result<OwnedFd> {
    match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::Directory | FileType::RegularFile => {}
        _ => return Err(Errno::NOTTY),
    }
    let path = descriptor_path(found);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// The path in `/proc` that leads to what an own descriptor stands for.
pub(crate) fn descriptor_path(file: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/thread-self/fd/{}", file.as_fd().as_raw_fd()))
}
