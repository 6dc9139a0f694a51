// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a device holds nothing, and what it seems to hold if it does.
//!
//! Only zeroes are nothing, at its start and at its end, where members of arrays and copies of
//! partition tables are marked. The table of names is for the message; what is not in it is data all
//! the same.

use mosaic_core::{Error, ErrorKind, Result};

use crate::block_device::BlockDevice;

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

/// Whether so many bytes at a device's start, and its end, are zeroes.
///
/// # Errors
/// The kernel's.
pub fn begins_with_zeroes(device: &BlockDevice, length: usize) -> Result<bool> {
    let [start, end] = ranges(device)?;
    let is_zero = |bytes: Vec<u8>| bytes.iter().all(|byte| *byte == 0);
    Ok(is_zero(device.read(start.0, length.min(start.1))?) && is_zero(device.read(end.0, end.1)?))
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
    let marked =
        |(at, mark, _): &&(usize, &[u8], &str)| bytes.get(*at..*at + mark.len()) == Some(*mark);
    Some(match MARKS.iter().find(marked) {
        Some((_, _, name)) => (*name).to_owned(),
        None => format!("data, the first at byte {first}"),
    })
}

/// The same of a device's end, which begins at this byte of it.
fn recognize_end(offset: u64, bytes: &[u8]) -> Option<String> {
    let first = bytes.iter().position(|byte| *byte != 0)? as u64 + offset;
    for sector in bytes.chunks(512) {
        let marked = |(mark, _): &&(&[u8], &str)| sector.starts_with(mark);
        if let Some((_, name)) = MARKS_AT_END.iter().find(marked) {
            return Some(format!("{name}, near its end"));
        }
    }
    Some(format!("data near its end, the first at byte {first}"))
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
