// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who has a file or a block device open.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{Dev, FileType, Statx};

use super::processes::{self, Process};
use super::{Use, Uses, mounts_of_device, sysfs};
use crate::error::{Context, Result};
use crate::mounts::device::{device_number, device_of, statx_of};

/// Who has a file open: other processes, and loop devices whose backing file it is.
///
/// A mapping that outlives its descriptor is not found; a lease sees it ([`super::Lease`]).
///
/// # Errors
/// The kernel's, if `/proc` cannot be read.
pub fn openers_of_file(file: BorrowedFd<'_>) -> Result<Uses> {
    let wanted = statx_of(file).context(|| "cannot look at an open file".to_owned())?;
    let same =
        |stat: &Statx| stat.stx_ino == wanted.stx_ino && device_of(stat) == device_of(&wanted);
    let mut found = openers(same)?;
    found.uses.extend(sysfs::loop_devices_of(file, &wanted));
    Ok(found)
}

/// The processes besides ours that have something open that `same` recognizes by the number of its
/// device, which is one of its own for each btrfs subvolume, and its inode.
///
/// # Errors
/// The kernel's, if `/proc` cannot be read.
pub fn openers_of(same: impl Fn(Dev, u64) -> bool) -> Result<Uses> {
    openers(|stat| same(device_of(stat), stat.stx_ino))
}

/// Who has a block device open, by whatever node: other processes, mounts in all namespaces, devices
/// made of it, loop devices on it, swap.
///
/// # Errors
/// `NotFound` if there is no such device; `Invalid` if it is no block device; the kernel's.
pub fn openers_of_device(device: &Path) -> Result<Uses> {
    let number = device_number(device)?;
    let same = |stat: &Statx| {
        let rdev = rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor);
        FileType::from_raw_mode(stat.stx_mode.into()) == FileType::BlockDevice && rdev == number
    };
    let mut found = mounts_of_device(device)?.and(openers(same)?);
    found.uses.extend(sysfs::holders_of(number));
    found.uses.extend(sysfs::loop_devices_on(number));
    found.uses.extend(sysfs::swap_on(number));
    Ok(found)
}

/// The processes besides ours that have something open that `same` recognizes, one use each.
fn openers(same: impl Fn(&Statx) -> bool) -> Result<Uses> {
    let mut uses = Vec::new();
    let unseen = processes::scan(|process| {
        if process.pid == processes::own_pid() {
            return Ok(());
        }
        for name in process.names("fd")? {
            let link = format!("fd/{name}");
            let found = process.look(&link).is_ok_and(|stat| same(&stat));
            if found && !is_path_only(process, &name) {
                uses.push(Use::OpenFile {
                    pid: process.pid,
                    command: process.command(),
                    path: process.link(&link),
                });
                break;
            }
        }
        Ok(())
    })?;
    Ok(Uses { uses, unseen })
}

/// Whether a descriptor only stands for a place (`O_PATH`), with nothing open behind it.
fn is_path_only(process: &Process, name: &str) -> bool {
    let text = process.read(&format!("fdinfo/{name}")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_PATH != 0)
}
