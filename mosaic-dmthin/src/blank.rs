// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a device holds nothing, and what it seems to hold if it does.
//!
//! Only zeroes are nothing, at its start and at its end, where members of arrays and copies of
//! partition tables are marked. The table of names is for the message; what is not in it is data all
//! the same.

use mosaic_core::{Error, ErrorKind, Result};

use crate::block_device::BlockDevice;
use crate::thin_metadata::BLOCK;

/// How much of a device's start and of its end is looked at, and made zero.
const LOOKED_AT: u64 = 1 << 20;

/// Where systems of others are marked: byte, mark, name.
const MARKS: [(usize, &[u8], &str); 16] = [
    (32, &27_022_010_u64.to_le_bytes(), "metadata of a thin pool"),
    (0, b"MOSAIC CATALOG\0\0", "data of a thin pool of Mosaic"),
    (0, b"XFSB", "xfs"),
    (0x438, &[0x53, 0xef], "ext2, ext3 or ext4"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (0x218, b"LVM2 001", "LVM"),
    (0x18, b"LVM2 001", "LVM"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (4086, b"SWAPSPACE2", "swap"),
    (0, &ARRAY, "a member of an array"),
    (0x1000, &ARRAY, "a member of an array"),
    (0x1018, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "bcache"),
    (0, b"!Stra0tis\x86\xff\x02^Arh", "stratis"),
    (0x20000, &[0x0c, 0xb1, 0xba, 0], "zfs"),
    (512, b"EFI PART", "a partition table"),
    (510, &[0x55, 0xaa], "a partition table or a boot sector"),
];

/// At its end such a mark stands at the start of some sector.
const MARKS_AT_END: [(&[u8], &str); 2] = [
    (b"EFI PART", "the copy of a partition table"),
    (&ARRAY, "a member of an array"),
];

/// The superblock of an array (`MD_SB_MAGIC`).
const ARRAY: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();

/// What a device holds; `None`: start and end of it are zeroes.
///
/// # Errors
/// The kernel's.
pub fn content(device: &BlockDevice) -> Result<Option<String>> {
    let [start, end] = ranges(device)?;
    let found = recognize(&device.read(start.0, start.1)?);
    match found {
        None => Ok(recognize_end(end.0, &device.read(end.0, end.1)?)),
        found => Ok(found),
    }
}

/// Whether a device's start or end is marked by a known system.
///
/// # Errors
/// The kernel's.
pub fn is_marked(device: &BlockDevice) -> Result<bool> {
    let [start, end] = ranges(device)?;
    Ok(mark(&device.read(start.0, start.1)?).is_some()
        || mark_at_end(&device.read(end.0, end.1)?).is_some())
}

/// Whether a device holds what a power cut may leave of a new pool's metadata: the kernel writes its
/// blocks, each with its own number in it, and then the superblock before them.
///
/// # Errors
/// The kernel's.
pub fn is_begun_pool(device: &BlockDevice) -> Result<bool> {
    let [start, end] = ranges(device)?;
    let is_zero = |bytes: Vec<u8>| bytes.iter().all(|byte| *byte == 0);
    Ok(is_begun(&device.read(start.0, start.1)?) && is_zero(device.read(end.0, end.1)?))
}

/// `struct node_header`, `disk_bitmap_header` and `disk_metadata_index` (drivers/md/persistent-data):
/// all have a checksum of 4 bytes, 4 more, and the block's number.
fn is_begun(start: &[u8]) -> bool {
    let mut blocks = (0_u64..).zip(start.chunks(BLOCK));
    blocks.all(|(number, block)| {
        let is_zero = block.iter().all(|byte| *byte == 0);
        is_zero || (number > 0 && block.get(8..16) == Some(&number.to_le_bytes()))
    })
}

/// Offset and length of a device's start and of its end.
fn ranges(device: &BlockDevice) -> Result<[(u64, usize); 2]> {
    let size = device.size()?.0;
    let length = |bytes| {
        usize::try_from(bytes).map_err(|_| Error::new(ErrorKind::Io, "too long to look at"))
    };
    let start = LOOKED_AT.min(size);
    let end = start.max(size.saturating_sub(LOOKED_AT));
    Ok([(0, length(start)?), (end, length(size - end)?)])
}

fn recognize(bytes: &[u8]) -> Option<String> {
    let first = bytes.iter().position(|byte| *byte != 0)?;
    let data = || format!("data, the first at byte {first}");
    Some(mark(bytes).map_or_else(data, str::to_owned))
}

fn mark(bytes: &[u8]) -> Option<&'static str> {
    let marked =
        |(at, mark, _): &&(usize, &[u8], &str)| bytes.get(*at..*at + mark.len()) == Some(*mark);
    MARKS.iter().find(marked).map(|(_, _, name)| *name)
}

/// The same of a device's end, which begins at this byte of it.
fn recognize_end(offset: u64, bytes: &[u8]) -> Option<String> {
    let first = bytes.iter().position(|byte| *byte != 0)? as u64 + offset;
    Some(match mark_at_end(bytes) {
        Some(name) => format!("{name}, near its end"),
        None => format!("data near its end, the first at byte {first}"),
    })
}

fn mark_at_end(bytes: &[u8]) -> Option<&'static str> {
    bytes.chunks(512).find_map(|sector| {
        let marked = |(mark, _): &&(&[u8], &str)| sector.starts_with(mark);
        MARKS_AT_END.iter().find(marked).map(|(_, name)| *name)
    })
}

/// Makes a device's start and end zero.
///
/// # Errors
/// The kernel's.
pub fn wipe(device: &BlockDevice) -> Result<()> {
    for (at, length) in ranges(device)? {
        device.write(at, &vec![0; length])?;
    }
    device.sync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zeroes_are_nothing() {
        assert_eq!(recognize(&[0; 8192]), None);
        let mut bytes = vec![0; 8192];
        bytes[5000] = 1;
        assert_eq!(recognize(&bytes).unwrap(), "data, the first at byte 5000");
    }

    #[test]
    fn only_a_pools_blocks_without_a_superblock_are_a_begun_pool() {
        let mut bytes = vec![0; 8 * BLOCK];
        assert!(is_begun(&bytes));
        for number in [3_u64, 5] {
            let at = usize::try_from(number).unwrap() * BLOCK;
            bytes[at..at + 4].fill(0xcc);
            bytes[at + 8..at + 16].copy_from_slice(&number.to_le_bytes());
        }
        assert!(is_begun(&bytes));
        for (at, byte) in [(0, 1), (4095, 1), (2 * BLOCK, 1), (3 * BLOCK + 8, 4)] {
            let mut other = bytes.clone();
            other[at] = byte;
            assert!(!is_begun(&other), "{at}");
        }
    }

    #[test]
    fn marks_at_the_end_stand_at_a_sector() {
        assert_eq!(recognize_end(7 << 20, &[0; 4096]), None);
        for (mark, name) in MARKS_AT_END {
            let mut bytes = vec![0; 1 << 16];
            bytes[512 * 9..512 * 9 + mark.len()].copy_from_slice(mark);
            let found = recognize_end(7 << 20, &bytes).unwrap();
            assert_eq!(found, format!("{name}, near its end"));
        }
        let mut bytes = vec![0; 4096];
        bytes[515] = 0xfc;
        let found = recognize_end(1 << 20, &bytes).unwrap();
        assert_eq!(found, "data near its end, the first at byte 1049091");
    }

    #[test]
    fn what_is_known_is_named() {
        for (at, mark, name) in MARKS {
            let mut bytes = vec![0; 1 << 18];
            bytes[at..at + mark.len()].copy_from_slice(mark);
            assert_eq!(recognize(&bytes).unwrap(), name);
        }
        // Too short for the mark that it begins with.
        assert!(recognize(b"XF").unwrap().starts_with("data"));
    }
}
