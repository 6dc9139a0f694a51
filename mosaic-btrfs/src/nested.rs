// SPDX-License-Identifier: MIT OR Apache-2.0
//! The subvolumes within one, however deep, for a drop.
//!
//! A tenant made them, and chose how deep they lie and how long their paths are. So they are found
//! in the file system's trees and reached by the numbers of their directories, never by a path, and
//! with one open descriptor at a time. A directory cannot leave its subvolume: what is destroyed
//! stands in a directory of the one that is dropped, whatever somebody moves around meanwhile.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd};

use linux_raw_sys::btrfs::BTRFS_ROOT_REF_KEY;
use rustix::io::{Errno, Result};

use crate::ioctl::{self, ROOT_INODE};
use crate::items::Reference;
use crate::search::{self, Key, ROOT_TREE};

/// A subvolume within another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nested {
    /// Its id.
    pub id: u64,
    /// Id of the subvolume that it is right within.
    pub above: u64,
    /// Its name, and the directory of that subvolume in which it has it.
    pub place: Reference,
}

/// All subvolumes within the one of this id, each after the one that it is right within.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN; the kernel's.
pub fn within(dir: BorrowedFd<'_>, id: u64) -> Result<Vec<Nested>> {
    let mut found: Vec<Nested> = Vec::new();
    let mut known = HashSet::from([id]);
    let (mut above, mut at) = (id, 0);
    loop {
        let references = Key::all(above, BTRFS_ROOT_REF_KEY);
        search::each(dir, ROOT_TREE, references, |key, data| {
            let place = Reference::from_item(data).filter(|_| known.insert(key.offset));
            found.extend(place.map(|place| Nested {
                id: key.offset,
                above,
                place,
            }));
        })?;
        let Some(next) = found.get(at) else {
            return Ok(found);
        };
        (above, at) = (next.id, at + 1);
    }
}

impl Nested {
    /// Destroys it, if nothing is within it. One that is gone, or has another place now, is fine.
    /// Nothing can be destroyed in a read-only subvolume, nor in one whose quota is used up: that is
    /// made writable, and loses its limit.
    ///
    /// # Errors
    /// `ENOTEMPTY` if there are subvolumes within it; `EPERM` if it is being sent, or holds an
    /// active swap file, or is the default one; `EPERM` without privilege; the kernel's.
    pub fn destroy(&self, dir: BorrowedFd<'_>) -> Result<()> {
        let mut destroyed = self.try_destroy(dir);
        if destroyed == Err(Errno::ROFS) {
            let above = ioctl::open_directory(dir, self.above, ROOT_INODE)?;
            let mut opened = ioctl::set_read_only(&above, false);
            if opened == Err(Errno::DQUOT) {
                ioctl::limit(dir, self.above, None)?;
                opened = ioctl::set_read_only(&above, false);
            }
            destroyed = opened.and_then(|()| self.try_destroy(dir));
        }
        if destroyed == Err(Errno::DQUOT) {
            ioctl::limit(dir, self.above, None)?;
            destroyed = self.try_destroy(dir);
        }
        destroyed
    }

    fn try_destroy(&self, dir: BorrowedFd<'_>) -> Result<()> {
        let folder = ioctl::open_directory(dir, self.above, self.place.directory);
        match folder.and_then(|folder| ioctl::destroy(folder.as_fd(), &self.place.name)) {
            // What has its name now is a file, or a plain directory.
            Err(Errno::NOENT | Errno::STALE | Errno::NOTDIR | Errno::INVAL) => Ok(()),
            other => other,
        }
    }
}
