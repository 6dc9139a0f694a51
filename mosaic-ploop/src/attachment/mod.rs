// SPDX-License-Identifier: MIT OR Apache-2.0
//! Showing a disk as a block device, by a block server and a loop device, and what is done to it
//! meanwhile.
//!
//! Which disk a loop device shows stands in the name that the kernel keeps for it: the device and
//! inode number of the disk's folder. So a disk is found again after its folder was renamed, and
//! there is no record but the kernel's. A raw base that is alone needs no server.

mod alive;
mod attach;
mod closed;
mod find;
mod online;
mod program;
mod serve;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use mosaic_core::loopdev::Identity;
use mosaic_core::volume::Lifetime;
use mosaic_core::{Context, Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::files::DiskFolder;
use crate::format::disk::Disk;
use crate::server::Opening;

pub use attach::{attach, attached_at};
pub use closed::{await_closed, look_closed, was_closed};
pub use find::{Attached, find, find_raw, served};

/// Where a disk is, and where its server is to be called.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The disk's folder.
    pub folder: BorrowedFd<'a>,
    /// The location's folder that nobody else can enter, `.mosaic`.
    pub private: &'a Path,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// The device refuses writes.
    pub read_only: bool,
    /// Until it is detached, or as long as it is open.
    pub lifetime: Lifetime,
    /// First byte of the partition to show, which then grows with the disk; `None`: all of the disk.
    pub partition: Option<u64>,
}

impl How {
    fn opening(&self) -> Opening {
        Opening {
            read_only: self.read_only,
            partition: self.partition,
        }
    }
}

/// Which disk: its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VolumeId(Identity);

impl VolumeId {
    /// The disk in an open folder.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of(folder: impl AsFd) -> Result<Self> {
        let identity = Identity::of(folder).context(|| "cannot stat the disk's folder".into())?;
        Ok(Self(identity))
    }

    /// The two numbers in a word, for names and messages.
    pub(crate) fn numbers(self) -> String {
        let Identity { device, inode } = self.0;
        format!("{device:x}-{inode:x}")
    }

    /// Name of the socket in the private folder at which its server is called.
    pub fn socket(self) -> String {
        format!("ploop-{}", self.numbers())
    }
}

impl Place<'_> {
    fn id(&self) -> Result<VolumeId> {
        VolumeId::of(self.folder)
    }

    /// The disk as it is in its folder.
    fn disk(&self) -> Result<Disk<DiskFolder>> {
        let folder = self.folder.try_clone_to_owned();
        let folder = folder.context(|| "cannot open the disk's folder".into())?;
        Ok(Disk::open(DiskFolder::in_dir(folder))?)
    }

    /// The private folder; `None` if there is none, where no server can be.
    fn private(&self) -> Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(self.private, flags, Mode::empty()) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => {
                let message = format!("cannot open {:?}", self.private);
                Err(Error::io(errno, message))
            }
        }
    }
}
