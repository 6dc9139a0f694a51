// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PATH of `mount`: free before it. It is opened once; what was checked is what is mounted on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Dev, Mode, OFlags, Statx, StatxAttributes};
use rustix::io::Errno;

use super::device::{device_of, devices_of_btrfs, reopen, statx_of};
use super::mountinfo::{self, MountEntry};
use crate::error::{Context, Error, ErrorKind, Result};

/// A directory on which nothing is mounted.
#[derive(Debug)]
pub struct Target {
    dir: OwnedFd,
    path: PathBuf,
}

impl Target {
    /// As it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks whether the path still leads to the free directory that was opened. Whoever waited
    /// meanwhile, for a lock say, may find another's mount there, and would hide it.
    ///
    /// # Errors
    /// `Busy` if something is mounted there now, or the directory is another one.
    pub fn check_free(&self) -> Result<()> {
        let before = look(&self.dir, &self.path)?;
        let now = open_target(&self.path)?;
        let stat = look(&now.dir, &self.path)?;
        if (stat.stx_mnt_id, stat.stx_ino) == (before.stx_mnt_id, before.stx_ino) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Busy,
            format!("mountpoint {:?} became another directory", self.path),
        ))
    }

    /// Open with `O_PATH`.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// Opens a directory to mount on.
///
/// # Errors
/// `NotFound`; `Invalid` if it is no directory; `Busy` if something is mounted there already.
pub fn open_target(path: &Path) -> Result<Target> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => Error::new(
            ErrorKind::NotFound,
            format!("mountpoint {path:?} does not exist; make the directory first"),
        ),
        Errno::NOTDIR => Error::new(
            ErrorKind::Invalid,
            format!("mountpoint {path:?} is not a directory"),
        ),
        _ => Error::io(errno, format!("cannot open mountpoint {path:?}")),
    })?;
    let stat = look(&dir, path)?;
    if is_mount_root(&stat) {
        return Err(taken(path, &stat));
    }
    Ok(Target {
        dir,
        path: path.to_owned(),
    })
}

fn taken(path: &Path, stat: &Statx) -> Error {
    Error::new(
        ErrorKind::Busy,
        format!("{path:?} is a mountpoint already: {}", shown(stat)),
    )
}

/// Whether what was found at `path` is the root of a mount of this device's file system.
pub(super) fn shows_device(
    found: &OwnedFd,
    stat: &Statx,
    number: Dev,
    path: &Path,
) -> Result<bool> {
    if !is_mount_root(stat) {
        return Ok(false);
    }
    if device_of(stat) == number {
        return Ok(true);
    }
    match reopen(found, stat).and_then(devices_of_btrfs) {
        Ok(devices) => Ok(devices.contains(&number)),
        Err(Errno::NOTTY | Errno::INVAL | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(Error::io(errno, format!("cannot look at {path:?}"))),
    }
}

pub(super) fn look(file: &OwnedFd, path: &Path) -> Result<Statx> {
    statx_of(file).context(|| format!("cannot look at {path:?}"))
}

/// Whether a file is the root of the mount that it was reached through.
///
/// Kernel: `STATX_ATTR_MOUNT_ROOT` in statx(2), since Linux 5.8.
pub(super) fn is_mount_root(stat: &Statx) -> bool {
    stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
}

/// What the mount behind a file shows, for a message.
fn shown(stat: &Statx) -> String {
    let entry = mountinfo::own()
        .ok()
        .and_then(|entries| entries.into_iter().find(|e| e.id == stat.stx_mnt_id));
    entry.as_ref().map_or_else(
        || "what is mounted there cannot be seen".to_owned(),
        describe,
    )
}

/// `ext4 on "/dev/loop3"`, with the directory that is shown unless it is the whole of it.
pub(super) fn describe(entry: &MountEntry) -> String {
    let source = &entry.source;
    if entry.root == Path::new("/") {
        format!("{} on {source:?}", entry.fs)
    } else {
        format!("directory {:?} of {} on {source:?}", entry.root, entry.fs)
    }
}
