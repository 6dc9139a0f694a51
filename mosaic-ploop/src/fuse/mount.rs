// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mount whose root is the file.
//!
//! It is never in any tree: a detached mount, which the kernel takes down with its last descriptor
//! and the last open file. So nothing is left of it, whenever whoever made it is killed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mosaic_core::command::fd_path;
use mosaic_core::{Context, Error, ErrorKind, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};

const DEVICE: &str = "/dev/fuse";

/// A detached mount of one file.
#[derive(Debug)]
pub struct FileMount(OwnedFd);

/// Opens `/dev/fuse`.
///
/// # Errors
/// `Unsupported` without FUSE, `Permission` without privilege; the kernel's.
pub fn open_device() -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(DEVICE, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT | Errno::NODEV | Errno::NXIO => Error::new(
            ErrorKind::Unsupported,
            format!("{DEVICE:?} is missing: the kernel has no FUSE (try modprobe fuse)"),
        ),
        Errno::ACCESS | Errno::PERM => Error::new(
            ErrorKind::Permission,
            format!("needs root: {DEVICE:?} cannot be opened by this user"),
        ),
        _ => Error::io(errno, format!("cannot open {DEVICE:?}")),
    })
}

impl FileMount {
    /// Mounts what is served by `device`; the first request is there to be read then.
    ///
    /// # Errors
    /// `Permission`; the kernel's.
    ///
    /// Kernel: fsopen(2), fsconfig(2), fsmount(2), for FUSE since Linux 5.5; options of
    /// Documentation/filesystems/fuse.rst.
    pub fn new(device: BorrowedFd<'_>, source: &str) -> Result<Self> {
        use std::os::fd::AsRawFd;
        let mount = || -> rustix::io::Result<OwnedFd> {
            let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
            let set = |key: &str, value: &str| fsconfig_set_string(&context, key, value);
            set("source", source)?;
            set("fd", &device.as_raw_fd().to_string())?;
            // A regular file.
            set("rootmode", "100000")?;
            set("user_id", "0")?;
            set("group_id", "0")?;
            fsconfig_create(&context)?;
            let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        };
        match mount() {
            Ok(mount) => Ok(Self(mount)),
            Err(Errno::PERM) => Err(Error::new(
                ErrorKind::Permission,
                "needs root: this user cannot mount a file of a block server",
            )),
            Err(Errno::NODEV) => Err(Error::new(
                ErrorKind::Unsupported,
                "the kernel has no FUSE (try modprobe fuse)",
            )),
            Err(errno) => Err(Error::io(errno, "cannot mount the file of a block server")),
        }
    }

    /// Opens the file. The server has to answer.
    ///
    /// # Errors
    /// The server's, or the kernel's if there is no server any more.
    pub fn open(&self, read_only: bool) -> Result<OwnedFd> {
        let access = match read_only {
            true => OFlags::RDONLY,
            false => OFlags::RDWR,
        };
        let path = fd_path(self.0.as_fd());
        let opened = rustix::fs::open(path, access | OFlags::CLOEXEC, Mode::empty());
        let failed = || "cannot open the file of the block server".into();
        let file = opened.context(failed)?;
        // From now on the kernel knows its attributes, and can say what a loop device shows, also if
        // the server dies before it is asked.
        rustix::fs::fstat(&file).context(failed)?;
        Ok(file)
    }
}
