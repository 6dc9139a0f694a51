// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a device holds nothing, and what it seems to hold if it does.
//!
//! Only zeroes are nothing. The table of names is for the message; what is not in it is data all the
//! same.

use mosaic_core::{Error, ErrorKind, Result};

use crate::block_device::BlockDevice;

/// How much of a device's start is looked at, and made zero.
const LOOKED_AT: u64 = 1 << 20;

/// Where systems of others are marked: byte, mark, name.
const MARKS: [(usize, &[u8], &str); 12] = [
    (32, &27_022_010_u64.to_le_bytes(), "metadata of a thin pool"),
    (0, b"XFSB", "xfs"),
    (0x438, &[0x53, 0xef], "ext2, ext3 or ext4"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (0x218, b"LVM2 001", "LVM"),
    (0x18, b"LVM2 001", "LVM"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (4086, b"SWAPSPACE2", "swap"),
    (0x1000, &[0xfc, 0x4e, 0x2b, 0xa9], "a member of an array"),
    (0, b"!Stra0tis\x86\xff\x02^Arh", "stratis"),
    (512, b"EFI PART", "a partition table"),
    (510, &[0x55, 0xaa], "a partition table or a boot sector"),
];

/// What a device holds; `None`: its start is zeroes.
///
/// # Errors
/// The kernel's.
pub fn content(device: &BlockDevice) -> Result<Option<String>> {
    let length = LOOKED_AT.min(device.size()?.0);
    let length = usize::try_from(length).map_err(|_| Error::new(ErrorKind::Io, "too long"))?;
    Ok(recognize(&device.read(0, length)?))
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

/// Makes a device's start zero.
///
/// # Errors
/// The kernel's.
pub fn wipe(device: &BlockDevice) -> Result<()> {
    let length = LOOKED_AT.min(device.size()?.0);
    let length = usize::try_from(length).map_err(|_| Error::new(ErrorKind::Io, "too long"))?;
    device.write(0, &vec![0; length])?;
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
    fn what_is_known_is_named() {
        for (at, mark, name) in MARKS {
            let mut bytes = vec![0; 1 << 17];
            bytes[at..at + mark.len()].copy_from_slice(mark);
            assert_eq!(recognize(&bytes).unwrap(), name);
        }
        // Too short for the mark that it begins with.
        assert!(recognize(b"XF").unwrap().starts_with("data"));
    }
}
