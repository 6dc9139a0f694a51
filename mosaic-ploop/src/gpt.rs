// SPDX-License-Identifier: MIT OR Apache-2.0
//! The partition table that `ploop init` puts on a disk: a GPT with one partition for the file
//! system. Where an existing table has its first partition, and a new table as `ploop init` makes it.
//!
//! UEFI specification 2.10, chapter 5: sizes and offsets of the header and of an entry.

use mosaic_core::loopdev::Window;

use crate::format::units::{ClusterSize, SECTOR, Sectors};

/// `EFI PART`, in the sector behind the protective MBR.
const SIGNATURE: &[u8; 8] = b"EFI PART";
/// Revision 1.0.
const REVISION: u32 = 0x0001_0000;
const HEADER_BYTES: u32 = 92;
const ENTRY_BYTES: u32 = 128;
const ENTRIES: u32 = 128;
/// Sectors of the entries.
const TABLE: u64 = 32;
/// First sector of the entries at the front.
const FRONT: u64 = 2;
/// `0FC63DAF-8483-4772-8E79-3D69D8477DE4`: a Linux file system, in the byte order of a GPT.
const LINUX: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];

/// All of a disk.
pub fn whole(size: Sectors) -> Window {
    Window {
        at: 0,
        bytes: size.bytes(),
    }
}

/// What is written to a disk to give it a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTable {
    /// The protective MBR, the header, the entries.
    pub front: Vec<u8>,
    /// The entries and the header again.
    pub back: Vec<u8>,
    /// First byte of [`NewTable::back`].
    pub back_at: u64,
    /// The partition.
    pub partition: Window,
}

/// The partition of `ploop init` on a disk: all but the first and the last cluster. `None`: there is
/// no room for one.
pub fn partition(size: Sectors, cluster: ClusterSize) -> Option<Window> {
    let unit = u64::from(cluster.sectors());
    let end = (size.0.checked_sub(unit)?) / unit * unit;
    let sectors = end.checked_sub(unit).filter(|sectors| *sectors > 0)?;
    Some(Window {
        at: unit * SECTOR,
        bytes: sectors * SECTOR,
    })
}

/// A new table with that partition; `disk_id` and `id` are random.
pub fn new_table(size: Sectors, partition: Window, disk_id: [u8; 16], id: [u8; 16]) -> NewTable {
    let (first, sectors) = (partition.at / SECTOR, partition.bytes / SECTOR);
    let mut entries = vec![0; entry_bytes()];
    entries[..16].copy_from_slice(&LINUX);
    entries[16..32].copy_from_slice(&id);
    put64(&mut entries, 32, first);
    put64(&mut entries, 40, first + sectors - 1);
    for (at, letter) in "primary".encode_utf16().enumerate() {
        entries[56 + 2 * at..58 + 2 * at].copy_from_slice(&letter.to_le_bytes());
    }
    let last = size.0 - 1;
    let header = |here: u64, other: u64, table: u64| {
        let mut header = vec![0; 512];
        header[..8].copy_from_slice(SIGNATURE);
        put32(&mut header, 8, REVISION);
        put32(&mut header, 12, HEADER_BYTES);
        put64(&mut header, 24, here);
        put64(&mut header, 32, other);
        put64(&mut header, 40, FRONT + TABLE);
        put64(&mut header, 48, last - TABLE - 1);
        header[56..72].copy_from_slice(&disk_id);
        put64(&mut header, 72, table);
        put32(&mut header, 80, ENTRIES);
        put32(&mut header, 84, ENTRY_BYTES);
        put32(&mut header, 88, crc32(&entries));
        let crc = crc32(&header[..HEADER_BYTES as usize]);
        put32(&mut header, 16, crc);
        header
    };
    let back_at = last - TABLE;
    NewTable {
        front: [
            protective_mbr(last),
            header(1, last, FRONT),
            entries.clone(),
        ]
        .concat(),
        back: [entries.clone(), header(last, 1, back_at)].concat(),
        back_at: back_at * SECTOR,
        partition,
    }
}

/// The first partition of a disk with a GPT; `None`: it has none. `start` is the disk's first
/// [`START`] bytes.
pub fn first_partition(start: &[u8], size: Sectors) -> Option<Window> {
    let header = start.get(512..1024)?;
    let table = start.get(1024..)?;
    if &header[..8] != SIGNATURE {
        return None;
    }
    let bytes = usize::try_from(get32(header, 12)).ok()?;
    if !(HEADER_BYTES as usize..=512).contains(&bytes) {
        return None;
    }
    let mut zeroed = header[..bytes].to_vec();
    put32(&mut zeroed, 16, 0);
    let is_usual = get64(header, 72) == FRONT && get32(header, 84) == ENTRY_BYTES;
    if crc32(&zeroed) != get32(header, 16) || !is_usual {
        return None;
    }
    let count = get32(header, 80).min(ENTRIES) as usize;
    let entries = table.get(..count * ENTRY_BYTES as usize)?;
    if crc32(entries) != get32(header, 88) {
        return None;
    }
    let mut used = entries.chunks_exact(ENTRY_BYTES as usize);
    let entry = used.find(|entry| entry[..16] != [0; 16])?;
    let (first, last) = (get64(entry, 32), get64(entry, 40));
    let is_within = first >= FRONT + TABLE && first <= last && last < size.0;
    is_within.then(|| Window {
        at: first * SECTOR,
        bytes: (last - first + 1) * SECTOR,
    })
}

/// Bytes at the start of a disk that a table takes.
pub const START: usize = 34 * 512;

fn entry_bytes() -> usize {
    (ENTRIES * ENTRY_BYTES) as usize
}

/// One partition over all, so that programs that know no GPT keep off.
fn protective_mbr(last: u64) -> Vec<u8> {
    let mut mbr = vec![0; 512];
    mbr[447..450].copy_from_slice(&[0, 2, 0]);
    mbr[450] = 0xee;
    mbr[451..454].copy_from_slice(&[0xff; 3]);
    put32(&mut mbr, 454, 1);
    put32(&mut mbr, 458, u32::try_from(last).unwrap_or(u32::MAX));
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
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
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let is_odd = crc & 1 == 1;
            crc >>= 1;
            if is_odd {
                crc ^= 0xedb8_8320;
            }
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn the_partition_is_where_ploop_puts_it() {
        let cluster = ClusterSize::DEFAULT;
        let found = partition(Sectors(131_072), cluster).unwrap();
        assert_eq!((found.at, found.bytes), (1 << 20, 62 << 20));
        // The last cluster of a disk that QEMU made may not be whole.
        let odd = partition(Sectors(131_000), cluster).unwrap();
        assert_eq!(odd.bytes, 61 << 20);
        assert_eq!(partition(Sectors(4096), cluster), None);
    }

    #[test]
    fn a_new_table_is_read_back_and_a_damaged_one_is_none() {
        let size = Sectors(131_072);
        let window = partition(size, ClusterSize::DEFAULT).unwrap();
        let table = new_table(size, window, [1; 16], [2; 16]);
        assert_eq!(table.front.len(), START);
        assert_eq!(table.back_at + table.back.len() as u64, size.bytes());
        assert_eq!(first_partition(&table.front, size), Some(window));
        assert_eq!(first_partition(&table.front, Sectors(1000)), None);
        assert_eq!(first_partition(&table.front[..1000], size), None);
        for at in [512, 540, 530, 1024 + 33] {
            let mut damaged = table.front.clone();
            damaged[at] ^= 1;
            assert_eq!(first_partition(&damaged, size), None, "{at}");
        }
    }
}
