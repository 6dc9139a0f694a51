// SPDX-License-Identifier: MIT OR Apache-2.0
//! One open subvolume.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use linux_raw_sys::btrfs::BTRFS_ROOT_SUBVOL_RDONLY;
use mosaic_core::{Context, Error, ErrorKind, Result};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::ioctl::{self, ROOT_INODE};
use crate::items::{Reference, Root, Uuid};

/// A subvolume whose root directory is open for reading.
#[derive(Debug)]
pub struct Subvolume {
    dir: OwnedFd,
    id: u64,
}

/// Where a subvolume stands that is right within another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Its id.
    pub id: u64,
    /// Inode of the directory that it is in.
    pub directory: u64,
}

/// Where a subvolume stands, and since when it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Id of the subvolume that it is in.
    pub above: u64,
    /// The directory in there, and its name.
    pub place: Reference,
    /// The transaction that made it.
    pub made: u64,
}

impl Subvolume {
    /// The subvolume whose root this directory is, opened again for reading where it is only held
    /// (`O_PATH`); `Ok(None)` if it is the root of none.
    ///
    /// # Errors
    /// `Permission`; the kernel's.
    pub fn at(dir: impl AsFd) -> Result<Option<Self>> {
        let failed = || "cannot look at its directory".to_owned();
        if !is_root(dir.as_fd()).context(failed)? {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = fs::openat(dir, ".", flags, Mode::empty())
            .context(|| "cannot open its directory".to_owned())?;
        match ioctl::subvolume_id(&dir) {
            Ok(id) => Ok(Some(Self { dir, id })),
            // Another file system whose directory happens to have that inode.
            Err(Errno::NOTTY) => Ok(None),
            Err(errno) => Err(Error::io(errno, failed())),
        }
    }

    /// The subvolume of this id in the file system that `dir` is in, wherever it stands; `Ok(None)`
    /// if there is none. Needs CAP_DAC_READ_SEARCH.
    ///
    /// # Errors
    /// `Permission`; the kernel's.
    pub fn of_id(dir: impl AsFd, id: u64) -> Result<Option<Self>> {
        match ioctl::open_directory(dir, id, ROOT_INODE) {
            Ok(dir) => Ok(Some(Self { dir, id })),
            Err(Errno::STALE | Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::io(errno, format!("cannot open subvolume {id}"))),
        }
    }

    /// Proves that this is what a name in a folder leads to: to another one it leads now only if
    /// somebody went past Mosaic.
    ///
    /// # Errors
    /// `Busy` if it leads elsewhere; `NotFound`; the kernel's.
    pub fn prove_named(&self, folder: impl AsFd, name: &str) -> Result<()> {
        let failed = || format!("cannot look at {name:?}");
        let opened = fs::fstat(&self.dir).context(failed)?;
        let now = fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).context(failed)?;
        // All roots have the same inode number, but a device number of their own.
        if (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino) {
            return Ok(());
        }
        let why = format!("{name:?} was replaced meanwhile");
        Err(Error::new(ErrorKind::Busy, why))
    }

    /// Its root directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Its id in the file system, never given twice.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What the file system says of it, without privilege.
    ///
    /// # Errors
    /// The kernel's.
    pub fn root(&self) -> Result<Root> {
        let info = ioctl::subvolume_info(&self.dir)
            .context(|| "cannot ask the file system about it".to_owned())?;
        Ok(Root {
            generation: info.generation,
            read_only: info.flags & u64::from(BTRFS_ROOT_SUBVOL_RDONLY) != 0,
            is_dead: false,
            uuid: Uuid::new(info.uuid),
            parent: Uuid::new(info.parent_uuid),
            received: Uuid::new(info.received_uuid),
            made: Some(info.otime.sec).filter(|made| *made != 0),
        })
    }

    /// Where it stands, without privilege.
    ///
    /// # Errors
    /// `ENOENT` if it was destroyed, or is just being renamed; the kernel's.
    pub fn standing(&self) -> rustix::io::Result<Standing> {
        let info = ioctl::subvolume_info(&self.dir)?;
        let name = info.name.iter().map(|c| c.to_ne_bytes()[0]);
        Ok(Standing {
            above: info.parent_id,
            place: Reference {
                directory: info.dirid,
                name: name.take_while(|byte| *byte != 0).collect(),
            },
            made: info.otransid,
        })
    }

    /// The subvolumes right within it, without privilege.
    ///
    /// # Errors
    /// The kernel's.
    pub fn children(&self) -> Result<Vec<Child>> {
        let failed = || "cannot ask for the subvolumes within it".to_owned();
        let mut children: Vec<Child> = Vec::new();
        let mut least = 0;
        loop {
            let (found, more) = ioctl::subvolumes_within(&self.dir, least).context(failed)?;
            children.extend(found.iter().map(|&(id, directory)| Child { id, directory }));
            match found.last() {
                Some(&(id, _)) if more => least = id.saturating_add(1),
                _ => return Ok(children),
            }
        }
    }
}

/// Whether a directory has the inode that only the root of a subvolume has, if it is on btrfs.
fn is_root(dir: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    Ok(fs::fstat(dir)?.st_ino == ROOT_INODE)
}
