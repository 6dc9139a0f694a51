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
    let same = openers(|stat| is_device(stat, number))?;
    let mut found = mounts_of_device(device)?.and(same);
    found.uses.extend(sysfs::holders_of(number));
    found.uses.extend(sysfs::loop_devices_on(number));
    found.uses.extend(sysfs::swap_on(number));
    Ok(found)
}

/// Who may write to a block device that nobody claims, by whatever node: other processes that have it
/// open for writing, as a virtual machine has its disk, and loop devices on it.
///
/// # Errors
/// `NotFound` if there is no such device; `Invalid` if it is no block device; the kernel's.
pub fn writers_of_device(device: &Path) -> Result<Uses> {
    let number = device_number(device)?;
    let mut found = openers_with(|stat| is_device(stat, number), is_for_writing)?;
    found.uses.extend(sysfs::loop_devices_on(number));
    Ok(found)
}

/// Who may have claimed a block device that is only claimed for writing: of those that have it open
/// the processes that only read it are left out, unless nobody else is found. The kernel does not tell
/// a claim (`O_EXCL`) from any other open.
///
/// # Errors
/// As [`openers_of_device`].
pub fn claimants_of_device(device: &Path) -> Result<Uses> {
    let number = device_number(device)?;
    let openers = openers_of_device(device)?;
    let writers = openers_with(|stat| is_device(stat, number), is_for_writing)?;
    let writes = |reader: u32| {
        let mut writers = writers.uses.iter();
        writers.any(|found| matches!(found, Use::OpenFile { pid, .. } if *pid == reader))
    };
    let is_reader = |found: &Use| matches!(found, Use::OpenFile { pid, .. } if !writes(*pid));
    let mut claimants = openers.clone();
    claimants.uses.retain(|found| !is_reader(found));
    Ok(if claimants.is_empty() {
        openers
    } else {
        claimants
    })
}

fn is_device(stat: &Statx, number: Dev) -> bool {
    let rdev = rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor);
    FileType::from_raw_mode(stat.stx_mode.into()) == FileType::BlockDevice && rdev == number
}

/// The processes besides ours that have something open that `same` recognizes, one use each. A
/// descriptor that only stands for a place (`O_PATH`) has nothing open behind it.
fn openers(same: impl Fn(&Statx) -> bool) -> Result<Uses> {
    openers_with(same, |flags| flags & libc::O_PATH == 0)
}

fn is_for_writing(flags: i32) -> bool {
    flags & libc::O_PATH == 0 && flags & libc::O_ACCMODE != libc::O_RDONLY
}

/// The same of descriptors whose flags `counts` takes, or that cannot be looked at.
fn openers_with(same: impl Fn(&Statx) -> bool, counts: impl Fn(i32) -> bool) -> Result<Uses> {
    let mut uses = Vec::new();
    let unseen = processes::scan(|process| {
        if process.pid == processes::own_pid() {
            return Ok(());
        }
        for name in process.names("fd")? {
            let link = format!("fd/{name}");
            let found = process.look(&link).is_ok_and(|stat| same(&stat));
            if found && flags_of(process, &name).is_none_or(&counts) {
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

/// The flags with which a descriptor was opened.
fn flags_of(process: &Process, name: &str) -> Option<i32> {
    let text = process.read(&format!("fdinfo/{name}")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
    i32::from_str_radix(flags.trim(), 8).ok()
}
