// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which file an image is, as stat(2) and a loop device both say it.

use std::os::fd::AsFd;

use rustix::fs::{self, AtFlags, StatxFlags};

/// Which file: what tells a loop device's backing file from all others.
///
/// As stat(2) says it, which on btrfs is the subvolume's device number, not the superblock's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The device of its file system.
    pub device: u64,
    /// The inode.
    pub inode: u64,
}

impl Identity {
    /// The identity of an open file.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of(file: impl AsFd) -> rustix::io::Result<Self> {
        let mask = StatxFlags::INO;
        let stat = fs::statx(file, c"", AtFlags::EMPTY_PATH, mask)?;
        Ok(Self::from_statx(&stat))
    }

    /// The identity in an answer of statx(2).
    pub fn from_statx(stat: &fs::Statx) -> Self {
        Self {
            device: fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
        }
    }
}
