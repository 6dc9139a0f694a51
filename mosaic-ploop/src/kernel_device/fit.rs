// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which disks are given to the kernel's ploop. All others are shown by a block server, which is as
//! good: so whatever is not certain is a reason against.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mosaic_core::loopdev::Identity;
use mosaic_core::{Context, Error, ErrorKind, Host, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, StatxFlags, fstat, openat, statx};

use super::PASSING;
use crate::files::DiskFolder;
use crate::format::delta::read_header;
use crate::format::descriptor::{Base, DESCRIPTOR, Image};
use crate::format::disk::Disk;
use crate::format::header::{Header, Mark, Version};
use crate::format::storage::{Access, Folder};
use crate::locks::{Hold, ImageLock};
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
        let trusted = descriptor_of_root(dir).and_then(|_| images_of_root(&disk));
        return match trusted {
            Err(error) => Ok(Some(error.chain())),
            Ok(stats) => Ok(stats.iter().any(|stat| stat.st_nlink > 1).then(|| {
                // Whoever shows the other one has locks on the base for as long, and the tool does
                // nothing without locks of its own there, not even take a device away.
                "it shares images with another disk".to_owned()
            })),
        };
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

/// The path of a disk's descriptor. The tool takes paths and follows links: so it, its folder, and
/// all above that, have to be root's alone to change. A folder like `/tmp`, in which everybody may
/// change what is his, will do above it.
///
/// # Errors
/// `Unsupported`, with which of them others can change; the kernel's.
pub(super) fn descriptor_of_root(dir: &VolumeDir) -> Result<PathBuf> {
    let failed = || format!("cannot look at the folders above {:?}", dir.path());
    let path = real_path(dir)?;
    let mut above = path.as_path();
    let mut folder: OwnedFd = dir.as_fd().try_clone_to_owned().context(failed)?;
    let mut is_own = true;
    loop {
        let stat = fstat(&folder).context(failed)?;
        let kept = !is_own && Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX);
        let by_all = kept && stat.st_uid == 0;
        if !by_all {
            require_of_root(&stat, above)?;
        }
        let Some(next) = above.parent() else {
            break;
        };
        above = next;
        is_own = false;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        folder = openat(&folder, "..", flags, Mode::empty()).context(failed)?;
    }
    // It says by which paths the tool goes on.
    let descriptor = path.join(DESCRIPTOR);
    stat_of_root(&dir.folder()?, DESCRIPTOR, &descriptor)?;
    Ok(descriptor)
}

/// Makes sure that nobody but root can change the images that a disk has.
fn images_of_root(disk: &Disk<DiskFolder>) -> Result<Vec<Stat>> {
    let images = disk.descriptor().images();
    let stat = |image: &Image| stat_of_root(disk.folder(), &image.file, Path::new(&image.file));
    images.iter().map(stat).collect()
}

fn stat_of_root(folder: &DiskFolder, name: &str, path: &Path) -> Result<Stat> {
    let failed = || format!("cannot look at {path:?}");
    let file = folder.open(name, Access::Read).context(failed)?;
    let stat = fstat(&file).context(failed)?;
    require_of_root(&stat, path)?;
    Ok(stat)
}

fn require_of_root(stat: &Stat, path: &Path) -> Result<()> {
    if stat.st_uid == 0 && !Mode::from_raw_mode(stat.st_mode).intersects(OTHERS_WRITE) {
        return Ok(());
    }
    let why = format!("others than root can change {path:?}, so the ploop tool is not sent there");
    Err(Error::new(ErrorKind::Unsupported, why))
}

/// Makes sure that the tool will have its locks on the base of a disk. It waits for them, for a
/// minute, in which it is not to be stopped. Lib/lock.c of libploop 8.
///
/// # Errors
/// `Busy`, with who holds them; `Interrupted`; as [`VolumeDir::disk`].
pub(super) fn await_locks(host: &Host, dir: &VolumeDir) -> Result<()> {
    let disk = dir.disk()?;
    let descriptor = disk.descriptor();
    let base = descriptor.chain(descriptor.top()).first().copied();
    let name = base
        .and_then(|base| descriptor.file(base))
        .unwrap_or_default();
    let file = disk.folder().open(name, Access::Read);
    let file = OwnedFd::from(file.context(|| format!("cannot open {name:?}"))?);
    let start = Instant::now();
    while let Err(error) = ImageLock::ask(&file, name, &Hold::TOOL) {
        if start.elapsed() > PASSING {
            return Err(error);
        }
        host.check_cancelled()?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
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
