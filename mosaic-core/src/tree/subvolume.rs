// SPDX-License-Identifier: MIT OR Apache-2.0
//! Subvolumes that a tenant made in a tree on btrfs, a container engine's layers for one.
//!
//! No mount parts them from the directory they are in, but a rename does not cross their border,
//! and one may be read-only. An empty one goes by rmdir (Linux 4.18).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, Stat, StatVfsMountFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind};
use crate::ioctl::subvolume::{READ_ONLY, flags, set_flags};

/// `BTRFS_SUPER_MAGIC`: uapi/linux/magic.h.
const BTRFS: i64 = 0x9123_683e;
/// `BTRFS_FIRST_FREE_OBJECTID`: the root directory of every subvolume (uapi/linux/btrfs_tree.h).
const ROOT_INODE: u64 = 256;

/// Whether a directory is the root of a subvolume. A read-only one is made writable, as nothing can
/// be removed in it; if that fails, removing says so.
pub(super) fn open_up(dir: &OwnedFd, stat: &Stat) -> bool {
    let is_subvolume =
        stat.st_ino == ROOT_INODE && fs::fstatfs(dir).is_ok_and(|fs| fs.f_type == BTRFS);
    if is_subvolume
        && let Ok(flags) = flags(dir.as_fd())
        && flags & READ_ONLY != 0
    {
        let _ = set_flags(dir.as_fd(), flags & !READ_ONLY);
    }
    is_subvolume
}

/// Why nothing can be removed in a directory that is read-only.
pub(super) fn read_only(dir: BorrowedFd<'_>) -> Error {
    let mounted = fs::fstatvfs(dir).map(|fs| fs.f_flag);
    if mounted.is_ok_and(|flags| flags.contains(StatVfsMountFlags::RDONLY)) {
        return Error::io(Errno::ROFS, "the kernel keeps it");
    }
    let text = "it is in a read-only subvolume that cannot be made writable now: it is being sent, \
        or somebody else's (btrfs property set -ts SUBVOLUME ro false mends that)";
    Error::new(ErrorKind::Permission, text)
}
