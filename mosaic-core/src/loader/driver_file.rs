// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver's file, opened once: whatever is checked is checked on that descriptor.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
use rustix::io::Errno;

use super::note::{self, DriverNote};
use super::search_path::{Beside, SearchPath, type_of_file};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::ownership;

/// An open file in a folder of the search path.
#[derive(Debug)]
pub(super) struct DriverFile {
    /// Where it was found; for messages only.
    pub path: PathBuf,
    pub file: File,
    folder: OwnedFd,
}

impl DriverFile {
    /// Opens a file in a folder; `None` if either is not there.
    ///
    /// # Errors
    /// `Permission` if the folder cannot be searched or the file not be read; `Unsupported` if it
    /// is no regular file.
    pub fn open(folder_path: &Path, name: impl AsRef<OsStr>) -> Result<Option<Self>> {
        let path = folder_path.join(name.as_ref());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = match open(folder_path, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            other => other.context(|| format!("cannot open driver folder {folder_path:?}"))?,
        };
        // NONBLOCK: a FIFO of that name is refused, not waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat(&folder, name.as_ref(), flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => File::from(other.context(|| format!("cannot open driver {path:?}"))?),
        };
        let this = Self { path, file, folder };
        let stat = fstat(&this.file).context(|| format!("cannot look at {:?}", this.path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(this.refused("it is not a regular file"));
        }
        Ok(Some(this))
    }

    /// Refuses a file that others than root can write, if this process is root.
    ///
    /// # Errors
    /// `Permission`.
    pub fn check_ownership(&self, beside: &Beside) -> Result<()> {
        let folder_path = self.path.parent().unwrap_or(Path::new("/"));
        let folder = fstat(&self.folder).context(|| format!("cannot look at {folder_path:?}"))?;
        ownership::check(
            &self.folder,
            folder_path,
            &self.file,
            &self.path,
            beside.trusts(&folder),
            "load a driver",
        )
    }

    /// What the file says of itself. Runs no code of it.
    ///
    /// # Errors
    /// What the file is instead of a driver for this host.
    pub fn note(&self) -> Result<DriverNote, String> {
        note::read(&self.file)
    }

    /// Its device and inode number.
    ///
    /// # Errors
    /// The kernel's.
    pub fn identity(&self) -> Result<(u64, u64)> {
        let stat = fstat(&self.file).context(|| format!("cannot look at {:?}", self.path))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// The error of a file that cannot be loaded.
    pub fn refused(&self, reason: impl std::fmt::Display) -> Error {
        let message = format!("cannot load driver {:?}: {reason}", self.path);
        Error::new(ErrorKind::Unsupported, message)
    }
}

/// Refuses an ABI of another major version.
///
/// # Errors
/// The reason, with both versions.
pub(super) fn check_major(theirs: &str) -> Result<(), String> {
    let ours = mosaic_abi::VERSION;
    let major = |version: &str| version.split('.').next().map(str::to_owned);
    if major(theirs) == major(ours) {
        return Ok(());
    }
    Err(format!(
        "it has driver ABI {theirs}, this program has {ours}; rebuild the driver"
    ))
}

/// The folders of the search path that are there, each once, with the names of driver files in
/// them, sorted.
pub(super) fn folders(search: &SearchPath) -> Vec<(PathBuf, Vec<String>)> {
    let mut seen = Vec::new();
    let mut folders = Vec::new();
    for folder in search.directories() {
        let (Ok(stat), Ok(entries)) = (rustix::fs::stat(folder), std::fs::read_dir(folder)) else {
            continue;
        };
        if seen.contains(&(stat.st_dev, stat.st_ino)) {
            continue;
        }
        seen.push((stat.st_dev, stat.st_ino));
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| type_of_file(name).is_some())
            .collect();
        names.sort();
        folders.push((folder.to_owned(), names));
    }
    folders
}
