// SPDX-License-Identifier: MIT OR Apache-2.0
//! ext4 by e2fsprogs, and by ioctl where it is mounted.
//!
//! The superblock is at byte 1024, little-endian (Documentation/filesystems/ext4/super.rst).
//! tune2fs refuses a file system whose last check is older than its last mount, hence e2fsck first.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::detached::DetachedMount;
use super::superblock::{Raw, checked_size, corrupt};
use crate::command::{Command, one_line};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host_services::Host;
use crate::size::Bytes;

/// mke2fs makes a smaller one too, but without a journal: under 2,048 blocks of 1 KiB it has none
/// (`ext2fs_default_journal_size`, e2fsprogs lib/ext2fs/mkjournal.c).
pub(super) const MIN_SIZE: Bytes = Bytes(2 << 20);

/// Quiet; also over an older file system and on an image. Its discard stays on: after that mke2fs
/// knows that inode tables read as zeroes, and neither it nor the kernel's first mount writes them.
pub(super) const MKFS_OPTIONS: [&str; 2] = ["-q", "-F"];

/// Where the superblock is, in bytes.
const OFFSET: u64 = 1024;
/// Its length.
const LENGTH: usize = 1024;
/// `s_magic`, at 0x38.
const MAGIC: [u8; 2] = 0xef53u16.to_le_bytes();
/// `INCOMPAT_64BIT` in `s_feature_incompat`: block counts have a high half.
const INCOMPAT_64BIT: u64 = 0x80;
/// `INCOMPAT_RECOVER`: the journal has to be replayed.
const INCOMPAT_RECOVER: u64 = 0x4;
/// resize2fs leaves a last group with less than its tables and this many blocks
/// (`adjust_fs_info`, e2fsprogs resize/resize2fs.c).
const LAST_GROUP_BLOCKS: u64 = 50;
/// resize2fs rounds a size to memory pages, at most these (arm64, ppc64).
const PAGE_MAX: u64 = 64 << 10;
/// The bit of e2fsck's status for damage that it did not mend (e2fsck(8)).
const DAMAGE_LEFT: i32 = 4;
/// How many lines of e2fsck are quoted.
const LINES: usize = 10;

/// What we read of a superblock, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Superblock {
    uuid: [u8; 16],
    /// Bytes, 1 KiB to 64 KiB.
    block_size: u64,
    blocks: u64,
    needs_recovery: bool,
    first_block: u64,
    blocks_per_group: u64,
    /// Bytes; more than a block with bigalloc.
    cluster_size: u64,
    /// Blocks that the tables of a full group with a superblock copy take.
    group_overhead: u64,
}

impl Superblock {
    fn read(file: BorrowedFd<'_>) -> Result<Self> {
        Self::parse(&Raw::read(file, "ext4", OFFSET, LENGTH)?)
    }

    fn parse(raw: &Raw) -> Result<Self> {
        raw.expect_magic(0x38, MAGIC)?;
        let block_size = shifted(raw.le32(0x18)?, 6)?;
        let cluster_size = shifted(raw.le32(0x1c)?, 20)?;
        let incompatible = raw.le32(0x60)?;
        let is_64bit = incompatible & INCOMPAT_64BIT != 0;
        let high = if is_64bit { raw.le32(0x150)? } else { 0 };
        let blocks = raw.le32(0x4)? | high << 32;
        checked_size("ext4", blocks, block_size)?;
        let blocks_per_group = raw.le32(0x20)?;
        if blocks_per_group == 0 {
            return Err(corrupt("ext4", "its groups have no blocks"));
        }
        let descriptor = if is_64bit {
            raw.le16(0xfe)?.max(32)
        } else {
            32
        };
        let descriptors = blocks.div_ceil(blocks_per_group).saturating_mul(descriptor);
        let inode_table = raw.le32(0x28)? * raw.le16(0x58)?.max(128) / block_size;
        Ok(Self {
            uuid: raw.field(0x68)?,
            block_size,
            blocks,
            needs_recovery: incompatible & INCOMPAT_RECOVER != 0,
            first_block: raw.le32(0x14)?,
            blocks_per_group,
            cluster_size,
            group_overhead: 3 + inode_table + descriptors.div_ceil(block_size) + raw.le16(0xce)?,
        })
    }

    fn size(&self) -> u64 {
        self.blocks * self.block_size
    }

    /// Bytes at the end of a device from which on a growth would use them.
    fn unusable_tail(&self) -> u64 {
        let rounding = PAGE_MAX.max(self.cluster_size);
        let in_groups = self.blocks.saturating_sub(self.first_block);
        if !in_groups.is_multiple_of(self.blocks_per_group) {
            return rounding;
        }
        let least = (self.group_overhead + LAST_GROUP_BLOCKS).min(self.blocks_per_group);
        rounding.max(least * self.block_size)
    }
}

/// 1024 shifted by what a field says, at most by `most`.
fn shifted(by: u64, most: u64) -> Result<u64> {
    if by > most {
        return Err(corrupt(
            "ext4",
            "its superblock says an impossible block size",
        ));
    }
    Ok(1024 << by)
}

pub(super) fn uuid(file: BorrowedFd<'_>) -> Result<[u8; 16]> {
    Superblock::read(file).map(|found| found.uuid)
}

/// Also of a mounted one: ext4 keeps its superblock in the device's own page cache.
pub(super) fn size(device: BorrowedFd<'_>) -> Result<u64> {
    Superblock::read(device).map(|found| found.size())
}

pub(super) fn unusable_tail(device: BorrowedFd<'_>) -> Result<u64> {
    Superblock::read(device).map(|found| found.unusable_tail())
}

/// Replays the journal and mends what needs no question: status 0 or 1; 4: it would need some
/// (e2fsck(8)).
fn made_clean(host: &Host, target: &Path) -> Result<()> {
    let output = Command::new("e2fsck")
        .arg("-fp")
        .arg(target)
        .accept(&[1, DAMAGE_LEFT])
        .to_the_end()
        .run(host)?;
    if output.status != DAMAGE_LEFT {
        return Ok(());
    }
    let said = one_line(&output.stdout, LINES, is_chatter);
    Err(Error::new(
        ErrorKind::Corrupt,
        format!("the ext4 file system is damaged: {said}"),
    ))
}

pub(super) fn renew_uuid(host: &Host, target: &Path) -> Result<()> {
    made_clean(host, target)?;
    Command::new("tune2fs")
        .args(["-U", "random"])
        .arg(target)
        .run(host)
        .map(drop)
}

/// In a mount where that can be: then the journal takes the growth from one size to the next, and a
/// power cut leaves a clean file system. resize2fs writes its tables in place, and cut short leaves
/// what e2fsck has to mend.
pub(super) fn grow_offline(host: &Host, device: &Path, size: u64) -> Result<()> {
    made_clean(host, device)?;
    if is_block_device(device)? && may_grow_online() {
        match grow_in_mount(host, device, size) {
            Ok(()) => return Ok(()),
            // For one, a file system that only resize2fs can give a longer list of groups.
            Err(error) => host.debug(&error.chain()),
        }
        // resize2fs wants a check since the last mount.
        made_clean(host, device)?;
    }
    Command::new("resize2fs")
        .arg(device)
        .to_the_end()
        .run(host)
        .map(drop)
}

fn grow_in_mount(host: &Host, device: &Path, size: u64) -> Result<()> {
    host.debug(&format!(
        "EXT4_IOC_RESIZE_FS in a mount of {device:?} to {size} bytes"
    ));
    let mount = DetachedMount::new("ext4", device, &[])?;
    let grown = mount
        .root()
        .and_then(|root| grow_online(super::open(device)?.as_fd(), root.as_fd(), size));
    mount.close()?;
    grown?;
    let found = Superblock::read(super::open(device)?.as_fd())?;
    match size.saturating_sub(found.size()) < found.unusable_tail() {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Io,
            format!("the mounted ext4 stayed at {}", Bytes(found.size())),
        )),
    }
}

fn is_block_device(path: &Path) -> Result<bool> {
    let stat = rustix::fs::stat(path).context(|| format!("cannot look at {path:?}"))?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice)
}

/// `ext4_resize_begin`, fs/ext4/resize.c, asks for that.
fn may_grow_online() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_RESOURCE))
}

/// Kernel: `EXT4_IOC_RESIZE_FS`, since Linux 3.3.
pub(super) fn grow_online(device: BorrowedFd<'_>, dir: BorrowedFd<'_>, size: u64) -> Result<()> {
    let blocks = size / Superblock::read(device)?.block_size;
    crate::ioctl::file_system::ext4_resize(dir, blocks).map_err(|errno| {
        let error = |why: &str| Error::io(errno, format!("cannot grow a mounted ext4{why}"));
        if errno != Errno::PERM {
            return error("");
        }
        if may_grow_online() {
            error(": it has errors on record; umount and check it")
        } else {
            error(": that needs CAP_SYS_RESOURCE, which this process lacks; umount it to grow it")
        }
    })
}

/// Asks for the least size first, which changes nothing unless the journal is to be replayed.
pub(super) fn shrink(host: &Host, device: &Path, to: u64) -> Result<()> {
    let found = Superblock::read(super::open(device)?.as_fd())?;
    if found.needs_recovery {
        made_clean(host, device)?;
    }
    let least = checked_size("ext4", least_blocks(host, device)?, found.block_size)?;
    if to < least {
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!(
                "what is in it does not fit into {} ({to} bytes); it needs {} ({least} bytes)",
                Bytes(to),
                Bytes(least)
            ),
        ));
    }
    made_clean(host, device)?;
    Command::new("resize2fs")
        .arg(device)
        .arg((to / found.block_size).to_string())
        .to_the_end()
        .run(host)
        .map(drop)
}

/// The least size in blocks that resize2fs accepts: it refuses less itself, before it changes
/// anything. `-P` prints one line that ends with the number (resize2fs(8)).
fn least_blocks(host: &Host, device: &Path) -> Result<u64> {
    let said = Command::new("resize2fs").arg("-P").arg(device).run(host)?;
    String::from_utf8_lossy(&said.stdout)
        .split_ascii_whitespace()
        .next_back()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| Error::new(ErrorKind::Io, "resize2fs -P printed no number of blocks"))
}

/// e2fsck's status: 1 mended, 2 mended and to be unmounted, 4 damage left (e2fsck(8)). Without
/// repair the journal is not replayed, and what only it holds looks like damage.
pub(super) fn check(host: &Host, device: &Path, repair: bool) -> Result<Option<String>> {
    let needs_recovery =
        Superblock::read(super::open(device)?.as_fd()).is_ok_and(|found| found.needs_recovery);
    let command = Command::new("e2fsck")
        .arg(if repair { "-fy" } else { "-fn" })
        .arg(device)
        .accept(&[1, 2, 3, 4, 5, 6, 7]);
    let output = if repair {
        command.to_the_end()
    } else {
        command
    }
    .run(host)?;
    if output.status == 0 {
        return Ok(None);
    }
    let said = one_line(&output.stdout, LINES, is_chatter);
    if repair && output.status & DAMAGE_LEFT != 0 {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("e2fsck could not mend {device:?}: {said}"),
        ));
    }
    if needs_recovery && !repair {
        return Ok(Some(format!(
            "its journal is still to be replayed, by a mount or a repair; without that: {said}"
        )));
    }
    Ok(Some(said))
}

fn is_chatter(line: &str) -> bool {
    line.starts_with("Pass ")
}

#[cfg(test)]
mod tests {
    use super::super::superblock::arbitrary;
    use super::*;

    /// A superblock of 32,768 blocks of 4 KiB in one group of 32,768, as mke2fs makes it.
    fn sample() -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0x38, &MAGIC);
        put(0x4, &32768u32.to_le_bytes());
        put(0x18, &2u32.to_le_bytes());
        put(0x1c, &2u32.to_le_bytes());
        put(0x20, &32768u32.to_le_bytes());
        put(0x28, &8192u32.to_le_bytes());
        put(0x58, &256u16.to_le_bytes());
        put(0x68, &[7; 16]);
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Superblock> {
        Superblock::parse(&Raw::from_bytes("ext4", bytes))
    }

    #[test]
    fn size_is_blocks_times_block_size() {
        let found = parse(&sample()).unwrap();
        assert_eq!(found.size(), 128 << 20);
        assert_eq!(found.uuid, [7; 16]);
        // Its only group is full, so a new one needs its tables (512 blocks and 4) and 50 more.
        assert_eq!(found.unusable_tail(), (512 + 4 + 50) * 4096);
    }

    #[test]
    fn the_high_half_counts_only_with_64bit() {
        let mut bytes = sample();
        bytes[0x150] = 1;
        assert_eq!(parse(&bytes).unwrap().blocks, 32768);
        bytes[0x60] = 0x80;
        assert_eq!(parse(&bytes).unwrap().blocks, (1 << 32) + 32768);
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        for mut bytes in arbitrary(LENGTH) {
            bytes[0x38..0x3a].copy_from_slice(&MAGIC);
            // Numbers that are tried: 2^by, and what is left of it.
            bytes[0x19..0x20].fill(0);
            bytes[0x18] %= 7;
            bytes[0x1c] %= 20;
            bytes[0x152..0x154].fill(0);
            if let Ok(found) = parse(&bytes) {
                let _ = (found.size(), found.unusable_tail());
            }
        }
        let mut many_groups = sample();
        many_groups[0x60] = 0x80;
        many_groups[0x150..0x154].copy_from_slice(&0x7_ffffu32.to_le_bytes());
        many_groups[0x20..0x24].copy_from_slice(&1u32.to_le_bytes());
        many_groups[0xfe..0x100].fill(0xff);
        assert!(parse(&many_groups).unwrap().unusable_tail() > 0);
    }

    #[test]
    fn impossible_numbers_are_refused() {
        let mut no_magic = sample();
        no_magic[0x38] = 0;
        let mut huge_blocks = sample();
        huge_blocks[0x18] = 200;
        let mut huge = sample();
        huge[0x60] = 0x80;
        huge[0x150..0x154].fill(0xff);
        let mut no_group = sample();
        no_group[0x20..0x24].fill(0);
        for bytes in [
            no_magic,
            huge_blocks,
            huge,
            no_group,
            vec![],
            vec![0x53; 60],
        ] {
            let error = parse(&bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
}
