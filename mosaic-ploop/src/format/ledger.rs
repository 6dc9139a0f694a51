// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a writer has done to its BAT and not yet made durable, kept where it outlives the writer.
//!
//! A crash of the machine may lose what was not flushed; a crash of the writer alone may not, where
//! who wrote goes on. The BAT on disk cannot say it: its entries must not be there before what they
//! point to is durable. So they are noted in a file that lives as long as the machine does, such as
//! one in memory, and whoever comes after the writer goes on with them ([`Writer::resume`]).
//!
//! [`Writer::resume`]: super::writer::Writer::resume

use std::collections::HashMap;
use std::io;

use super::bat::Bat;
use super::entry::Entry;
use super::storage::ImageFile;
use super::units::{FileOffset, VirtualCluster};

/// Where notes begin; before it is the name of the image that they are of, and the byte [`BROKEN`].
const START: u64 = HEAD as u64;
const HEAD: usize = 1024;
/// Byte that is not 0 if something of the image is lost: a delta is not to be written any more.
const BROKEN: usize = HEAD - 1;
/// Bytes of a note: the number of the entry, and the entry.
const NOTE: usize = 8;
/// Bytes of a file that has enough of them. They are of memory, which nobody has without end.
const FULL: u64 = START + (1 << 20);

/// The notes of one writer at a time.
#[derive(Debug)]
pub struct Ledger<F> {
    file: F,
    end: u64,
}

/// What was noted and is perhaps not in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The image's name.
    pub image: String,
    /// Entries in the order in which they were set.
    pub entries: Vec<(VirtualCluster, Entry)>,
    /// Whether something failed for good: it is not known what is in the image.
    pub is_broken: bool,
}

impl Pending {
    /// Whether a table is as it was after the last of these changes.
    pub(super) fn is_in(&self, bat: &Bat) -> bool {
        let last: HashMap<_, _> = self.entries.iter().copied().collect();
        let mut last = last.into_iter();
        last.all(|(cluster, entry)| cluster.0 < bat.entries() && bat.get(cluster) == entry)
    }
}

impl<F: ImageFile> Ledger<F> {
    /// Begins notes on an image in a file, in the place of all that is in it.
    ///
    /// # Errors
    /// `InvalidInput` if the name is too long for it; the kernel's.
    pub fn begin(file: F, image: &str) -> io::Result<Self> {
        let mut ledger = Self { file, end: START };
        ledger.turn_to(image)?;
        Ok(ledger)
    }

    /// Goes on with a file that has a head, and so many notes behind it.
    pub(super) fn resume(file: F, notes: usize) -> Self {
        let end = START + (notes * NOTE) as u64;
        Self { file, end }
    }

    /// Begins notes on another image; none of those on the former is needed any more.
    ///
    /// # Errors
    /// As [`Ledger::begin`].
    pub(super) fn turn_to(&mut self, image: &str) -> io::Result<()> {
        self.clear()?;
        let mut head = [0; HEAD];
        let name = head[..BROKEN].get_mut(..image.len());
        let name = name.ok_or(io::ErrorKind::InvalidInput)?;
        name.copy_from_slice(image.as_bytes());
        self.file.write_at(&head, FileOffset(0))
    }

    /// Notes that nothing is to be written to the image any more, for as long as there are notes of it.
    pub(super) fn give_up(&self) -> io::Result<()> {
        give_up(&self.file)
    }

    /// Whether it is time to make durable what was noted.
    pub(super) fn is_full(&self) -> bool {
        self.end >= FULL
    }

    /// Notes that an entry was set.
    pub(super) fn note(&mut self, cluster: VirtualCluster, entry: Entry) -> io::Result<()> {
        let mut note = [0; NOTE];
        note[..4].copy_from_slice(&cluster.0.to_le_bytes());
        note[4..].copy_from_slice(&entry.0.to_le_bytes());
        self.file.write_at(&note, FileOffset(self.end))?;
        self.end += NOTE as u64;
        Ok(())
    }

    /// Forgets all: it is in the image, durably.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.set_length(START)?;
        self.end = START;
        Ok(())
    }
}

/// As [`Ledger::give_up`], of a file with notes.
pub(super) fn give_up(file: &impl ImageFile) -> io::Result<()> {
    file.write_at(&[1], FileOffset(BROKEN as u64))
}

/// Notes it if something is lost that a writer which died had written to an image.
///
/// The kernel tells each open file once of what it could not write, and who opens it anew is not told of
/// what another one was told already, perhaps while it was killed (`f_wb_err`,
/// `file_check_and_advance_wb_err` in mm/filemap.c, Linux 4.13 and later). So `image` is open since
/// before the writer, may be open for reading only, and is flushed by nobody but whoever sees to it that
/// one writer follows another, before each of them: what the writer was told, `image` is told too, and
/// no kill of a writer comes between that and the note. That a device could not empty its own cache is
/// told to who asked for it alone: killed in that very call, he takes it with him.
///
/// # Errors
/// The kernel's: it could not be noted.
pub fn remember_losses(image: &impl ImageFile, notes: &impl ImageFile) -> io::Result<()> {
    match image.flush() {
        Ok(()) => Ok(()),
        Err(_) => give_up(notes),
    }
}

/// Reads what an earlier writer left; `None`: there was none.
///
/// # Errors
/// `InvalidData` if it is no ledger; the kernel's.
pub fn load(file: &impl ImageFile) -> io::Result<Option<Pending>> {
    let length = file.length()?;
    let Some(notes) = length.checked_sub(START) else {
        return Ok(None);
    };
    let mut head = vec![0; HEAD];
    file.read_at(&mut head, FileOffset(0))?;
    let is_broken = head.pop() != Some(0);
    let used = head.iter().position(|byte| *byte == 0);
    head.truncate(used.unwrap_or(head.len()));
    let image = String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData)?;
    let bytes = usize::try_from(notes).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut notes = vec![0; bytes];
    file.read_at(&mut notes, FileOffset(START))?;
    // A note that was cut off is of a change that was not done.
    let (notes, _) = notes.as_chunks::<4>();
    let words = notes.iter().map(|word| u32::from_le_bytes(*word));
    let words: Vec<u32> = words.collect();
    let (pairs, _) = words.as_chunks::<2>();
    let entries = pairs
        .iter()
        .map(|[cluster, entry]| (VirtualCluster(*cluster), Entry(*entry)));
    Ok(Some(Pending {
        image,
        entries: entries.collect(),
        is_broken,
    }))
}
