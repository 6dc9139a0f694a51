// SPDX-License-Identifier: MIT OR Apache-2.0
//! Taking a mount away, and saying who is in the way.

use std::path::Path;

use rustix::io::Errno;

use super::mountpoint::Mountpoint;
use super::target::is_mount_root;
use crate::busy::{self, Uses};
use crate::error::{Error, ErrorKind, Result};

/// How often it is tried while nobody is found in it: whoever just looked through a path in it holds
/// it for a moment, and is gone when we look for them.
const ATTEMPTS: u32 = 5;

/// Takes away the topmost mount at a path; nothing is forced, nothing is left for later.
///
/// # Errors
/// `NotFound`; `Invalid` if it is no mountpoint or a symbolic link; `Busy` with the processes that
/// are in it; `Permission`.
///
/// Kernel: umount2(2), `UMOUNT_NOFOLLOW` since Linux 2.6.34.
pub fn umount(path: &Path) -> Result<()> {
    umount_at(&Mountpoint::open(path)?)
}

/// The same at a mountpoint that was looked at before.
///
/// # Errors
/// Those of [`umount`].
pub fn umount_at(mountpoint: &Mountpoint) -> Result<()> {
    let path = mountpoint.path();
    let (found, stat) = mountpoint.look()?;
    let not_mounted = || Error::new(ErrorKind::Invalid, format!("{path:?} is not a mountpoint"));
    if !is_mount_root(&stat) {
        return Err(not_mounted());
    }
    // An open descriptor would itself keep the mount.
    drop(found);
    let mut uses = None;
    for _ in 0..ATTEMPTS {
        match mountpoint.unmount() {
            Ok(()) => return Ok(()),
            Err(Errno::BUSY) => {
                let found = busy::users_of_mount(stat.stx_mnt_id)?;
                if !found.is_empty() {
                    return Err(in_use(path, &found));
                }
                uses = Some(found);
            }
            Err(Errno::INVAL) => return Err(not_mounted()),
            Err(Errno::PERM) => {
                let text = format!("cannot unmount {path:?}: that needs root (CAP_SYS_ADMIN)");
                return Err(
                    Error::new(ErrorKind::Permission, text).with_errno(Errno::PERM.raw_os_error())
                );
            }
            Err(errno) => return Err(Error::io(errno, format!("cannot unmount {path:?}"))),
        }
    }
    Err(in_use(path, &uses.unwrap_or_default()))
}

fn in_use(path: &Path, uses: &Uses) -> Error {
    let text = format!("cannot unmount {path:?}: {}", uses.describe());
    Error::new(ErrorKind::Busy, text).with_errno(Errno::BUSY.raw_os_error())
}
