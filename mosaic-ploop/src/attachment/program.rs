// SPDX-License-Identifier: MIT OR Apache-2.0
//! The block server's program: beside the driver, whoever loaded it from where.
//!
//! It is opened once; what is checked then is what is run. The driver itself was loaded so, and by the
//! same rule ([`ownership`]).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use mosaic_core::mapped_file::MappedFile;
use mosaic_core::ownership::{self, Trusted};
use mosaic_core::{Context, Error, ErrorKind, Result};
use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
use rustix::io::Errno;

use crate::server::PROGRAM;

/// The program, open.
#[derive(Debug)]
pub struct Program {
    file: OwnedFd,
    path: PathBuf,
}

impl Program {
    /// The program of this driver.
    ///
    /// # Errors
    /// `Unsupported` if it is not there, or no program; `Permission` if this process is root and others
    /// can change it.
    pub fn find() -> Result<Self> {
        let ours = our_file()?;
        // Who can write the driver that runs could have it start anything.
        let trusted = Trusted::writers_of(&ours.mapping);
        let beside = ours.path.parent();
        let folders = [beside, beside.and_then(above_tests)];
        for folder in folders.into_iter().flatten() {
            if let Some(program) = Self::open(folder, trusted)? {
                return Ok(program);
            }
        }
        let ours = ours.path;
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("the block server {PROGRAM:?} is not installed beside {ours:?}"),
        ))
    }

    /// The program in a folder; `None` if either is not there.
    fn open(folder_path: &Path, trusted: Trusted) -> Result<Option<Self>> {
        let path = folder_path.join(PROGRAM);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = match open(folder_path, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            other => other.context(|| format!("cannot open {folder_path:?}"))?,
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat(&folder, PROGRAM, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.context(|| format!("cannot open {path:?}"))?,
        };
        let stat = fstat(&file).context(|| format!("cannot look at {path:?}"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let why = format!("{path:?} is not a regular file, so it is not run; install it there");
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        let purpose = "run the block server";
        ownership::check(&folder, folder_path, &file, &path, trusted, purpose)?;
        Ok(Some(Self { file, path }))
    }

    /// Where it was.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Programs of tests are one folder further down than what they are tests of.
fn above_tests(folder: &Path) -> Option<&Path> {
    folder.parent().filter(|_| folder.ends_with("deps"))
}

/// The file that this very code was loaded from: the driver, or a program that has it inside.
fn our_file() -> Result<MappedFile> {
    let here = our_file as fn() -> Result<MappedFile> as *const ();
    MappedFile::of(here).ok_or_else(|| {
        let why = "cannot find out where the driver was loaded from";
        Error::new(ErrorKind::Io, why)
    })
}

#[cfg(test)]
mod tests;
