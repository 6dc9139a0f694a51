// SPDX-License-Identifier: MIT OR Apache-2.0
//! The folder of a volume, opened once: everything in it is reached from there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use mosaic_core::location::{open_in, readable};
use mosaic_core::loopdev::Identity;
use mosaic_core::{Context, Error, ErrorKind, Location, Place, Result, ScratchName, VolumeName};
use rustix::fs::{self, AtFlags, FileType, StatxFlags};
use rustix::io::Errno;

use crate::files::DiskFolder;
use crate::format::descriptor::DESCRIPTOR;
use crate::format::disk::Disk;

/// The open folder of a volume.
#[derive(Debug)]
pub struct VolumeDir {
    dir: OwnedFd,
    name: String,
    path: PathBuf,
}

impl VolumeDir {
    /// The folder of a volume; `None` if nothing has its name.
    ///
    /// # Errors
    /// `Exists` if what has the name is no volume; `Permission`; the kernel's.
    pub fn find(location: &Location, name: &VolumeName) -> Result<Option<Self>> {
        let Some(place) = location.open_directory(name)? else {
            return Ok(None);
        };
        let path = location.path().join(name.stored());
        if mount_of(&place)? != mount_of(location.dir())? {
            return Err(no_volume(format!(
                "{path:?} is on another file system that is mounted in the location, not a volume"
            )));
        }
        let dir = readable(place)?;
        if !is_volume(&dir).context(|| format!("cannot look into {path:?}"))? {
            return Err(no_volume(format!(
                "{path:?} is a folder without {DESCRIPTOR}, not a volume"
            )));
        }
        Ok(Some(Self {
            dir,
            name: name.to_string(),
            path,
        }))
    }

    /// The folder of a volume that has to be there.
    ///
    /// # Errors
    /// `NotFound`; as [`VolumeDir::find`].
    pub fn require(location: &Location, name: &VolumeName) -> Result<Self> {
        Self::find(location, name)?.ok_or_else(|| {
            let why = format!("volume \"{name}\" does not exist");
            Error::new(ErrorKind::NotFound, why)
        })
    }

    /// The folder of a volume that is being made, and has no name yet.
    ///
    /// # Errors
    /// The kernel's.
    pub fn unfinished(location: &Location, scratch: &ScratchName) -> Result<Self> {
        let tmp = location.private_folder(Place::Tmp)?;
        let dir = open_in(&tmp, scratch.as_str())?;
        let path = location.path().join(".mosaic").join(Place::Tmp.folder());
        Ok(Self {
            dir,
            name: scratch.to_string(),
            path: path.join(scratch.as_str()),
        })
    }

    /// The volume's name, as its user knows it; of one that is being made, its name meanwhile.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it was found: for messages, and for others to recognize it by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which folder it is.
    ///
    /// # Errors
    /// The kernel's.
    pub fn identity(&self) -> Result<Identity> {
        Identity::of(&self.dir).context(|| format!("cannot look at {:?}", self.path))
    }

    /// Its files.
    ///
    /// # Errors
    /// The kernel's.
    pub fn folder(&self) -> Result<DiskFolder> {
        let failed = || format!("cannot open {:?}", self.path);
        let dir = rustix::io::fcntl_dupfd_cloexec(&self.dir, 0).context(failed)?;
        Ok(DiskFolder::in_dir(dir))
    }

    /// The disk in it.
    ///
    /// # Errors
    /// `Corrupt` if its descriptor makes no sense; the kernel's.
    pub fn disk(&self) -> Result<Disk<DiskFolder>> {
        Ok(Disk::open(self.folder()?)?)
    }
}

impl AsFd for VolumeDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// Whether a folder has a descriptor.
pub(crate) fn is_volume(dir: impl AsFd) -> rustix::io::Result<bool> {
    match fs::statat(dir, DESCRIPTOR, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The number of the mount through which something was opened.
fn mount_of(opened: impl AsFd) -> Result<u64> {
    let stat = fs::statx(opened, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID);
    let stat = stat.context(|| "cannot look at a folder".to_owned())?;
    Ok(stat.stx_mnt_id)
}

fn no_volume(message: String) -> Error {
    Error::new(ErrorKind::Exists, message)
}
