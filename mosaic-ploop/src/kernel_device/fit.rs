// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which disks are given to the kernel's ploop. All others are shown by a block server, which is as
//! good: so whatever is not certain is a reason against.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use mosaic_core::loopdev::Identity;
use mosaic_core::{Context, Error, ErrorKind, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, fstat, openat, statx};

use crate::files::DiskFolder;
use crate::format::delta::read_header;
use crate::format::descriptor::{Base, DESCRIPTOR};
use crate::format::disk::Disk;
use crate::format::header::{Header, Mark, Version};
use crate::format::storage::{Access, Folder};
use crate::volume_dir::VolumeDir;

/// Others may write to it.
const OTHERS_WRITE: Mode = Mode::WGRP.union(Mode::WOTH);

/// Why a disk that nobody uses is not for the kernel's ploop.
///
/// # Errors
/// As [`VolumeDir::disk`].
pub(super) fn reason_against(dir: &VolumeDir) -> Result<Option<String>> {
    let disk = dir.disk()?;
    let descriptor = disk.descriptor();
    let reason = if descriptor.is_volume() {
        "it is part of a tree of volumes"
    } else if descriptor.is_encrypted() {
        "it is encrypted"
    } else if has_temporary(&disk) {
        "it has snapshots that wait to be merged"
    } else if descriptor.images().iter().any(|i| i.file.contains('/')) {
        "it has images in other folders"
    } else if disk.is_interrupted()? {
        "a change of it was interrupted"
    } else if descriptor.base() == Base::Raw && descriptor.shots().len() == 1 {
        "it is a raw image"
    } else if headers(&disk)?.iter().any(|h| h.version != Version::V2) {
        "it is of version 1"
    } else if marks(&disk)?.iter().any(|mark| *mark != Mark::Closed) {
        "it was not closed, or has an extension"
    } else {
        return Ok(descriptor_of_root(dir).err().map(|error| error.chain()));
    };
    Ok(Some(reason.to_owned()))
}

/// Whether it has snapshots that wait to be merged, which the tool does as soon as it can.
pub(super) fn has_temporary(disk: &Disk<DiskFolder>) -> bool {
    let mut shots = disk.descriptor().shots().iter();
    shots.any(|shot| shot.temporary.is_some())
}

/// The headers from the base up to the top, those that have one.
fn headers(disk: &Disk<DiskFolder>) -> Result<Vec<Header>> {
    let descriptor = disk.descriptor();
    let chain = descriptor.chain(descriptor.top());
    let raw = usize::from(descriptor.base() == Base::Raw);
    let read = chain.into_iter().skip(raw).map(|guid| {
        let name = descriptor.file(guid).unwrap_or_default();
        let file = disk.folder().open(name, Access::Read);
        let file = file.context(|| format!("cannot open {name:?}"))?;
        Ok(read_header(name, &file)?.0)
    });
    read.collect()
}

/// Whether its images are closed, from the base up.
pub(super) fn marks(disk: &Disk<DiskFolder>) -> Result<Vec<Mark>> {
    Ok(headers(disk)?.iter().map(|header| header.mark).collect())
}

/// The path of a disk's descriptor. The tool takes paths and follows links: so its folder, and all
/// above it, have to be root's alone to change. A folder like `/tmp`, in which everybody may change
/// what is his, will do above it.
///
/// # Errors
/// `Unsupported`, with which folder others can change; the kernel's.
pub(super) fn descriptor_of_root(dir: &VolumeDir) -> Result<PathBuf> {
    let failed = || format!("cannot look at the folders above {:?}", dir.path());
    let refuse = |why: String| Err(Error::new(ErrorKind::Unsupported, why));
    let path = real_path(dir)?;
    let mut above = path.as_path();
    let mut folder: OwnedFd = dir.as_fd().try_clone_to_owned().context(failed)?;
    let mut is_own = true;
    loop {
        let stat = fstat(&folder).context(failed)?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        let kept = !is_own && mode.contains(Mode::SVTX);
        if stat.st_uid != 0 || mode.intersects(OTHERS_WRITE) && !kept {
            return refuse(format!(
                "others than root can change {above:?}, so the ploop tool is not sent there"
            ));
        }
        let Some(next) = above.parent() else {
            return Ok(path.join(DESCRIPTOR));
        };
        above = next;
        is_own = false;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        folder = openat(&folder, "..", flags, Mode::empty()).context(failed)?;
    }
}

/// Where an open folder is now.
fn real_path(dir: &VolumeDir) -> Result<PathBuf> {
    let failed = || format!("cannot find out where {:?} is", dir.path());
    let link = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
    let path = std::fs::read_link(link).context(failed)?;
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let there = statx(CWD, &path, flags, StatxFlags::INO).context(failed)?;
    let is_same = Identity::from_statx(&there) == dir.identity()?;
    if is_same && path.is_absolute() && is_plain(&path) {
        return Ok(path);
    }
    let why = format!("{path:?} is no path that the ploop tool could be given");
    Err(Error::new(ErrorKind::Unsupported, why))
}

/// The tool writes paths into a file of lines, and has buffers for 4,096 bytes.
fn is_plain(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.len() < 3000 && !bytes.iter().any(u8::is_ascii_control)
}
