// SPDX-License-Identifier: MIT OR Apache-2.0
//! btrfs by btrfs-progs, and by ioctl on a mount. Volumes have one device, with id 1.
//!
//! The superblock is at 64 KiB, little-endian (uapi/linux/btrfs_tree.h, `struct
//! btrfs_super_block`). btrfstune on a copy with a log tree ends with status 0 and leaves an image
//! that cannot be mounted any more, so it is not run on one.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::io::Errno;

use super::detached::DetachedMount;
use super::superblock::{Raw, checked_size, corrupt};
use crate::command::{Command, Output, one_line};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host_services::Host;
use crate::ioctl::file_system::{btrfs_device_size, btrfs_resize};
use crate::size::Bytes;

/// `minimum size for each btrfs device` with mkfs's defaults (btrfs-progs 6.2, 16 KiB nodes).
pub(super) const MIN_SIZE: Bytes = Bytes(109 << 20);

/// The kernel gives a device no new size below this, not even a larger one than it has
/// (`btrfs_ioctl_resize`, fs/btrfs/ioctl.c, Linux 6.1).
pub(super) const RESIZE_MIN: Bytes = Bytes(256 << 20);

/// Quiet; over an older file system; without discarding, since a volume's storage is fresh.
pub(super) const MKFS_OPTIONS: [&str; 3] = ["-q", "-f", "-K"];

/// Where the first superblock is, in bytes.
const OFFSET: u64 = 64 << 10;
/// Bytes of it that are read.
const LENGTH: usize = 4096;

/// What we read of a superblock, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Superblock {
    uuid: [u8; 16],
    /// Logical address of the log tree; 0: there is none.
    log_root: u64,
    /// Bytes of data and metadata in use.
    used: u64,
    /// Bytes, the unit of sizes.
    sector_size: u64,
    /// Bytes of this device that the file system takes.
    device_size: u64,
}

impl Superblock {
    fn read(file: BorrowedFd<'_>) -> Result<Self> {
        Self::parse(&Raw::read(file, "btrfs", OFFSET, LENGTH)?)
    }

    fn parse(raw: &Raw) -> Result<Self> {
        raw.expect_magic(0x40, *b"_BHRfS_M")?;
        let found = Self {
            uuid: raw.field(0x20)?,
            log_root: raw.le64(0x60)?,
            used: raw.le64(0x78)?,
            sector_size: raw.le32(0x90)?,
            device_size: raw.le64(0xd1)?,
        };
        checked_size("btrfs", found.device_size, 1)?;
        if !found.sector_size.is_power_of_two() || found.sector_size > 65536 {
            return Err(corrupt(
                "btrfs",
                "its superblock says an impossible sector size",
            ));
        }
        Ok(found)
    }
}

pub(super) fn uuid(file: BorrowedFd<'_>) -> Result<[u8; 16]> {
    Superblock::read(file).map(|found| found.uuid)
}

pub(super) fn has_no_log(file: BorrowedFd<'_>) -> Result<bool> {
    Superblock::read(file).map(|found| found.log_root == 0)
}

pub(super) fn size(device: BorrowedFd<'_>, mounted: Option<BorrowedFd<'_>>) -> Result<u64> {
    match mounted {
        Some(dir) => btrfs_device_size(dir)
            .context(|| "cannot ask for the size of a mounted btrfs".to_owned()),
        None => Superblock::read(device).map(|found| found.device_size),
    }
}

pub(super) fn unusable_tail(device: BorrowedFd<'_>) -> Result<u64> {
    Superblock::read(device).map(|found| found.sector_size)
}

/// `-m` changes the UUID in the superblock alone; `-u` would rewrite all metadata (btrfstune(8)).
pub(super) fn renew_uuid(host: &Host, target: &Path) -> Result<()> {
    if !has_no_log(super::open(target)?.as_fd())? {
        return Err(Error::new(
            ErrorKind::Busy,
            "the copied btrfs has a log tree, so its UUID cannot be changed; sync it and copy again",
        ));
    }
    Command::new("btrfstune")
        .arg("-m")
        .arg(target)
        .run(host)
        .map(drop)
}

pub(super) fn grow_online(dir: BorrowedFd<'_>) -> Result<()> {
    btrfs_resize(dir, "max").context(|| "cannot grow btrfs".to_owned())
}

pub(super) fn grow_offline(device: &Path) -> Result<()> {
    let mount = DetachedMount::new("btrfs", device, &[])?;
    let grown = mount.root().and_then(|root| grow_online(root.as_fd()));
    mount.close()?;
    grown
}

pub(super) fn shrink(host: &Host, device: &Path, to: u64) -> Result<()> {
    let found = Superblock::read(super::open(device)?.as_fd())?;
    if Bytes(to) < RESIZE_MIN {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "btrfs cannot be shrunk to {}, only to {RESIZE_MIN} or more",
                Bytes(to)
            ),
        ));
    }
    if found.used > to {
        return Err(does_not_fit(found.used, to));
    }
    host.check_cancelled()?;
    host.debug(&format!(
        "BTRFS_IOC_RESIZE: btrfs on {device:?} to {}",
        Bytes(to)
    ));
    let mount = DetachedMount::new("btrfs", device, &[])?;
    let shrunk = mount
        .root()
        .and_then(|root| shrink_mounted(root.as_fd(), &found, to));
    mount.close()?;
    shrunk
}

/// The kernel moves what is behind the new end, and takes the old size again if that fails.
fn shrink_mounted(root: BorrowedFd<'_>, found: &Superblock, to: u64) -> Result<()> {
    let to = to / found.sector_size * found.sector_size;
    match btrfs_resize(root, &to.to_string()) {
        Ok(()) => Ok(()),
        Err(Errno::NOSPC) => Err(does_not_fit(found.used, to)),
        Err(errno) => Err(Error::io(
            errno,
            format!("cannot shrink btrfs to {}", Bytes(to)),
        )),
    }
}

fn does_not_fit(used: u64, to: u64) -> Error {
    Error::new(
        ErrorKind::NoSpace,
        format!(
            "what is in it, {} ({used} bytes) and its free space in chunks, does not fit into {} \
             ({to} bytes)",
            Bytes(used),
            Bytes(to)
        ),
    )
}

/// `btrfs check --repair` is not run: its manual says that it may make things worse
/// (btrfs-check(8)). Nor is a log tree anything to repair: the next mount replays it.
pub(super) fn check(host: &Host, device: &Path, repair: bool) -> Result<Option<String>> {
    let output = Command::new("btrfs")
        .args(["check", "--readonly"])
        .arg(device)
        .accept(&[1])
        .run(host)?;
    if output.status == 0 {
        return Ok(None);
    }
    let said = said(&output);
    if repair {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "btrfs on {device:?} is damaged, and no repair is safe: {said}; copy out what can \
                 be read (mount -o ro,rescue=all), then drop it"
            ),
        ));
    }
    Ok(Some(said))
}

fn said(output: &Output) -> String {
    one_line(&output.stderr, 10, |line| {
        line.starts_with('[') && line.contains("] checking")
    })
}

#[cfg(test)]
mod tests {
    use super::super::superblock::arbitrary;
    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0x20, &[7; 16]);
        put(0x40, b"_BHRfS_M");
        put(0x90, &4096u32.to_le_bytes());
        put(0xd1, &(512u64 << 20).to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Superblock> {
        Superblock::parse(&Raw::from_bytes("btrfs", bytes))
    }

    #[test]
    fn fields_are_where_the_kernel_has_them() {
        let found = parse(&sample()).unwrap();
        assert_eq!(found.uuid, [7; 16]);
        assert_eq!((found.device_size, found.log_root), (512 << 20, 0));
        let mut logged = sample();
        logged[0x60] = 1;
        assert_eq!(parse(&logged).unwrap().log_root, 1);
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        for mut bytes in arbitrary(LENGTH) {
            bytes[0x40..0x48].copy_from_slice(b"_BHRfS_M");
            let _ = parse(&bytes);
        }
        let mut odd = sample();
        odd[0x90] = 1;
        let mut huge = sample();
        huge[0xd8] = 0xff;
        for bytes in [odd, huge, vec![0; LENGTH], vec![]] {
            assert_eq!(parse(&bytes).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
