// SPDX-License-Identifier: MIT OR Apache-2.0
//! A table for a disk that has none, as `ploop init` makes it.

use mosaic_core::loopdev::Window;

use super::{
    ENTRIES, ENTRY_BYTES, FRONT, HEADER_BYTES, SIGNATURE, TABLE, crc32, put_protected, put32,
    put64, seal,
};
use crate::format::units::{ClusterSize, SECTOR, Sectors};

/// Revision 1.0.
const REVISION: u32 = 0x0001_0000;
/// `0FC63DAF-8483-4772-8E79-3D69D8477DE4`: a Linux file system, in the byte order of a GPT.
const LINUX: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];

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
        seal(&mut header, HEADER_BYTES as usize);
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

fn entry_bytes() -> usize {
    (ENTRIES * ENTRY_BYTES) as usize
}

/// One partition over all, so that programs that know no GPT keep off.
fn protective_mbr(last: u64) -> Vec<u8> {
    let mut mbr = vec![0; 512];
    mbr[447..450].copy_from_slice(&[0, 2, 0]);
    mbr[450] = 0xee;
    put32(&mut mbr, 454, 1);
    put_protected(&mut mbr, last);
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
