// SPDX-License-Identifier: MIT OR Apache-2.0
//! xfs by xfsprogs, and by ioctl on a mount.
//!
//! The superblock is at byte 0, big-endian (fs/xfs/libxfs/xfs_format.h, `struct xfs_dsb`). The log
//! of a copy is dirty even if it was frozen, and only the kernel can replay it: such a copy is
//! mounted for a moment, nowhere. `xfs_admin -U` refuses a dirty log with exit status 0.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use super::detached::DetachedMount;
use super::superblock::{Raw, checked_size, corrupt};
use crate::command::{Command, Output, one_line};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host_services::Host;
use crate::ioctl::file_system::{xfs_geometry, xfs_grow};
use crate::size::Bytes;

/// `Filesystem must be larger than 300MB.` (mkfs.xfs since xfsprogs 5.19).
pub(super) const MIN_SIZE: Bytes = Bytes(300 << 20);

/// Quiet; over an older file system; without discarding, since a volume's storage is fresh.
pub(super) const MKFS_OPTIONS: [&str; 3] = ["-q", "-f", "-K"];

/// The origin is often mounted while its copy, still of the same UUID, is worked on.
const MOUNT_FLAGS: [&str; 1] = ["nouuid"];
/// Bytes of the superblock that are read: one sector.
const LENGTH: usize = 512;
/// The kernel adds no allocation group with less (`XFS_MIN_AG_BLOCKS`, fs/xfs/libxfs/xfs_ag.h).
const AG_BLOCKS_MIN: u64 = 64;

/// The shape of the data section, of a superblock or as the kernel tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    /// Bytes, 512 to 64 KiB.
    block_size: u64,
    blocks: u64,
    ag_blocks: u64,
    ag_count: u64,
}

impl Shape {
    fn read(device: BorrowedFd<'_>, mounted: Option<BorrowedFd<'_>>) -> Result<Self> {
        let Some(dir) = mounted else {
            return Self::parse(&superblock(device)?);
        };
        let found = geometry(dir)?;
        Self {
            block_size: found.block_size.into(),
            blocks: found.data_blocks,
            ag_blocks: found.ag_blocks.into(),
            ag_count: found.ag_count.into(),
        }
        .checked()
    }

    fn parse(raw: &Raw) -> Result<Self> {
        raw.expect_magic(0, *b"XFSB")?;
        Self {
            block_size: raw.be32(4)?,
            blocks: raw.be64(8)?,
            ag_blocks: raw.be32(84)?,
            ag_count: raw.be32(88)?,
        }
        .checked()
    }

    fn checked(self) -> Result<Self> {
        if !self.block_size.is_power_of_two() || !(512..=65536).contains(&self.block_size) {
            return Err(corrupt(
                "xfs",
                "its superblock says an impossible block size",
            ));
        }
        checked_size("xfs", self.blocks, self.block_size)?;
        Ok(self)
    }

    fn size(&self) -> u64 {
        self.blocks * self.block_size
    }

    /// Bytes at the end of a device from which on a growth would use them: any block if the last
    /// group can still grow, else those of the least group.
    fn unusable_tail(&self) -> u64 {
        if self.blocks == self.ag_blocks.saturating_mul(self.ag_count) {
            AG_BLOCKS_MIN * self.block_size
        } else {
            self.block_size
        }
    }
}

fn superblock(device: BorrowedFd<'_>) -> Result<Raw> {
    Raw::read(device, "xfs", 0, LENGTH)
}

fn geometry(dir: BorrowedFd<'_>) -> Result<crate::ioctl::file_system::XfsGeometry> {
    xfs_geometry(dir).context(|| "cannot ask for the size of a mounted xfs".to_owned())
}

pub(super) fn uuid(file: BorrowedFd<'_>) -> Result<[u8; 16]> {
    let raw = superblock(file)?;
    raw.expect_magic(0, *b"XFSB")?;
    raw.field(32)
}

pub(super) fn size(device: BorrowedFd<'_>, mounted: Option<BorrowedFd<'_>>) -> Result<u64> {
    Shape::read(device, mounted).map(|shape| shape.size())
}

pub(super) fn unusable_tail(
    device: BorrowedFd<'_>,
    mounted: Option<BorrowedFd<'_>>,
) -> Result<u64> {
    Shape::read(device, mounted).map(|shape| shape.unusable_tail())
}

/// Mounts and unmounts it, so that the kernel replays the log and leaves it empty.
fn replay_log(device: &Path) -> Result<()> {
    DetachedMount::new("xfs", device, &MOUNT_FLAGS)?.close()
}

pub(super) fn renew_uuid(host: &Host, device: &Path) -> Result<()> {
    replay_log(device)?;
    Command::new("xfs_admin")
        .args(["-U", "generate"])
        .arg(device)
        .run(host)
        .map(drop)
}

pub(super) fn grow_online(dir: BorrowedFd<'_>, size: u64) -> Result<()> {
    let found = geometry(dir)?;
    let blocks = size / u64::from(found.block_size).max(512);
    xfs_grow(dir, blocks, found.inode_max_percent)
        .context(|| format!("cannot grow xfs to {}", Bytes(size)))
}

pub(super) fn grow_offline(device: &Path, size: u64) -> Result<()> {
    let mount = DetachedMount::new("xfs", device, &MOUNT_FLAGS)?;
    let grown = mount
        .root()
        .and_then(|root| grow_online(root.as_fd(), size));
    mount.close()?;
    grown
}

/// xfs_repair -n: status 1 if it found damage (xfs_repair(8)); it takes a log that has to be
/// replayed for damage, and says so. A repair replays the log first.
pub(super) fn check(host: &Host, device: &Path, repair: bool) -> Result<Option<String>> {
    if repair {
        // A log that cannot be replayed is left to xfs_repair's own judgement.
        if let Err(error) = replay_log(device) {
            host.warn(&error.chain());
        }
    }
    let found = looked_at(host, device)?;
    if !repair || found.is_none() {
        return Ok(found);
    }
    Command::new("xfs_repair")
        .arg(device)
        .to_the_end()
        .run(host)
        .map_err(|error| error.with_kind(ErrorKind::Corrupt))?;
    match looked_at(host, device)? {
        None => Ok(found),
        Some(left) => Err(Error::new(
            ErrorKind::Corrupt,
            format!("xfs_repair could not mend {device:?}: {left}"),
        )),
    }
}

fn looked_at(host: &Host, device: &Path) -> Result<Option<String>> {
    let output = Command::new("xfs_repair")
        .arg("-n")
        .arg(device)
        .accept(&[1])
        .run(host)?;
    Ok((output.status != 0).then(|| said(&output)))
}

fn said(output: &Output) -> String {
    one_line(&output.stderr, 10, |line| {
        ["Phase ", "- ", "No modify flag set"]
            .iter()
            .any(|start| line.starts_with(start))
    })
}

#[cfg(test)]
mod tests {
    use super::super::superblock::arbitrary;
    use super::*;

    /// Four allocation groups of 20,480 blocks of 4 KiB.
    fn sample() -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, b"XFSB");
        put(4, &4096u32.to_be_bytes());
        put(8, &81920u64.to_be_bytes());
        put(84, &20480u32.to_be_bytes());
        put(88, &4u32.to_be_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Shape> {
        Shape::parse(&Raw::from_bytes("xfs", bytes))
    }

    #[test]
    fn size_is_data_blocks_times_block_size() {
        let shape = parse(&sample()).unwrap();
        assert_eq!(shape.size(), 320 << 20);
        assert_eq!(shape.unusable_tail(), 64 * 4096);
        let partial = Shape {
            blocks: 81919,
            ..shape
        };
        assert_eq!(partial.unusable_tail(), 4096);
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        for mut bytes in arbitrary(LENGTH) {
            bytes[..8].copy_from_slice(b"XFSB\0\0\x02\0");
            bytes[8..10].fill(0);
            if let Ok(shape) = parse(&bytes) {
                let _ = (shape.size(), shape.unusable_tail());
            }
        }
    }

    #[test]
    fn impossible_numbers_are_refused() {
        let mut odd = sample();
        odd[7] = 1;
        let mut huge = sample();
        huge[8] = 0xff;
        for bytes in [odd, huge, vec![0; LENGTH], b"XFSB".to_vec()] {
            assert_eq!(parse(&bytes).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
