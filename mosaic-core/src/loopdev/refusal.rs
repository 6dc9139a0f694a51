// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why loop devices cannot be had, with the way out.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::path;
use crate::{Error, ErrorKind, Result};

/// Says why a loop device cannot be opened, with the way out.
pub fn cannot_open(number: u32, errno: Errno) -> Error {
    let device = path(number);
    match errno {
        Errno::NOENT => Error::new(
            ErrorKind::Unsupported,
            format!(
                "{device:?} is missing although the kernel has that loop device; \
                 mount devtmpfs on /dev, or give the container its loop devices"
            ),
        ),
        _ if is_privilege(errno) => needs_root(&device).with_errno(errno.raw_os_error()),
        _ => Error::io(errno, format!("cannot open {device:?}")),
    }
}

/// Opens the device that hands out loop devices.
///
/// # Errors
/// `Permission` without privilege, `Unsupported` without the loop module.
pub fn open_control() -> Result<OwnedFd> {
    let control = Path::new("/dev/loop-control");
    fs::open(control, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT | Errno::NODEV | Errno::NXIO => Error::new(
            ErrorKind::Unsupported,
            format!("{control:?} is missing: the kernel has no loop devices (try modprobe loop)"),
        ),
        _ if is_privilege(errno) => needs_root(control).with_errno(errno.raw_os_error()),
        _ => Error::io(errno, format!("cannot open {control:?}")),
    })
}

/// Whether the kernel says that privilege is missing.
pub fn is_privilege(errno: Errno) -> bool {
    matches!(errno, Errno::ACCESS | Errno::PERM)
}

fn needs_root(what: &Path) -> Error {
    Error::new(
        ErrorKind::Permission,
        format!("needs root: {what:?} cannot be opened by this user"),
    )
}
