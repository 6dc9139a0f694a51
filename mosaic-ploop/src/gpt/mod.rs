// SPDX-License-Identifier: MIT OR Apache-2.0
//! The partition table that `ploop init` puts on a disk: a GPT with one partition for the file
//! system. A new table as `ploop init` makes it, an existing one, and the same for another size.
//!
//! UEFI specification 2.10, chapter 5: sizes and offsets of the header and of an entry. There are two
//! copies: the primary one in front, the backup one at the end of the disk. A program takes the
//! backup where the primary one is damaged.

mod fresh;
mod table;

use mosaic_core::loopdev::Window;

use crate::format::units::Sectors;

pub use fresh::{NewTable, new_table, partition};
pub use table::{Found, Table, TableFault};

/// `EFI PART`, in the sector behind the protective MBR.
const SIGNATURE: &[u8; 8] = b"EFI PART";
const HEADER_BYTES: u32 = 92;
const ENTRY_BYTES: u32 = 128;
const ENTRIES: u32 = 128;
/// Sectors of the entries.
const TABLE: u64 = 32;
/// First sector of the entries at the front.
const FRONT: u64 = 2;
/// Bytes of a sector.
const SECTOR_BYTES: usize = 512;

/// Bytes at the start of a disk that a table takes.
pub const START: usize = 34 * SECTOR_BYTES;
/// Bytes at the end of a disk that its copy takes.
pub const END: usize = 33 * SECTOR_BYTES;

/// All of a disk.
pub fn whole(size: Sectors) -> Window {
    Window {
        at: 0,
        bytes: size.bytes(),
    }
}

/// The last sector as the protective MBR has it.
fn put_protected(mbr: &mut [u8], last: u64) {
    mbr[451..454].copy_from_slice(&[0xff; 3]);
    put32(mbr, 458, u32::try_from(last).unwrap_or(u32::MAX));
}

/// Puts the checksum into a header of `bytes` bytes.
fn seal(header: &mut [u8], bytes: usize) {
    put32(header, 16, 0);
    let crc = crc32(&header[..bytes]);
    put32(header, 16, crc);
}

fn put32(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

fn put64(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

fn get32(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn get64(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// The checksum of a GPT: CRC-32 as in Ethernet.
fn crc32(bytes: &[u8]) -> u32 {
    let step =
        |crc: u32, byte: &u8| CRC_STEPS[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8);
    !bytes.iter().fold(u32::MAX, step)
}

/// What the checksum becomes by each lowest byte.
const CRC_STEPS: [u32; 256] = {
    let mut steps = [0; 256];
    let mut byte: u32 = 0;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ ((crc & 1) * 0xedb8_8320);
            bit += 1;
        }
        steps[byte as usize] = crc;
        byte += 1;
    }
    steps
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
