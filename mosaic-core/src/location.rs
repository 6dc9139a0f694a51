// SPDX-License-Identifier: MIT OR Apache-2.0
//! A location that is a directory: opened once, everything beneath it relative to that descriptor.
//!
//! No path of a volume is ever resolved through a link or out of the location: all opens go through
//! `openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS` (Linux 5.6, openat2(2)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::name::VolumeName;
use crate::scratch::{PRIVATE_DIR, Place};

/// How often making a parent folder is repeated when neighbours keep removing it.
const PARENT_ATTEMPTS: u32 = 1000;

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

    /// Opens a relative path beneath the location, without following any link.
    ///
    /// # Errors
    /// The kernel's: `ENOENT`, `ELOOP` for a link, `EXDEV` for a way out.
    pub fn open_beneath(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
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
            Err(Errno::LOOP) => Err(Error::new(
                ErrorKind::Exists,
                format!(
                    "{:?} in {:?} is or goes through a symbolic link, not a volume",
                    name.stored(),
                    self.path
                ),
            )),
            Err(errno) => Err(Error::io(errno, format!("cannot open volume \"{name}\""))),
        }
    }

    /// Runs `step` with the folder that holds (or will hold) the volume and the last component of
    /// its name, making the folders above it as needed. `step` is the commit: one linkat or rename.
    /// Afterwards the folders are synced, so that the name survives a power cut.
    ///
    /// A neighbour's drop may remove an empty folder at any moment; `step` then fails with `ENOENT`
    /// and is repeated with a folder made again.
    ///
    /// # Errors
    /// `step`'s, and the kernel's while making folders. Folders made stay if `step` fails; callers
    /// use [`Location::remove_empty_parents`].
    pub fn with_parent<T>(
        &self,
        name: &VolumeName,
        mut step: impl FnMut(BorrowedFd<'_>, &str) -> rustix::io::Result<T>,
    ) -> Result<T> {
        let leaf = name.components().next_back().unwrap_or(name.stored());
        let failed = || format!("cannot make \"{name}\" in {:?}", self.path);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let again = attempt < PARENT_ATTEMPTS && name.parent().is_some();
            let parent = match self.make_parents(name) {
                Err(Errno::NOENT) if again => continue,
                other => other.context(failed)?,
            };
            match step(parent.as_fd(), leaf) {
                Err(Errno::NOENT) if again => {}
                Err(errno) => return Err(Error::io(errno, failed())),
                Ok(value) => {
                    fs::fsync(&parent).context(failed)?;
                    return Ok(value);
                }
            }
        }
    }

    /// Makes the folders above a volume; each one made is durable in the one above it.
    fn make_parents(&self, name: &VolumeName) -> rustix::io::Result<OwnedFd> {
        let mut folder = self.dir.try_clone().map_err(|_| Errno::MFILE)?;
        let Some(parent) = name.parent() else {
            return Ok(folder);
        };
        for component in parent.split('/') {
            let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
            match fs::mkdirat(&folder, component, mode) {
                Ok(()) => fs::fsync(&folder)?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            folder = fs::openat(
                &folder,
                component,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
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
    /// cannot be removed stays: it is empty and in nobody's way.
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
                .and_then(|above| fs::unlinkat(&above, leaf, AtFlags::REMOVEDIR));
            if removed.is_err() {
                return;
            }
        }
    }

    /// The folder of unfinished things, made if need be: `.mosaic/<place>`, for its owner only.
    ///
    /// # Errors
    /// The kernel's while making or opening it.
    pub fn private_folder(&self, place: Place) -> Result<OwnedFd> {
        let failed = || {
            format!(
                "cannot open {PRIVATE_DIR}/{} in {:?}",
                place.folder(),
                self.path
            )
        };
        let private = self.make_private(self.dir(), PRIVATE_DIR).context(failed)?;
        self.make_private(private.as_fd(), place.folder())
            .context(failed)
    }

    /// Makes a folder with mode 0700 that belongs to the location's owner, and opens it.
    fn make_private(&self, above: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
        let made = match fs::mkdirat(above, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = fs::openat(above, name, flags, Mode::empty())?;
        if made {
            if rustix::process::geteuid().is_root() {
                let owner = fs::fstat(&self.dir)?;
                let (uid, gid) = (owner.st_uid, owner.st_gid);
                fs::fchown(
                    &folder,
                    Some(fs::Uid::from_raw(uid)),
                    Some(fs::Gid::from_raw(gid)),
                )?;
            }
            fs::fsync(above)?;
        }
        Ok(folder)
    }

    /// Opens `.mosaic` itself, made if need be.
    ///
    /// # Errors
    /// The kernel's while making or opening it.
    pub fn private_root(&self) -> Result<OwnedFd> {
        self.make_private(self.dir(), PRIVATE_DIR)
            .context(|| format!("cannot open {PRIVATE_DIR} in {:?}", self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location() -> (tempfile::TempDir, Location) {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::open(dir.path()).unwrap();
        (dir, location)
    }

    #[test]
    fn a_link_is_never_followed() {
        let (dir, location) = location();
        std::os::unix::fs::symlink("/etc", dir.path().join("out")).unwrap();
        for name in ["out", "out/passwd"] {
            let name = VolumeName::parse(name).unwrap();
            let error = location.open_volume(&name, OFlags::RDONLY).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Exists);
        }
    }

    #[test]
    fn parents_come_with_the_first_volume_and_go_with_the_last() {
        let (dir, location) = location();
        let name = VolumeName::parse("1/12/123").unwrap();
        let make = |parent: BorrowedFd<'_>, leaf: &str| fs::mkdirat(parent, leaf, Mode::RWXU);
        location.with_parent(&name, make).unwrap();
        assert!(dir.path().join("1/12/123").is_dir());
        std::fs::create_dir(dir.path().join("1/13")).unwrap();
        std::fs::remove_dir(dir.path().join("1/12/123")).unwrap();
        location.remove_empty_parents(&name);
        assert!(!dir.path().join("1/12").exists());
        assert!(dir.path().join("1/13").is_dir());
    }

    #[test]
    fn a_parent_that_vanishes_is_made_again() {
        let (dir, location) = location();
        let name = VolumeName::parse("1/a").unwrap();
        let mut left = 5;
        location
            .with_parent(&name, |parent, leaf| {
                if left > 0 {
                    left -= 1;
                    std::fs::remove_dir(dir.path().join("1")).unwrap();
                }
                fs::mkdirat(parent, leaf, Mode::RWXU)
            })
            .unwrap();
        assert!(dir.path().join("1/a").is_dir());
    }
}
