// SPDX-License-Identifier: MIT OR Apache-2.0
//! `.mosaic`, the folder of Mosaic's own things in a location.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::{FOLDER, Location, is_dots};
use crate::error::{Context, Error, Result};
use crate::scratch::{LOCK_FILE, PRIVATE_DIR, Place};

impl Location {
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

    /// The folder of unfinished things, if it is there: who removes something from it need not make
    /// it, which takes space.
    ///
    /// # Errors
    /// The kernel's while opening it.
    pub fn find_private_folder(&self, place: Place) -> Result<Option<OwnedFd>> {
        let path = format!("{PRIVATE_DIR}/{}", place.folder());
        match self.open_beneath(&path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::io(
                errno,
                format!("cannot open {path} in {:?}", self.path),
            )),
        }
    }

    /// Makes a folder with mode 0700 that belongs to the location's owner, and opens it.
    fn make_private(&self, above: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
        let made = match fs::mkdirat(above, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno),
        };
        let folder = fs::openat(above, name, FOLDER, Mode::empty())?;
        if made {
            // Whatever the umask said, and a default ACL of the location.
            fs::fchmod(&folder, Mode::RWXU)?;
        }
        self.give_to_owner(&folder)?;
        if made {
            fs::fsync(above)?;
        }
        Ok(folder)
    }

    /// Gives a folder that root has made, just now or in a call that was killed before this, to the
    /// location's owner. Only one of root's with nothing but Mosaic's own things in it: the owner
    /// could have put something else in its place meanwhile.
    fn give_to_owner(&self, folder: &OwnedFd) -> rustix::io::Result<()> {
        let us = rustix::process::geteuid();
        if !us.is_root() {
            return Ok(());
        }
        let (owner, made) = (fs::fstat(&self.dir)?, fs::fstat(folder)?);
        let is_ours = |name: &[u8]| {
            is_dots(name)
                || name == LOCK_FILE.as_bytes()
                || Place::ALL.iter().any(|p| p.folder().as_bytes() == name)
        };
        let holds_ours = || -> rustix::io::Result<bool> {
            let mut entries = Dir::read_from(folder)?;
            Ok(entries.all(|e| e.is_ok_and(|e| is_ours(e.file_name().to_bytes()))))
        };
        if made.st_uid == us.as_raw() && owner.st_uid != made.st_uid && holds_ours()? {
            let uid = fs::Uid::from_raw(owner.st_uid);
            let gid = fs::Gid::from_raw(owner.st_gid);
            fs::fchown(folder, Some(uid), Some(gid))?;
        }
        Ok(())
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
