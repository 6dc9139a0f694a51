// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PATH of `umount`: proven to be a mount of the volume before it is taken away.
//!
//! Whoever owns a folder on the way could turn it elsewhere between proof and deed. So the folder
//! that holds the mountpoint is opened once and both go through it; the last component is never
//! followed as a link, and the kernel lets nobody rename a mountpoint. The mountpoint itself cannot
//! be kept open: that alone would keep the mount.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Statx};
use rustix::mount::{UnmountFlags, unmount};

use super::device::{descriptor_path, device_number, device_of, statx_of};
use super::target::{is_mount_root, look, shows_device};
use crate::error::{Context, Error, ErrorKind, Result};

/// Where something may be mounted.
#[derive(Debug)]
pub struct Mountpoint {
    /// Open with `O_PATH`; `None`: the path has no last component of its own (`/`, `..`).
    folder: Option<OwnedFd>,
    path: PathBuf,
}

impl Mountpoint {
    /// Opens the folder that holds the mountpoint.
    ///
    /// # Errors
    /// `NotFound`; the kernel's.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = match (path.parent(), path.file_name()) {
            (Some(folder), Some(_)) if folder.as_os_str().is_empty() => Some(Path::new(".")),
            (Some(folder), Some(_)) => Some(folder),
            _ => None,
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = folder
            .map(|folder| rustix::fs::open(folder, flags, Mode::empty()))
            .transpose()
            .context(|| format!("cannot open the folder of {path:?}"))?;
        Ok(Self {
            folder,
            path: path.to_owned(),
        })
    }

    /// As it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path that leads there through the open folder, whatever became of the way to it.
    fn held_path(&self) -> PathBuf {
        match (&self.folder, self.path.file_name()) {
            (Some(folder), Some(leaf)) => descriptor_path(folder).join(leaf),
            _ => self.path.clone(),
        }
    }

    /// What is there now, a last link not followed.
    pub(super) fn look(&self) -> Result<(OwnedFd, Statx)> {
        let path = &self.path;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = match (&self.folder, path.file_name()) {
            (Some(folder), Some(leaf)) => rustix::fs::openat(folder, leaf, flags, Mode::empty()),
            _ => rustix::fs::openat(CWD, path, flags, Mode::empty()),
        };
        let found = found.context(|| format!("cannot open {path:?}"))?;
        let stat = look(&found, path)?;
        if FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Symlink {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{path:?} is a symbolic link; give the path that it leads to"),
            ));
        }
        Ok((found, stat))
    }

    /// Whether the topmost mount there shows this directory.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a symbolic link; the kernel's.
    pub fn is_mount_of_directory(&self, dir: BorrowedFd<'_>) -> Result<bool> {
        let (_, stat) = self.look()?;
        let wanted =
            statx_of(dir).context(|| "cannot look at the volume's directory".to_owned())?;
        Ok(is_mount_root(&stat)
            && device_of(&stat) == device_of(&wanted)
            && stat.stx_ino == wanted.stx_ino)
    }

    /// Whether the topmost mount there shows the file system, or a part of it, that is on this
    /// block device.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a symbolic link or if `device` is no block device; the kernel's.
    pub fn is_mount_of_device(&self, device: &Path) -> Result<bool> {
        let (found, stat) = self.look()?;
        shows_device(&found, &stat, device_number(device)?, &self.path)
    }

    /// Takes the topmost mount there away.
    pub(super) fn unmount(&self) -> rustix::io::Result<()> {
        unmount(self.held_path(), UnmountFlags::NOFOLLOW)
    }
}

/// Whether the topmost mount at a path shows this directory.
///
/// # Errors
/// Those of [`Mountpoint::is_mount_of_directory`].
pub fn is_mount_of_directory(path: &Path, dir: BorrowedFd<'_>) -> Result<bool> {
    Mountpoint::open(path)?.is_mount_of_directory(dir)
}

/// Whether the topmost mount at a path shows the file system, or a part of it, that is on this
/// block device.
///
/// # Errors
/// Those of [`Mountpoint::is_mount_of_device`].
pub fn is_mount_of_device(path: &Path, device: &Path) -> Result<bool> {
    Mountpoint::open(path)?.is_mount_of_device(device)
}
