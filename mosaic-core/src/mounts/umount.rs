// SPDX-License-Identifier: MIT OR Apache-2.0
//! Taking a mount away, and saying who is in the way.

use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::target::{is_mount_root, open_mountpoint};
use crate::busy;
use crate::error::{Error, ErrorKind, Result};

/// Takes away the topmost mount at a path; nothing is forced, nothing is left for later.
///
/// # Errors
/// `NotFound`; `Invalid` if it is no mountpoint or a symbolic link; `Busy` with the processes that
/// are in it; `Permission`.
///
/// Kernel: umount2(2), `UMOUNT_NOFOLLOW` since Linux 2.6.34.
pub fn umount(path: &Path) -> Result<()> {
    let (found, stat) = open_mountpoint(path)?;
    let not_mounted = || Error::new(ErrorKind::Invalid, format!("{path:?} is not a mountpoint"));
    if !is_mount_root(&stat) {
        return Err(not_mounted());
    }
    // An open descriptor would itself keep the mount.
    drop(found);
    unmount(path, UnmountFlags::NOFOLLOW).map_err(|errno| match errno {
        Errno::BUSY => {
            let mut what = format!("cannot unmount {path:?}");
            if let Ok(uses) = busy::users_of_mount(stat.stx_mnt_id) {
                what = format!("{what}: {}", uses.describe());
            }
            Error::new(ErrorKind::Busy, what).with_errno(errno.raw_os_error())
        }
        Errno::INVAL => not_mounted(),
        Errno::PERM => Error::new(
            ErrorKind::Permission,
            format!("cannot unmount {path:?}: that needs root (CAP_SYS_ADMIN)"),
        )
        .with_errno(errno.raw_os_error()),
        _ => Error::io(errno, format!("cannot unmount {path:?}")),
    })
}
