// SPDX-License-Identifier: MIT OR Apache-2.0
//! The block allocation table, in memory: pages of 4 KiB as they are in the file, those without an
//! entry left out, those that differ from the file known.
//!
//! What it takes is bounded by what is really in the file, and not by what a header says there is.

use std::collections::BTreeSet;
use std::io;

use zerocopy::IntoBytes;

use super::entry::Entry;
use super::header::{ENTRY_BYTES, HEADER_BYTES, Header, RawHeader};
use super::storage::{ImageFile, is_zero};
use super::units::{FileOffset, VirtualCluster};

/// Bytes of a page. Pages begin with the file, so the header is in the first.
pub const PAGE: usize = 4096;
/// Slots of a page: the file seen as an array of 32-bit numbers.
const SLOTS: usize = PAGE / 4;
/// The slot of entry 0.
const FIRST: u64 = HEADER_BYTES / ENTRY_BYTES;
/// How much is read at once.
const STEP: usize = 16 * PAGE;

type Page = [u32; SLOTS];

/// A table of entries.
#[derive(Debug, Clone)]
pub struct Bat {
    entries: u32,
    pages: Vec<Option<Box<Page>>>,
    dirty: BTreeSet<usize>,
}

impl Bat {
    /// A table of that many entries, none of which points anywhere.
    pub fn new(entries: u32) -> Self {
        Self {
            entries,
            pages: vec![None; pages_for(entries)],
            dirty: BTreeSet::new(),
        }
    }

    /// Reads the table of an image whose length was checked ([`Header::check_length`]).
    ///
    /// # Errors
    /// The kernel's.
    pub fn load(file: &impl ImageFile, header: &Header) -> io::Result<Self> {
        let mut bat = Self::new(header.entries);
        read(file, header, |at, bytes| bat.take(at, bytes))?;
        Ok(bat)
    }

    /// Takes pages over as they are in the file.
    fn take(&mut self, at: u64, bytes: &[u8]) {
        let first = page_at(at);
        for (number, bytes) in (first..).zip(bytes.chunks_exact(PAGE)) {
            let Some(page) = self.pages.get_mut(number) else {
                return;
            };
            if is_zero(bytes) {
                continue;
            }
            let page = page.insert(Box::new([0; SLOTS]));
            let (words, _) = bytes.as_chunks();
            for (slot, word) in page.iter_mut().zip(words) {
                *slot = u32::from_le_bytes(*word);
            }
        }
    }

    /// Number of entries.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// The entry of a cluster; none beyond the table.
    pub fn get(&self, cluster: VirtualCluster) -> Entry {
        if cluster.0 >= self.entries {
            return Entry::NONE;
        }
        let (page, slot) = position(cluster);
        let page = self.pages.get(page).and_then(Option::as_ref);
        page.map_or(Entry::NONE, |page| Entry(page[slot]))
    }

    /// Sets the entry of a cluster, in memory.
    ///
    /// # Panics
    /// The cluster is not in the table: a caller that did not look at the disk's size.
    pub fn set(&mut self, cluster: VirtualCluster, entry: Entry) {
        assert!(cluster.0 < self.entries, "{cluster:?} is beyond the table");
        let (number, slot) = position(cluster);
        let page = self.pages[number].get_or_insert_with(|| Box::new([0; SLOTS]));
        if page[slot] != entry.0 {
            page[slot] = entry.0;
            self.dirty.insert(number);
        }
    }

    /// The clusters that have an entry, ascending.
    pub fn allocated(&self) -> impl Iterator<Item = (VirtualCluster, Entry)> {
        self.allocated_from(VirtualCluster(0))
    }

    /// The clusters from `start` on that have an entry, ascending.
    pub fn allocated_from(
        &self,
        start: VirtualCluster,
    ) -> impl Iterator<Item = (VirtualCluster, Entry)> {
        let pages = self.pages.iter().enumerate();
        pages
            .skip(position(start).0)
            .filter_map(|(number, page)| Some((number, page.as_ref()?)))
            .flat_map(|(number, page)| {
                let slots = page.iter().enumerate().filter(|(_, slot)| **slot != 0);
                slots.filter_map(move |(slot, entry)| Some((cluster(number, slot)?, Entry(*entry))))
            })
            .skip_while(move |(cluster, _)| *cluster < start)
    }

    /// Whether no cluster has an entry.
    pub fn is_empty(&self) -> bool {
        self.allocated().next().is_none()
    }

    /// Gives it another number of entries; those that are cut off are set to none.
    pub fn resize(&mut self, entries: u32) {
        let cut: Vec<_> = self.allocated_from(VirtualCluster(entries)).collect();
        for (cluster, _) in cut {
            self.set(cluster, Entry::NONE);
        }
        // A page that is to be written as zeros must still be there for that.
        let pages = self.pages.len().max(pages_for(entries));
        self.pages.resize_with(pages, || None);
        self.entries = entries;
    }

    /// Whether all of it is in the file.
    pub fn is_clean(&self) -> bool {
        self.dirty.is_empty()
    }

    /// Takes all of the table that the file has as different from it: what is read of the file is
    /// perhaps in the page cache alone.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn doubt(&mut self, file: &impl ImageFile, header: &Header) -> io::Result<()> {
        let pages = self.pages.len();
        read(file, header, |at, bytes| {
            let first = page_at(at);
            let read = first..first + bytes.len() / PAGE;
            self.dirty.extend(read.filter(|number| *number < pages));
        })
    }

    /// Writes the pages that differ from the file, with the header in the first, and forgets that
    /// they did.
    ///
    /// The data that new entries point to has to be durable before.
    ///
    /// # Errors
    /// The kernel's; what was not written is still known to differ.
    pub fn write(&mut self, file: &impl ImageFile, header: &Header) -> io::Result<()> {
        while let Some(number) = self.dirty.first().copied() {
            file.write_at(&self.page_bytes(number, header), page_start(number))?;
            self.dirty.remove(&number);
        }
        Ok(())
    }

    /// Writes the first page, which has the header in it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write_header(&mut self, file: &impl ImageFile, header: &Header) -> io::Result<()> {
        file.write_at(&self.page_bytes(0, header), FileOffset(0))?;
        self.dirty.remove(&0);
        Ok(())
    }

    fn page_bytes(&self, number: usize, header: &Header) -> [u8; PAGE] {
        let mut bytes = [0; PAGE];
        if let Some(Some(page)) = self.pages.get(number) {
            let (words, _) = bytes.as_chunks_mut();
            for (word, slot) in words.iter_mut().zip(page.iter()) {
                *word = slot.to_le_bytes();
            }
        }
        if number == 0 {
            let raw = RawHeader::from(header);
            bytes[..raw.as_bytes().len()].copy_from_slice(raw.as_bytes());
        }
        bytes
    }
}

/// The clusters that have an entry, ascending, of a table that is not kept: it may be as large as its
/// owner likes. The image's length was checked ([`Header::check_length`]).
///
/// # Errors
/// The kernel's.
pub fn visit(
    file: &impl ImageFile,
    header: &Header,
    mut each: impl FnMut(VirtualCluster),
) -> io::Result<()> {
    read(file, header, |at, bytes| {
        for (number, page) in (page_at(at)..).zip(bytes.chunks_exact(PAGE)) {
            let slots = page.chunks_exact(4).enumerate();
            for (slot, _) in slots.filter(|(_, entry)| !is_zero(entry)) {
                if let Some(cluster) = cluster(number, slot)
                    && cluster.0 < header.entries
                {
                    each(cluster);
                }
            }
        }
    })
}

/// Reads a table in whole pages, without the header; what is known to be zeros is left out.
fn read(
    file: &impl ImageFile,
    header: &Header,
    mut take: impl FnMut(u64, &[u8]),
) -> io::Result<()> {
    let end = header.table_end().0;
    let mut buffer = vec![0; STEP];
    let mut at = 0;
    while let Some(data) = file.next_data(FileOffset(at))?.filter(|data| data.0 < end) {
        at = data.0 - data.0 % PAGE as u64;
        let part = usize::try_from(end - at).map_or(STEP, |left| left.min(STEP));
        file.read_at(&mut buffer[..part], FileOffset(at))?;
        buffer[part..].fill(0);
        if at == 0 {
            buffer[..size_of::<RawHeader>()].fill(0);
        }
        take(at, &buffer);
        at += STEP as u64;
    }
    Ok(())
}

fn pages_for(entries: u32) -> usize {
    page_at((FIRST + u64::from(entries)) * ENTRY_BYTES + PAGE as u64 - 1)
}

fn page_at(byte: u64) -> usize {
    // Below 2^23, since a table is below 2^35 bytes.
    usize::try_from(byte / PAGE as u64).unwrap_or(usize::MAX)
}

fn page_start(number: usize) -> FileOffset {
    FileOffset(number as u64 * PAGE as u64)
}

/// The page and the slot in it of a cluster's entry.
fn position(cluster: VirtualCluster) -> (usize, usize) {
    let byte = (FIRST + u64::from(cluster.0)) * ENTRY_BYTES;
    let slot = usize::try_from(byte % PAGE as u64 / ENTRY_BYTES).unwrap_or_default();
    (page_at(byte), slot)
}

/// The cluster whose entry a slot is; `None` for the header's slots.
fn cluster(page: usize, slot: usize) -> Option<VirtualCluster> {
    let slot = page as u64 * SLOTS as u64 + slot as u64;
    let number = slot.checked_sub(FIRST)?;
    u32::try_from(number).ok().map(VirtualCluster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::header::Version;
    use crate::format::units::ClusterSize;

    /// Entries at the borders of pages.
    const PLACES: [u32; 6] = [0, 1007, 1008, 2031, 2032, 9_999];

    #[test]
    fn entries_are_found_across_pages() {
        let mut bat = Bat::new(10_000);
        assert!(bat.is_empty() && bat.is_clean());
        for place in PLACES {
            bat.set(VirtualCluster(place), Entry(place + 7));
        }
        let found: Vec<_> = bat.allocated().map(|(at, entry)| (at.0, entry.0)).collect();
        assert_eq!(found, PLACES.map(|place| (place, place + 7)));
        let from: Vec<_> = bat.allocated_from(VirtualCluster(1008)).collect();
        assert_eq!(from.len(), 4);
        assert_eq!(bat.get(VirtualCluster(2032)), Entry(2039));
        assert_eq!(bat.get(VirtualCluster(u32::MAX)), Entry::NONE);
    }

    #[test]
    fn what_is_cut_off_is_to_be_written() {
        let mut bat = Bat::new(10_000);
        bat.set(VirtualCluster(9_999), Entry(1));
        bat.dirty.clear();
        bat.resize(10);
        assert_eq!(bat.get(VirtualCluster(9_999)), Entry::NONE);
        assert_eq!(bat.dirty, BTreeSet::from([9]));
        bat.resize(10_000);
        assert!(bat.is_empty());
    }

    /// A table of 16 GiB with two entries in it, which is known to be zeros but for those.
    struct Sparse {
        read: std::cell::Cell<u64>,
    }

    const LAST: u32 = u32::MAX - 1;

    impl ImageFile for Sparse {
        fn read_at(&self, buffer: &mut [u8], at: FileOffset) -> io::Result<()> {
            self.read.set(self.read.get() + buffer.len() as u64);
            buffer.fill(0);
            for place in [7, LAST] {
                let entry = 64 + 4 * u64::from(place);
                if let Some(within) = entry.checked_sub(at.0)
                    && within < buffer.len() as u64
                {
                    buffer[usize::try_from(within).unwrap()] = 1;
                }
            }
            Ok(())
        }

        fn next_data(&self, at: FileOffset) -> io::Result<Option<FileOffset>> {
            let last = 64 + 4 * u64::from(LAST);
            Ok([64 + 28, last]
                .into_iter()
                .find(|data| *data >= at.0)
                .map(FileOffset))
        }

        fn write_at(&self, _: &[u8], _: FileOffset) -> io::Result<()> {
            unreachable!()
        }

        fn length(&self) -> io::Result<u64> {
            Ok(1 << 35)
        }

        fn set_length(&self, _: u64) -> io::Result<()> {
            unreachable!()
        }

        fn flush(&self) -> io::Result<()> {
            unreachable!()
        }
    }

    #[test]
    fn holes_in_a_table_are_not_read() {
        let size = ClusterSize::DEFAULT.size_of(u32::MAX);
        let header = Header::new(Version::V2, ClusterSize::DEFAULT, size).unwrap();
        let file = Sparse {
            read: std::cell::Cell::new(0),
        };
        let bat = Bat::load(&file, &header).unwrap();
        let found: Vec<_> = bat.allocated().map(|(cluster, _)| cluster.0).collect();
        assert_eq!(found, [7, LAST]);
        let mut seen = Vec::new();
        visit(&file, &header, |cluster| seen.push(cluster.0)).unwrap();
        assert_eq!(seen, found);
        assert!(file.read.get() <= 4 * STEP as u64, "{}", file.read.get());
    }

    #[test]
    fn a_table_takes_no_memory_for_what_is_not_in_it() {
        let bat = Bat::new(u32::MAX);
        assert_eq!(bat.pages.len(), (1 << 22) + 1);
        assert!(bat.pages.iter().all(Option::is_none));
    }
}
