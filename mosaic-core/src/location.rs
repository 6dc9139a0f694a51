// SPDX-License-Identifier: MIT OR Apache-2.0
//! A location that is a directory: opened once, everything beneath it relative to that descriptor.
//!
//! No path of a volume is ever resolved through a link or out of the location: all opens go through
//! `openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS` (Linux 5.6, openat2(2)).

mod change;
mod init;
mod inventory;
mod listing;
mod private;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::name::VolumeName;
use crate::size::Bytes;
use crate::volume::Space;

pub use inventory::{Depth, Inventory, Layout, Other};
pub use listing::check_depth;

/// How often making a parent folder is repeated when neighbours keep removing it.
const PARENT_ATTEMPTS: u32 = 1000;

/// Mode of folders above volumes, before the umask.
const FOLDER_MODE: Mode = Mode::RWXU
    .union(Mode::RGRP)
    .union(Mode::XGRP)
    .union(Mode::ROTH)
    .union(Mode::XOTH);
/// To open a folder whose name is one component.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// An open location directory.
#[derive(Debug)]
pub struct Location {
    dir: OwnedFd,
    path: PathBuf,
}

impl Location {
    /// Opens the directory.
    ///
    /// # Errors
    /// `NotFound` if it is not there; `Invalid` if it is no directory; `Permission`.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => Error::new(
                ErrorKind::NotFound,
                format!("location {path:?} does not exist; make it with init"),
            ),
            Errno::NOTDIR => Error::new(
                ErrorKind::Invalid,
                format!("location {path:?} is not a directory"),
            ),
            _ => Error::io(errno, format!("cannot open location {path:?}")),
        })?;
        Ok(Self {
            dir,
            path: path.to_owned(),
        })
    }

    /// As it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// How full the file system of the location is.
    ///
    /// # Errors
    /// The kernel's.
    pub fn space(&self) -> Result<Space> {
        let stat = fs::fstatvfs(&self.dir)
            .context(|| format!("cannot read the space of location {:?}", self.path))?;
        let bytes = |blocks: u64| Bytes(blocks.saturating_mul(stat.f_frsize));
        Ok(Space {
            class: "data".to_owned(),
            total: bytes(stat.f_blocks),
            used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
            free: bytes(stat.f_bavail),
        })
    }

    /// Opens a relative path beneath the location, without following any link.
    ///
    /// # Errors
    /// The kernel's: `ENOENT`, `ELOOP` for a link, `EXDEV` for a way out.
    pub fn open_beneath(&self, path: impl Arg, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        fs::openat2(
            &self.dir,
            path,
            flags | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        )
    }

    /// Opens what has a volume's name; `Ok(None)` if nothing has it.
    ///
    /// Whether it is a volume is the caller's to see. A name beneath a file is no name here.
    ///
    /// # Errors
    /// `Exists` for a symbolic link, which is never followed; the kernel's.
    pub fn open_volume(&self, name: &VolumeName, flags: OFlags) -> Result<Option<OwnedFd>> {
        match self.open_beneath(name.stored(), flags) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(Errno::LOOP) => Err(self.occupied(
                name.stored(),
                "is or goes through a symbolic link, not a volume",
            )),
            Err(errno) => Err(Error::io(errno, format!("cannot open volume \"{name}\""))),
        }
    }

    /// Opens the directory that has a volume's name, as a place only (`O_PATH`), which needs no
    /// permission on the directory itself; `Ok(None)` if nothing has the name. To read it or its
    /// attributes there is [`readable`].
    ///
    /// # Errors
    /// `Exists` if anything else has the name; the kernel's.
    pub fn open_directory(&self, name: &VolumeName) -> Result<Option<OwnedFd>> {
        let Some(found) = self.open_volume(name, OFlags::PATH)? else {
            return Ok(None);
        };
        let stat = fs::fstat(&found).context(|| format!("cannot look at volume \"{name}\""))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(self.occupied(name.stored(), "is not a directory, so not a volume"));
        }
        Ok(Some(found))
    }

    /// Opens the folder of the metadata, `layout.fs` in the config.
    ///
    /// # Errors
    /// `Unsupported` if none is configured; `NotFound`; the kernel's.
    pub fn open_metadata(&self, layout_fs: Option<&Path>) -> Result<OwnedFd> {
        let layout_fs = layout_fs
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "the config has no layout.fs"))?;
        let opened = self.open_beneath(layout_fs, OFlags::RDONLY | OFlags::DIRECTORY);
        opened.map_err(|errno| match errno {
            Errno::NOENT => Error::new(
                ErrorKind::NotFound,
                format!(
                    "there is no folder {layout_fs:?} in {:?} for the metadata; make it with init",
                    self.path
                ),
            ),
            _ => Error::io(
                errno,
                format!("cannot open the metadata, {layout_fs:?} in {:?}", self.path),
            ),
        })
    }

    fn occupied(&self, path: &str, is: &str) -> Error {
        Error::new(
            ErrorKind::Exists,
            format!("{path:?} in {:?} {is}", self.path),
        )
    }

    /// Runs `step` with the folder that holds (or will hold) the volume and the last component of
    /// its name, making the folders above it as needed. `step` is the commit: one linkat or rename.
    /// Afterwards the folders are synced, so that the name survives a power cut.
    ///
    /// A neighbour's drop may remove an empty folder at any moment; `step` then fails with `ENOENT`
    /// and is repeated with a folder made again.
    ///
    /// # Errors
    /// `Exists` if `step` says so, or something that is no folder has the name of one; else
    /// `step`'s, and the kernel's while making folders. Folders made stay if `step` fails; callers
    /// use [`Location::remove_empty_parents`].
    pub fn with_parent<T>(
        &self,
        name: &VolumeName,
        step: impl FnMut(BorrowedFd<'_>, &str) -> rustix::io::Result<T>,
    ) -> Result<T> {
        let (value, parent) = self.step_in_parent(name, step, |folder| fs::fsync(folder))?;
        fs::fsync(&parent).context(|| format!("cannot write the folder of \"{name}\" to disk"))?;
        Ok(value)
    }

    /// [`Location::with_parent`] without a word to the disk: for a file system where the caller
    /// makes the folders and the step durable at once, by one commit.
    ///
    /// # Errors
    /// Those of [`Location::with_parent`].
    pub fn in_parent<T>(
        &self,
        name: &VolumeName,
        step: impl FnMut(BorrowedFd<'_>, &str) -> rustix::io::Result<T>,
    ) -> Result<T> {
        let (value, _) = self.step_in_parent(name, step, |_| Ok(()))?;
        Ok(value)
    }

    /// Runs the step with its folder; `written` comes after each folder that is made above it.
    fn step_in_parent<T>(
        &self,
        name: &VolumeName,
        mut step: impl FnMut(BorrowedFd<'_>, &str) -> rustix::io::Result<T>,
        written: fn(&OwnedFd) -> rustix::io::Result<()>,
    ) -> Result<(T, OwnedFd)> {
        let leaf = name.components().next_back().unwrap_or(name.stored());
        let mut attempt = 0;
        loop {
            attempt += 1;
            let again = attempt < PARENT_ATTEMPTS && name.parent().is_some();
            let made = self
                .make_parents(name, written)
                .and_then(|parent| Ok((step(parent.as_fd(), leaf)?, parent)));
            match made {
                Err(Errno::NOENT) if again => {}
                Err(errno) => return Err(self.not_placed(name, errno)),
                Ok(made) => return Ok(made),
            }
        }
    }

    fn not_placed(&self, name: &VolumeName, errno: Errno) -> Error {
        match errno {
            Errno::EXIST => self.occupied(name.stored(), "is there already"),
            Errno::NOTDIR | Errno::LOOP => self.occupied(
                name.parent().unwrap_or("."),
                "is or goes through something that is not a folder",
            ),
            Errno::OPNOTSUPP => Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the file system at {:?} cannot give a name without replacing (renameat2 with RENAME_NOREPLACE)",
                    self.path
                ),
            ),
            _ => Error::io(
                errno,
                format!(
                    "cannot give {:?} in {:?} its name",
                    name.stored(),
                    self.path
                ),
            ),
        }
    }

    /// Makes the folders above a volume, each `written` in the one above it before anything is in
    /// it. One that a neighbour made just now may not be on disk yet, so all are.
    fn make_parents(
        &self,
        name: &VolumeName,
        written: fn(&OwnedFd) -> rustix::io::Result<()>,
    ) -> rustix::io::Result<OwnedFd> {
        let mut folder = rustix::io::fcntl_dupfd_cloexec(&self.dir, 0)?;
        let Some(parent) = name.parent() else {
            return Ok(folder);
        };
        for component in parent.split('/') {
            match fs::mkdirat(&folder, component, FOLDER_MODE) {
                Ok(()) | Err(Errno::EXIST) => written(&folder)?,
                Err(errno) => return Err(errno),
            }
            folder = fs::openat(&folder, component, FOLDER, Mode::empty())?;
        }
        Ok(folder)
    }

    /// The folder that holds a volume and the last component of the volume's name; nothing is made.
    ///
    /// # Errors
    /// `NotFound` if the folder is not there.
    pub fn parent<'n>(&self, name: &'n VolumeName) -> Result<(OwnedFd, &'n str)> {
        let leaf = name.components().next_back().unwrap_or(name.stored());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let folder = self
            .open_beneath(name.parent().unwrap_or("."), flags)
            .context(|| format!("cannot open the folder of volume \"{name}\""))?;
        Ok((folder, leaf))
    }

    /// Removes the folders above a volume that is gone, as far as they are empty. A folder that
    /// cannot be removed stays: it is empty and in nobody's way. So does one with a device number of
    /// its own, a btrfs subvolume or a mount, which no volume's parent was made as.
    pub fn remove_empty_parents(&self, name: &VolumeName) {
        let Some(parent) = name.parent() else {
            return;
        };
        let mut folders: Vec<&str> = name.ancestors().collect();
        debug_assert_eq!(folders.last(), Some(&parent));
        while let Some(folder) = folders.pop() {
            let (above, leaf) = folder.rsplit_once('/').unwrap_or((".", folder));
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let removed = self
                .open_beneath(above, flags)
                .and_then(|above| remove_folder(&above, leaf));
            if removed.is_err() {
                return;
            }
        }
    }
}

/// Removes an empty folder that is of the file system, and of the subvolume, of the one above it.
///
/// rmdir destroys an empty btrfs subvolume (fs/btrfs/inode.c `btrfs_rmdir`, since Linux 4.18).
fn remove_folder(above: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    let folder = fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if folder.st_dev != fs::fstat(above)?.st_dev {
        return Err(Errno::XDEV);
    }
    fs::unlinkat(above, name, AtFlags::REMOVEDIR)
}

/// Opens for reading what is open as a place (`O_PATH`): a directory's entries and attributes.
///
/// # Errors
/// The kernel's: `Permission` without one.
pub fn readable(dir: impl AsFd) -> Result<OwnedFd> {
    fs::openat(dir, ".", FOLDER, Mode::empty()).context(|| "cannot open its directory".to_owned())
}

/// Opens a directory by its name in another one, never through a link.
///
/// # Errors
/// The kernel's.
pub fn open_in(above: impl AsFd, name: &str) -> Result<OwnedFd> {
    fs::openat(above, name, FOLDER, Mode::empty())
        .context(|| format!("cannot open directory {name:?}"))
}

/// Makes a directory with this very mode, whatever the umask and a default ACL say, and opens it.
///
/// # Errors
/// `Exists`; the kernel's.
pub fn make_in(above: impl AsFd, name: &str, mode: Mode) -> Result<OwnedFd> {
    let failed = || format!("cannot make directory {name:?}");
    fs::mkdirat(&above, name, mode).context(failed)?;
    let made = fs::openat(&above, name, FOLDER, Mode::empty()).context(failed)?;
    fs::fchmod(&made, mode).context(failed)?;
    Ok(made)
}

/// Renames, but never onto something: `EEXIST` then, in one step with the rename.
///
/// # Errors
/// The kernel's; `EOPNOTSUPP` where the file system has no `RENAME_NOREPLACE` (NFS; renameat2(2)).
pub fn rename_noreplace(
    from: impl AsFd,
    name: &str,
    to: impl AsFd,
    new_name: &str,
) -> rustix::io::Result<()> {
    match fs::renameat_with(from, name, to, new_name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL) => Err(Errno::OPNOTSUPP),
        other => other,
    }
}

fn is_dots(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

#[cfg(test)]
mod tests;
