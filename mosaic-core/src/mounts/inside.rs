// SPDX-License-Identifier: MIT OR Apache-2.0
//! A directory in a mounted file system, for what the kernel is asked by one: syncfs(2), growth.
//!
//! The mount table says where a device is mounted, but another mount may hide that place, and who
//! opens it gets that other file system. So what was opened is proven before it is used.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Dev, FileType, StatVfsMountFlags};
use rustix::io::Errno;

use super::device::{device_number, reopen};
use super::mountpoint::Mountpoint;
use super::target::shows_device;
use crate::busy::{self, Use};
use crate::error::{Context, Result};

/// A directory, open for reading, in the file system that is mounted from a block device, in
/// whatever mount namespace; through a writable mount where there is one. `None`: not mounted, or
/// nowhere to be reached.
///
/// # Errors
/// `NotFound` if there is no such device; `Invalid` if it is no block device; the kernel's.
pub fn directory_on_device(device: &Path) -> Result<Option<OwnedFd>> {
    let number = device_number(device)?;
    let mut read_only = None;
    for used in busy::mounts_of_device(device)?.uses {
        let Use::Mount { at, pid, .. } = used else {
            continue;
        };
        // Hidden by another mount, gone, or not for us to open: there may be a next one.
        let Ok(Some(dir)) = open(&seen_from_here(pid, at), number) else {
            continue;
        };
        let state = rustix::fs::fstatvfs(&dir).context(|| format!("cannot look at {device:?}"))?;
        if !state.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Ok(Some(dir));
        }
        read_only = Some(dir);
    }
    Ok(read_only)
}

fn open(path: &Path, number: Dev) -> Result<Option<OwnedFd>> {
    let (found, stat) = Mountpoint::open(path)?.look()?;
    let is_directory = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory;
    if !is_directory || !shows_device(&found, &stat, number, path)? {
        return Ok(None);
    }
    match reopen(&found, &stat) {
        Err(Errno::ACCESS) => Ok(None),
        other => other.map(Some).context(|| format!("cannot open {path:?}")),
    }
}

/// A mountpoint as a process in another mount namespace sees it, by a path of ours.
fn seen_from_here(pid: Option<u32>, at: PathBuf) -> PathBuf {
    match pid {
        None => at,
        Some(pid) => {
            let beneath = at.strip_prefix("/").unwrap_or(&at);
            PathBuf::from(format!("/proc/{pid}/root")).join(beneath)
        }
    }
}
