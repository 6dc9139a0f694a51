// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's list of FUSE connections, by which one can be ended that nobody serves any more.
//!
//! A connection goes with the last descriptor of it. One that somebody holds, who does not answer,
//! lets all wait who ask for something, in a sleep from which nothing wakes them but this.

use std::os::fd::OwnedFd;

use mosaic_core::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// Ends a connection: what is asked of it fails, now and later. Whether it was there.
///
/// It is known by the minor number of the device that its file system has.
///
/// # Errors
/// `Permission`; the kernel's.
///
/// Kernel: Documentation/filesystems/fuse.rst, "Control filesystem"; fs/fuse/control.c,
/// `fuse_conn_abort_write`.
pub fn abort(minor: u32) -> Result<bool> {
    let failed = || format!("cannot end the FUSE connection {minor}");
    let list = list().context(failed)?;
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&list, format!("{minor}/abort"), flags, Mode::empty()) {
        Err(Errno::NOENT) => Ok(false),
        file => {
            rustix::io::write(file.context(failed)?, b"1").context(failed)?;
            Ok(true)
        }
    }
}

/// The control file system, for us alone: it need not be mounted where it usually is.
fn list() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
