// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which block devices a mounted file system is on.
//!
//! The mount table says it by number, but not for btrfs, which has an anonymous number of its own.
//! There the source is the path of one of its devices, and sysfs knows which belong together. Only if
//! that path leads nowhere from here the file system itself is opened and asked: while it is open,
//! nobody can unmount it. The source of any other file system without a number is what somebody
//! wrote there: a tmpfs in a user namespace may name a device of ours.

use std::cell::OnceCell;
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

/// A block device, told from others that have its path before or after it.
///
/// Where the kernel does not number devices the path is all that there is.
///
/// Kernel: `/sys/block/DISK/diskseq`, sysfs-block in Documentation/ABI, since Linux 5.15.
#[cfg(feature = "host")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceIdentity {
    path: PathBuf,
    sequence: Option<String>,
}

#[cfg(feature = "host")]
impl DeviceIdentity {
    /// The device that has the path now.
    pub(crate) fn of(path: &Path) -> Self {
        let sequence = device_number(path).ok().and_then(|number| {
            let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
            std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/diskseq")).ok()
        });
        Self {
            path: path.to_owned(),
            sequence,
        }
    }
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

/// Tells the devices of mounts; reads what sysfs says of btrfs once, when the first one is met.
#[derive(Debug, Default)]
pub(crate) struct MountDevices {
    btrfs: OnceCell<Vec<Vec<Dev>>>,
}

impl MountDevices {
    /// The devices of the file system of a mount whose mountpoint is found beneath `root`, which is
    /// `/` or a process's `/proc/PID/root`, or not at all (`None`).
    pub(crate) fn of(&self, entry: &MountEntry, root: Option<&Path>) -> Vec<Dev> {
        if entry.major != 0 {
            return vec![rustix::fs::makedev(entry.major, entry.minor)];
        }
        if entry.fs != "btrfs" {
            return Vec::new();
        }
        let source = Path::new(&entry.source);
        let device = source.is_absolute().then(|| device_number(source).ok());
        match (device.flatten(), root) {
            (Some(device), _) => self.companions(device),
            (None, Some(root)) => open_mount(entry, root)
                .and_then(|inside| devices_of_btrfs(&inside))
                .unwrap_or_default(),
            (None, None) => Vec::new(),
        }
    }

    /// The devices of the mounted btrfs that this one belongs to, itself too.
    fn companions(&self, device: Dev) -> Vec<Dev> {
        let all = self.btrfs.get_or_init(all_btrfs);
        let found = all.iter().find(|members| members.contains(&device));
        found.cloned().unwrap_or_else(|| vec![device])
    }
}

/// The devices of each mounted btrfs.
///
/// Kernel: `/sys/fs/btrfs/UUID/devices`, links to the block devices' folders.
fn all_btrfs() -> Vec<Vec<Dev>> {
    let file_systems = std::fs::read_dir("/sys/fs/btrfs").into_iter().flatten();
    file_systems
        .flatten()
        .map(|file_system| members(&file_system.path().join("devices")))
        .filter(|members| !members.is_empty())
        .collect()
}

fn members(folder: &Path) -> Vec<Dev> {
    let devices = std::fs::read_dir(folder).into_iter().flatten().flatten();
    devices
        .filter_map(|device| {
            let text = std::fs::read_to_string(device.path().join("dev")).ok()?;
            let (major, minor) = text.trim_end().split_once(':')?;
            Some(rustix::fs::makedev(
                major.parse().ok()?,
                minor.parse().ok()?,
            ))
        })
        .collect()
}

/// `BTRFS_SUPER_MAGIC` in include/uapi/linux/magic.h.
const BTRFS_MAGIC: u32 = 0x9123_683e;

/// The devices of an open btrfs directory or file; `ENOTTY` for any other. Only the kernel's btrfs is
/// asked: a FUSE server could give any answer.
pub(crate) fn devices_of_btrfs(inside: impl AsFd) -> rustix::io::Result<Vec<Dev>> {
    // Its field is an int or a long, signed or not, by architecture; the number has 32 bits.
    let magic = i128::from(rustix::fs::fstatfs(&inside)?.f_type);
    if magic & 0xffff_ffff != i128::from(BTRFS_MAGIC) {
        return Err(Errno::NOTTY);
    }
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
