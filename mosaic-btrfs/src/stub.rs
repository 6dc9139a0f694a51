// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a snapshot has an empty directory, a stub, for a subvolume within its source.
//!
//! A tenant chose the paths, may move what is on the way at any moment, and may mount over it. So
//! both are found by number: the subvolume by its id, the stub's folder by its inode, which a
//! snapshot shares with its source. Whoever may not do that (CAP_DAC_READ_SEARCH) goes by path in
//! both, and compares the numbers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use linux_raw_sys::btrfs::BTRFS_EMPTY_SUBVOL_DIR_OBJECTID;
use mosaic_core::{Context, Error, ErrorKind, Result};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, fstat, openat2, statat};
use rustix::io::Errno;

use crate::ioctl;
use crate::subvolume::{Child, Standing, Subvolume};

/// To open a directory on the way.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// Neither a link, nor a way out, nor what is mounted there.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV);

/// A subvolume within a source, and where its snapshot belongs.
#[derive(Debug)]
pub(crate) struct Found {
    /// The subvolume.
    pub(crate) subvolume: Subvolume,
    /// Where it stands.
    pub(crate) standing: Standing,
    /// The folder of the same number in the snapshot of the source.
    pub(crate) folder: OwnedFd,
}

/// Finds a subvolume within `above`, and its folder in the snapshot `copy` of that one. `Ok(None)`:
/// not there any more, or not there yet.
///
/// # Errors
/// `Permission`; for a caller without privilege `Busy` where something is mounted over it; the
/// kernel's.
pub(crate) fn find(
    dir: BorrowedFd<'_>,
    above: &Subvolume,
    copy: &Subvolume,
    child: &Child,
) -> Result<Option<Found>> {
    let found = match by_number(dir, copy, child) {
        Err(error) if error.kind() == ErrorKind::Permission => by_path(above, copy, child),
        other => other,
    };
    let Some((subvolume, folder)) = found? else {
        return Ok(None);
    };
    let standing = match subvolume.standing() {
        Err(Errno::NOENT) => return Ok(None),
        other => other.context(|| "cannot ask the file system about it".to_owned())?,
    };
    if (standing.above, standing.place.directory) != (above.id(), child.directory) {
        return Ok(None);
    }
    Ok(Some(Found {
        subvolume,
        standing,
        folder,
    }))
}

fn by_number(
    dir: BorrowedFd<'_>,
    copy: &Subvolume,
    child: &Child,
) -> Result<Option<(Subvolume, OwnedFd)>> {
    let Some(subvolume) = Subvolume::of_id(dir, child.id)? else {
        return Ok(None);
    };
    match ioctl::open_directory(dir, copy.id(), child.directory) {
        Err(Errno::STALE | Errno::NOENT) => Ok(None),
        other => {
            let folder = other.context(|| "cannot open its place in the clone".to_owned())?;
            Ok(Some((subvolume, folder)))
        }
    }
}

fn by_path(
    above: &Subvolume,
    copy: &Subvolume,
    child: &Child,
) -> Result<Option<(Subvolume, OwnedFd)>> {
    let (name, folder) = match ioctl::path_within(above.dir(), child.id, child.directory) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.context(|| "cannot find it".to_owned())?,
    };
    let whole = [folder.as_slice(), name.as_slice()].concat();
    let subvolume = match open_beneath(above, &whole)? {
        Some(dir) => Subvolume::at(dir)?,
        None => None,
    };
    let subvolume = subvolume.filter(|found| found.id() == child.id);
    let folder = open_beneath(copy, &folder)?;
    let (Some(subvolume), Some(folder)) = (subvolume, folder) else {
        return Ok(None);
    };
    let failed = || "cannot look at its place in the clone".to_owned();
    let at = fstat(&folder).context(failed)?;
    let root = fstat(copy.dir()).context(failed)?;
    let is_same = (at.st_ino, at.st_dev) == (child.directory, root.st_dev);
    Ok(is_same.then_some((subvolume, folder)))
}

/// Opens a directory of a subvolume; `Ok(None)` if there is none (any more).
fn open_beneath(subvolume: &Subvolume, path: &[u8]) -> Result<Option<OwnedFd>> {
    let path = if path.is_empty() { b"." } else { path };
    match openat2(subvolume.dir(), path, DIRECTORY, Mode::empty(), BENEATH) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(Errno::XDEV) => Err(Error::new(
            ErrorKind::Busy,
            "something is mounted over it; unmount that first",
        )),
        Err(errno) => Err(Error::io(errno, "cannot open it")),
    }
}

/// Whether a name in a folder of a snapshot is a stub.
pub(crate) fn is_stub(folder: impl AsFd, name: &[u8]) -> bool {
    let stub = u64::from(BTRFS_EMPTY_SUBVOL_DIR_OBJECTID);
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| found.st_ino == stub)
}

/// The path of a subvolume within another one, to be shown; its id where that cannot be had.
pub(crate) fn path_of(above: &Subvolume, child: &Child) -> Vec<u8> {
    match ioctl::path_within(above.dir(), child.id, child.directory) {
        Ok((name, folder)) => [folder, name].concat(),
        Err(_) => format!("of id {}", child.id).into_bytes(),
    }
}
