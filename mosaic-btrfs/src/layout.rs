// SPDX-License-Identifier: MIT OR Apache-2.0
//! What has a volume's name in the location, and whether it is one.
//!
//! A volume is the root of a subvolume, seen from the location through no mount of its own: what is
//! mounted over it hides it, and would be taken for it. Only a mount of the volume itself does not.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use mosaic_core::mounts::MountTable;
use mosaic_core::{Context, Error, ErrorKind, Location, Result, VolumeName};
use rustix::fs::{self, AtFlags, OFlags, StatxFlags};

use crate::driver::Btrfs;
use crate::ioctl::{self, ROOT_INODE};
use crate::subvolume::Subvolume;

const BTRFS: i64 = linux_raw_sys::general::BTRFS_SUPER_MAGIC as i64;

/// Opens the location.
///
/// # Errors
/// Those of [`Location::open`]; `Unsupported` if it is not on btrfs, with what it is on.
pub fn open(path: &Path) -> Result<Location> {
    let location = Location::open(path)?;
    let magic = fs::fstatfs(location.dir())
        .context(|| format!("cannot look at location {path:?}"))?
        .f_type;
    if magic == BTRFS {
        return Ok(location);
    }
    let fs = file_system(&location).unwrap_or_else(|| format!("a file system {magic:#x}"));
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("location {path:?} is on {fs}, not btrfs"),
    ))
}

/// The type of the location's file system, where the mount table has it.
fn file_system(location: &Location) -> Option<String> {
    let id = mount_of(location.dir()).ok()?;
    let table = MountTable::read().ok()?;
    Some(table.by_id(id)?.fs.clone())
}

/// The number of the mount that something was opened through.
fn mount_of(opened: impl AsFd) -> rustix::io::Result<u64> {
    let stat = fs::statx(opened, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok(stat.stx_mnt_id)
}

impl Btrfs {
    /// The volume of this name, as a place only (`O_PATH`), which needs no permission on it;
    /// `Ok(None)` if nothing has the name.
    ///
    /// # Errors
    /// `Exists` if something that is no subvolume has it; `Busy` if something is mounted over it;
    /// the kernel's.
    pub(crate) fn place(&self, name: &VolumeName) -> Result<Option<OwnedFd>> {
        let Some(found) = self.location.open_directory(name)? else {
            self.refuse_covered_folders(name)?;
            return Ok(None);
        };
        if let Err(covered) = self.refuse_covered(&found, name.stored())
            && !self.shows_itself(&found, name).unwrap_or(false)
        {
            return Err(covered);
        }
        let stat = fs::fstat(&found).context(|| format!("cannot look at volume \"{name}\""))?;
        if stat.st_ino == ROOT_INODE {
            return Ok(Some(found));
        }
        Err(Error::new(
            ErrorKind::Exists,
            format!(
                "{:?} in {:?} exists, but is not a subvolume",
                name.stored(),
                self.location.path()
            ),
        ))
    }

    /// The volume of this name, open for reading; `Ok(None)` if nothing has the name.
    ///
    /// # Errors
    /// `Exists` if something that is no subvolume has it; `Busy` if something is mounted over it;
    /// `Permission`; the kernel's.
    pub fn open_subvolume(&self, name: &VolumeName) -> Result<Option<Subvolume>> {
        match self.place(name)? {
            Some(place) => Subvolume::at(place),
            None => Ok(None),
        }
    }

    /// The volume of this name, open for reading.
    ///
    /// # Errors
    /// `NotFound`; else as for [`Btrfs::open_subvolume`].
    pub fn volume(&self, name: &VolumeName) -> Result<Subvolume> {
        self.open_subvolume(name)?.ok_or_else(|| missing(name))
    }

    /// What is missing beneath a mount may be there below it.
    fn refuse_covered_folders(&self, name: &VolumeName) -> Result<()> {
        for folder in name.ancestors() {
            match self.location.open_beneath(folder, OFlags::PATH) {
                Ok(found) => self.refuse_covered(&found, folder)?,
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Whether what is mounted over a volume is that very volume, which some do to have a mountpoint.
    fn shows_itself(&self, found: &OwnedFd, name: &VolumeName) -> Result<bool> {
        let Some(subvolume) = Subvolume::at(found)? else {
            return Ok(false);
        };
        let (folder, leaf) = self.location.parent(name)?;
        self.refuse_covered(&folder, name.stored())?;
        let is_here = || {
            let is_same_fs = ioctl::fs_info(subvolume.dir())?.fsid == ioctl::fs_info(&folder)?.fsid;
            let standing = subvolume.standing()?;
            Ok(is_same_fs
                && standing.above == ioctl::subvolume_id(&folder)?
                && standing.place.directory == fs::fstat(&folder)?.st_ino
                && standing.place.name == leaf.as_bytes())
        };
        let looked: rustix::io::Result<bool> = is_here();
        looked.context(|| format!("cannot look at {:?}", name.stored()))
    }

    /// Refuses what is another mount than the location's.
    pub(crate) fn refuse_covered(&self, found: &OwnedFd, path: &str) -> Result<()> {
        let looked = mount_of(found).and_then(|of| Ok(of == mount_of(self.location.dir())?));
        if looked.context(|| format!("cannot look at {path:?}"))? {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Busy,
            format!(
                "something is mounted over {path:?} in {:?}; unmount it first",
                self.location.path()
            ),
        ))
    }
}

/// There is no volume of this name.
pub(crate) fn missing(name: &VolumeName) -> Error {
    Error::new(ErrorKind::NotFound, format!("no volume \"{name}\""))
}
