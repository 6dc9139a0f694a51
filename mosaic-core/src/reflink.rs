// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that share blocks: what belongs to `FICLONE` (ioctl_ficlone(2)), which rustix has.

use std::os::fd::AsFd;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use rustix::io::{Errno, Result};

/// Lets an empty file be written in the same way as another one, or they could share nothing: on
/// btrfs both copy on write, or none (`FS_NOCOW_FL`, linux/fs.h). Where there are no such flags there
/// is no need.
///
/// # Errors
/// The kernel's.
pub fn write_alike(from: impl AsFd, empty: impl AsFd) -> Result<()> {
    match ioctl_getflags(from) {
        Ok(flags) if flags.contains(IFlags::NOCOW) => {
            let own = ioctl_getflags(&empty)?;
            ioctl_setflags(empty, own | IFlags::NOCOW)
        }
        _ => Ok(()),
    }
}

/// Whether this is how a file system says that no files can share blocks, or not these.
pub fn is_missing(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY | Errno::NOSYS | Errno::XDEV
    )
}
