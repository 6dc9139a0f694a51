// SPDX-License-Identifier: MIT OR Apache-2.0
//! An image that has no name yet, and the one step that gives it one.
//!
//! Made by `O_TMPFILE`, so that whatever happens before that step leaves nothing: the kernel frees
//! the file with its last descriptor. It is made in the location's own directory, not in the folder
//! that it will stand in, which a neighbour may remove meanwhile.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use mosaic_core::{Bytes, Context, Error, ErrorKind, Location, Result, VolumeName};
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::support;

/// Images are their owner's, whatever the umask.
pub const IMAGE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An image without a name.
#[derive(Debug)]
pub struct UnnamedImage {
    file: OwnedFd,
}

impl UnnamedImage {
    /// An empty one.
    ///
    /// # Errors
    /// `Unsupported` where the location's file system cannot make one.
    pub fn new(location: &Location) -> Result<Self> {
        let file = open(location).map_err(|errno| support::cannot_create(location, errno))?;
        fs::fchmod(&file, IMAGE_MODE).context(|| "cannot set the mode of a new image".into())?;
        Ok(Self { file })
    }

    /// Sets its length; what is new of it reads as zeros and takes no space.
    ///
    /// # Errors
    /// `NoSpace` if the file system's files cannot be that long.
    pub fn set_size(&self, size: Bytes) -> Result<()> {
        fs::ftruncate(&self.file, size.0).context(|| format!("cannot make an image of {size}"))
    }

    /// Another description of it, with no locks and no lease: for a loop device.
    ///
    /// # Errors
    /// The kernel's.
    pub fn reopen(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        fs::open(self.link(), flags, Mode::empty()).context(|| "cannot reopen a new image".into())
    }

    /// Gives it the volume's name: it appears whole, and stays after a power cut.
    ///
    /// Order: fsync of data and labels; **commit**: linkat; fsync of the file (its link count) and
    /// of the folder. Killed before the commit nothing is left but perhaps an empty folder, after it
    /// the volume is there.
    ///
    /// # Errors
    /// `Exists` if something has the name; `Unsupported` if its folder is on another file system.
    pub fn publish(self, location: &Location, name: &VolumeName) -> Result<()> {
        fs::fsync(&self.file).context(|| "cannot write a new image to disk".into())?;
        let link = self.link();
        let published = location.with_parent(name, |parent, leaf| {
            fs::linkat(CWD, &link, parent, leaf, AtFlags::SYMLINK_FOLLOW)?;
            fs::fsync(&self.file).inspect_err(|_| {
                // The error says that the volume is not there, so it must not be.
                let _ = fs::unlinkat(parent, leaf, AtFlags::empty());
            })
        });
        published.map_err(|error| {
            location.remove_empty_parents(name);
            explained(error, location, name)
        })
    }

    fn link(&self) -> String {
        format!("/proc/thread-self/fd/{}", self.file.as_raw_fd())
    }
}

impl AsFd for UnnamedImage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Without `O_EXCL`, which would keep the file from ever getting a name.
pub fn open(location: &Location) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    fs::openat(location.dir(), ".", flags, IMAGE_MODE)
}

/// What the kernel means when it refuses a name.
pub fn explained(error: Error, location: &Location, name: &VolumeName) -> Error {
    let says = |kind, message| Error::new(kind, message);
    match error.errno().map(Errno::from_raw_os_error) {
        Some(Errno::EXIST) => says(
            ErrorKind::Exists,
            format!("{:?} exists in {:?}", name.stored(), location.path()),
        ),
        Some(Errno::NOTDIR) => says(
            ErrorKind::Exists,
            format!("a volume is in the way of {:?}", name.stored()),
        ),
        Some(Errno::XDEV) => says(
            ErrorKind::Unsupported,
            format!(
                "the folder of {:?} is on another file system than location {:?}, or under another \
                 project quota",
                name.stored(),
                location.path()
            ),
        ),
        _ => error,
    }
}
