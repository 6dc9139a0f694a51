// SPDX-License-Identifier: MIT OR Apache-2.0
//! A table that is on a disk, and what it becomes when the disk gets another size.
//!
//! What is not about the size stays as it is: names, UUIDs, attributes, other partitions.

use mosaic_core::loopdev::Window;

use super::{
    END, ENTRIES, ENTRY_BYTES, FRONT, HEADER_BYTES, NewTable, SECTOR_BYTES, SIGNATURE, START,
    TABLE, crc32, get32, get64, put_protected, put32, put64, seal,
};
use crate::format::units::{ClusterSize, SECTOR, Sectors};

/// Sectors behind the last one for partitions: the backup copy.
const BACKUP: u64 = TABLE + 1;
const ENTRY: usize = ENTRY_BYTES as usize;
/// The kind of the MBR's only partition that stands for a GPT.
const PROTECTIVE: u8 = 0xee;

/// What is at the place of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No table.
    Nothing,
    /// There was one, and neither copy can be used.
    Damaged,
    /// A table.
    Table(Table),
}

/// Why a disk cannot have another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableFault {
    /// The partition cannot grow into another one.
    #[error("its file system is on the first partition, and another one is behind that")]
    NotLast,
    /// There would be nothing left of the partition.
    #[error("{0} is too little for its partition")]
    TooSmall(Sectors),
}

/// A table, from either copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The first sector of the disk.
    mbr: Vec<u8>,
    /// One sector.
    header: Vec<u8>,
    /// As many as the header says.
    entries: Vec<u8>,
    /// Number of the file system's entry.
    number: usize,
    /// Sectors of the disk for which it was made.
    size: u64,
}

impl Table {
    /// Looks for a table on a disk of that size: `front` is its first [`START`] bytes, `back` its
    /// last [`END`] bytes. The copy at the end counts where the one in front is damaged, not where
    /// there is none: it may have been left by an earlier use of the disk.
    pub fn find(front: &[u8], back: &[u8], size: Sectors) -> Found {
        let (Some(mbr), Some(header), Some(entries)) = (
            front.get(..SECTOR_BYTES),
            front.get(SECTOR_BYTES..2 * SECTOR_BYTES),
            front.get(2 * SECTOR_BYTES..START),
        ) else {
            return Found::Nothing;
        };
        if &header[..SIGNATURE.len()] != SIGNATURE {
            return Found::Nothing;
        }
        let primary = (get64(header, 72) == FRONT)
            .then(|| Self::read(mbr, header, entries, 1, size))
            .flatten();
        match primary.or_else(|| Self::find_back(mbr, back, size)) {
            Some(table) => Found::Table(table),
            None => Found::Damaged,
        }
    }

    fn find_back(mbr: &[u8], back: &[u8], size: Sectors) -> Option<Self> {
        let (before, header) = back.split_at_checked(END - SECTOR_BYTES)?;
        let last = size.0.checked_sub(1)?;
        let room = last.checked_sub(TABLE)?;
        let begins = get64(header.get(..SECTOR_BYTES)?, 72).checked_sub(room)?;
        let begins = usize::try_from(begins).ok()?.checked_mul(SECTOR_BYTES)?;
        Self::read(mbr, header, before.get(begins..)?, last, size)
    }

    /// One copy, whose header is in sector `here`.
    fn read(mbr: &[u8], header: &[u8], entries: &[u8], here: u64, size: Sectors) -> Option<Self> {
        let bytes = usize::try_from(get32(header, 12)).ok()?;
        let is_header = &header[..SIGNATURE.len()] == SIGNATURE
            && (HEADER_BYTES as usize..=SECTOR_BYTES).contains(&bytes)
            && get64(header, 24) == here
            && get32(header, 84) == ENTRY_BYTES;
        if !is_header {
            return None;
        }
        let mut sealed = header.to_vec();
        seal(&mut sealed, bytes);
        let count = usize::try_from(get32(header, 80).min(ENTRIES)).ok()?;
        let entries = entries.get(..count * ENTRY)?;
        if sealed != header || crc32(entries) != get32(header, 88) {
            return None;
        }
        let mut all = entries.chunks_exact(ENTRY);
        let table = Self {
            mbr: mbr.to_vec(),
            number: all.position(is_used)?,
            size: here.max(get64(header, 32)).checked_add(1)?,
            header: sealed,
            entries: entries.to_vec(),
        };
        let (first, last) = table.sectors();
        (first >= FRONT + TABLE && first <= last && last < size.0).then_some(table)
    }

    /// The file system's partition: the first one that there is.
    pub fn partition(&self) -> Window {
        let (first, last) = self.sectors();
        Window {
            at: first * SECTOR,
            bytes: (last - first + 1) * SECTOR,
        }
    }

    /// First and last sector of the partition.
    fn sectors(&self) -> (u64, u64) {
        let entry = &self.entries[self.number * ENTRY..];
        (get64(entry, 32), get64(entry, 40))
    }

    /// Sectors behind the partition: as many as there were when the table was made, but no more than
    /// a cluster, which `ploop` leaves, and no fewer than the backup copy takes.
    fn tail(&self, cluster: ClusterSize) -> u64 {
        let (_, last) = self.sectors();
        let behind = self.size.saturating_sub(last + 1);
        behind.min(u64::from(cluster.sectors())).max(BACKUP)
    }

    /// Bytes of a disk that its partition does not have. The same for each size.
    pub fn overhead(&self, cluster: ClusterSize) -> u64 {
        self.partition().at + self.tail(cluster) * SECTOR
    }

    /// Why the partition cannot follow its disk at all.
    pub fn refusal(&self) -> Option<TableFault> {
        let (first, _) = self.sectors();
        let mut others = self.entries.chunks_exact(ENTRY).filter(|e| is_used(e));
        let is_behind = others.any(|entry| get64(entry, 32) > first);
        is_behind.then_some(TableFault::NotLast)
    }

    /// What is to be written for a disk of `size`.
    ///
    /// # Errors
    /// Why not.
    pub fn resized(&self, size: Sectors, cluster: ClusterSize) -> Result<NewTable, TableFault> {
        if let Some(fault) = self.refusal() {
            return Err(fault);
        }
        let (first, _) = self.sectors();
        let too_small = || TableFault::TooSmall(size);
        let end = size.0.checked_sub(self.tail(cluster));
        let end = end.filter(|end| *end > first).ok_or_else(too_small)?;
        let mut entries = self.entries.clone();
        put64(&mut entries[self.number * ENTRY..], 40, end - 1);
        // Each copy has room for all entries there can be.
        let crc = crc32(&entries);
        let mut padded = entries;
        padded.resize(END - SECTOR_BYTES, 0);
        let last = size.0 - 1;
        let header = |here: u64, other: u64, table: u64| {
            let mut header = self.header.clone();
            put64(&mut header, 24, here);
            put64(&mut header, 32, other);
            put64(&mut header, 48, last - BACKUP);
            put64(&mut header, 72, table);
            put32(&mut header, 88, crc);
            let bytes = get32(&header, 12) as usize;
            seal(&mut header, bytes);
            header
        };
        let mut mbr = self.mbr.clone();
        if mbr[450] == PROTECTIVE {
            put_protected(&mut mbr, last);
        }
        Ok(NewTable {
            front: [&mbr[..], &header(1, last, FRONT), &padded].concat(),
            back: [&padded[..], &header(last, 1, last - TABLE)].concat(),
            back_at: (last - TABLE) * SECTOR,
            partition: Window {
                at: first * SECTOR,
                bytes: (end - first) * SECTOR,
            },
        })
    }
}

/// Whether an entry has a partition.
fn is_used(entry: &[u8]) -> bool {
    entry[..16] != [0; 16]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpt::{new_table, partition};

    const SIZE: Sectors = Sectors(131_072);
    const CLUSTER: ClusterSize = ClusterSize::DEFAULT;

    fn table_of(new: &NewTable, size: Sectors) -> Table {
        match Table::find(&new.front, &new.back, size) {
            Found::Table(table) => table,
            other => panic!("{other:?}"),
        }
    }

    fn fresh() -> NewTable {
        new_table(SIZE, partition(SIZE, CLUSTER).unwrap(), [1; 16], [2; 16])
    }

    #[test]
    fn a_disk_with_no_room_for_the_copy_at_the_end_has_none() {
        let mut new = fresh();
        new.front[512 + 30] ^= 1;
        for sectors in 0..=START as u64 / SECTOR {
            let found = Table::find(&new.front, &new.back, Sectors(sectors));
            assert_eq!(found, Found::Damaged, "{sectors}");
        }
    }

    #[test]
    fn a_new_table_is_read_back_from_either_copy() {
        let new = fresh();
        assert_eq!((new.front.len(), new.back.len()), (START, END));
        assert_eq!(new.back_at + new.back.len() as u64, SIZE.bytes());
        let table = table_of(&new, SIZE);
        assert_eq!(table.partition(), new.partition);
        for at in [512 + 30, 512 + 18, 1024 + 33] {
            let mut front = new.front.clone();
            front[at] ^= 1;
            let Found::Table(backup) = Table::find(&front, &new.back, SIZE) else {
                panic!("{at}");
            };
            assert_eq!(backup.partition(), new.partition, "{at}");
            assert_eq!(backup.resized(SIZE, CLUSTER).unwrap().front, new.front);
            let mut back = new.back.clone();
            back[END - 500] ^= 1;
            assert_eq!(Table::find(&front, &back, SIZE), Found::Damaged, "{at}");
            // Of another size it is not at the end.
            let other = Sectors(SIZE.0 + 2048);
            assert_eq!(Table::find(&front, &new.back, other), Found::Damaged);
        }
        // A backup alone is of an earlier use.
        let wiped = vec![0; START];
        assert_eq!(Table::find(&wiped, &new.back, SIZE), Found::Nothing);
        assert_eq!(
            Table::find(&new.front[..1000], &new.back, SIZE),
            Found::Nothing
        );
        assert_eq!(
            Table::find(&new.front, &new.back, Sectors(1000)),
            Found::Damaged
        );
    }

    #[test]
    fn it_follows_the_disk_and_keeps_what_it_says_else() {
        let table = table_of(&fresh(), SIZE);
        let overhead = table.overhead(CLUSTER);
        assert_eq!(overhead, 2 << 20);
        for size in [Sectors(262_144), Sectors(4096 + 2048), Sectors(8 << 31)] {
            let resized = table.resized(size, CLUSTER).unwrap();
            assert_eq!(resized.partition.bytes, size.bytes() - overhead);
            assert_eq!(
                resized.back_at + resized.back.len() as u64,
                size.bytes(),
                "{size}"
            );
            let there = table_of(&resized, size);
            assert_eq!(there.partition(), resized.partition);
            assert_eq!(there.overhead(CLUSTER), overhead);
            let back = there.resized(SIZE, CLUSTER).unwrap();
            assert_eq!(back, fresh());
        }
        let too_small = table.resized(Sectors(4096), CLUSTER);
        assert_eq!(too_small, Err(TableFault::TooSmall(Sectors(4096))));
    }

    #[test]
    fn what_libploop_and_others_leave_behind_it_stays() {
        // lib/gpt.c of libploop ends it in the first sector of the last cluster; parted can take all.
        for (end, tail) in [(2048, 2047), (34, 33), (33 * 2048, 2048)] {
            let window = Window {
                at: 1 << 20,
                bytes: (SIZE.0 - end - 2048 + 1) * SECTOR,
            };
            let table = table_of(&new_table(SIZE, window, [1; 16], [2; 16]), SIZE);
            assert_eq!(table.overhead(CLUSTER), (2048 + tail) * SECTOR);
            let size = Sectors(SIZE.0 * 2);
            let resized = table.resized(size, CLUSTER).unwrap();
            assert_eq!(resized.partition.bytes, (size.0 - 2048 - tail) * SECTOR);
        }
    }

    #[test]
    fn a_partition_behind_it_is_not_grown_into() {
        let mut new = fresh();
        let mut entries = new.front[1024..].to_vec();
        entries[128..144].fill(7);
        let mut write = |at: usize, first: u64| {
            put64(&mut entries, 128 + 32, first);
            put64(&mut entries, 128 + 40, first);
            let crc = crc32(&entries);
            put32(&mut new.front[512..], 88, crc);
            new.front[1024..].copy_from_slice(&entries);
            seal(&mut new.front[512..1024], at);
            table_of(&new, SIZE).resized(Sectors(SIZE.0 * 2), CLUSTER)
        };
        assert_eq!(write(92, SIZE.0 - 40), Err(TableFault::NotLast));
        assert!(write(92, 40).is_ok());
    }
}
