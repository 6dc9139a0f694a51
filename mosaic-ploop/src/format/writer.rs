// SPDX-License-Identifier: MIT OR Apache-2.0
//! A delta open for writing.
//!
//! The order that survives a crash at any instant: the mark is durable before the first change; the
//! data of a cluster is durable before the BAT entry that points to it; the BAT without an entry is
//! durable before its cluster is used again; the mark goes last. So what a crash leaves behind is at
//! worst a cluster that nothing points to, and a mark that says so.

use std::sync::atomic::{AtomicBool, Ordering};

use super::bat::Bat;
use super::delta::Delta;
use super::entry::{Entry, EntryFault};
use super::error::{Error, Result};
use super::flushes::Flushes;
use super::header::{Flags, Header, Mark};
use super::ledger::Ledger;
use super::space::Space;
use super::storage::ImageFile;
use super::units::{FileCluster, FileOffset, Sectors, VirtualCluster};

/// A delta that is marked in use and may be changed.
///
/// Dropping it without [`Writer::close`] leaves the mark.
#[derive(Debug)]
pub struct Writer<F> {
    pub(super) delta: Delta<F>,
    pub(super) space: Space,
    limit: Option<Sectors>,
    ledger: Option<Ledger<F>>,
    flushes: Flushes,
    pub(super) is_broken: AtomicBool,
    /// The header is perhaps not what is in the file, for want of space, and nothing is to be written
    /// without the mark in it.
    pub(super) is_unmarked: bool,
}

impl<F: ImageFile> Writer<F> {
    /// Checks the whole BAT, drops a format extension and sets the mark.
    ///
    /// # Errors
    /// `InUse`, `Converting` where the last writer did not end; `Entry`; `NotWritable`, `Extension`
    /// for what is only read here; `Io`.
    pub fn open(delta: Delta<F>) -> Result<Self> {
        delta.ensure_closed()?;
        delta.ensure_changeable()?;
        let space = take_stock(&delta)?;
        let mut writer = Self::of(delta, space);
        writer.change_header(|header| {
            header.extension = Sectors(0);
            header.mark = Mark::InUse;
        })?;
        Ok(writer)
    }

    /// With nothing written yet.
    pub(super) fn of(delta: Delta<F>, space: Space) -> Self {
        Self {
            delta,
            space,
            limit: None,
            ledger: None,
            flushes: Flushes::default(),
            is_broken: AtomicBool::new(false),
            is_unmarked: false,
        }
    }

    /// Notes what is done to the BAT and not durable yet, for whoever takes over.
    pub(super) fn keep_ledger(&mut self, ledger: Ledger<F>) {
        self.ledger = Some(ledger);
    }

    /// The ledger, for the next image.
    pub(super) fn take_ledger(&mut self) -> Option<Ledger<F>> {
        self.ledger.take()
    }

    /// Opens a delta, does some work and closes it, also if the work failed: what it had done until
    /// then is whole.
    ///
    /// # Errors
    /// As [`Writer::open`] and [`Writer::close`]; the work's.
    pub fn change<T>(delta: Delta<F>, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let mut writer = Self::open(delta)?;
        let done = work(&mut writer);
        let closed = writer.close();
        done.and_then(|done| closed.map(|_| done))
    }

    /// Lets the file become no longer than that.
    pub fn limit(&mut self, limit: Option<Sectors>) {
        self.limit = limit;
    }

    /// The delta as it is in memory.
    pub fn delta(&self) -> &Delta<F> {
        &self.delta
    }

    /// Header of the delta.
    pub fn header(&self) -> &Header {
        &self.delta.header
    }

    /// Table of the delta.
    pub fn bat(&self) -> &Bat {
        &self.delta.bat
    }

    /// Clusters that hold data.
    pub fn allocated(&self) -> u64 {
        self.space.taken()
    }

    /// Adds a cluster that is not in the file. `fill` writes all of it at the place it is given.
    ///
    /// # Errors
    /// `Full`; `fill`'s, and then nothing was added; `Broken`; `Io`.
    pub fn add<T>(
        &mut self,
        cluster: VirtualCluster,
        fill: impl FnOnce(&Delta<F>, FileOffset) -> Result<T>,
    ) -> Result<T> {
        let place = self.allocate()?;
        let size = self.header().cluster;
        let at = size.start_in_file(place);
        let filled = self
            .entry_for(place)
            .and_then(|entry| Ok((entry, fill(&self.delta, at)?)));
        let filled = filled.and_then(|(entry, done)| {
            self.note(cluster, entry)?;
            Ok((entry, done))
        });
        match filled {
            Ok((entry, done)) => {
                self.delta.length = self.delta.length.max(at.plus(size.bytes()).0);
                self.delta.bat.set(cluster, entry);
                Ok(done)
            }
            Err(error) => {
                self.space.free(place);
                Err(error)
            }
        }
    }

    /// Takes a cluster out of the file: what is below is seen again, or zeros.
    ///
    /// # Errors
    /// `Broken`; `Entry`.
    pub fn remove(&mut self, cluster: VirtualCluster) -> Result<()> {
        self.marked()?;
        self.make_room_for_notes()?;
        if let Some(place) = self.delta.file_cluster(cluster)? {
            self.note(cluster, Entry::NONE)?;
            self.delta.bat.set(cluster, Entry::NONE);
            self.space.give_up(place);
        }
        Ok(())
    }

    /// Overwrites a part of the file that holds data, in place.
    ///
    /// # Errors
    /// `Broken`; `Io`.
    pub fn overwrite(&self, data: &[u8], at: FileOffset) -> Result<()> {
        self.marked()?;
        let written = self.delta.file.write_at(data, at);
        written.map_err(self.delta.io("write"))
    }

    /// Makes a part of the file that holds data read as zeros, in place.
    ///
    /// # Errors
    /// `Broken`; `Io`.
    pub fn punch(&self, at: FileOffset, bytes: u64) -> Result<()> {
        self.marked()?;
        let punched = self.delta.file.punch(at, bytes);
        punched.map_err(self.delta.io("write"))
    }

    /// Makes durable all that was done.
    ///
    /// Where the table has no space, or the notes cannot be forgotten, nothing is lost: it is known what
    /// of the table is not in the file, what it points to is durable, and the notes are of both. So the
    /// next flush does the rest, or whoever takes over.
    ///
    /// # Errors
    /// `Broken`; `Io`, and then nothing more is written if something may be lost.
    pub fn flush(&mut self) -> Result<()> {
        self.intact()?;
        if self.is_unmarked {
            // It was all durable then: this saves a flush, and to forget notes, for which there may be no
            // space.
            return Ok(());
        }
        self.write_table().inspect_err(|error| {
            if error.may_have_lost() {
                self.give_up();
            }
        })?;
        let size = self.header().cluster;
        for cluster in self.space.settle() {
            let at = size.start_in_file(cluster);
            // To give the space back is a courtesy: whoever gets the cluster writes all of it.
            let _ = self.delta.file.punch(at, size.bytes());
        }
        Ok(())
    }

    /// Makes durable what was written, then the table, and forgets the notes.
    fn write_table(&mut self) -> Result<()> {
        self.flush_file()?;
        let delta = &mut self.delta;
        if !delta.bat.is_clean() {
            let written = delta.bat.write(&delta.file, &delta.header);
            written.map_err(delta.io("write"))?;
            self.flush_file()?;
        }
        match &mut self.ledger {
            Some(ledger) => ledger.clear().map_err(self.delta.io("forget notes on")),
            None => Ok(()),
        }
    }

    /// Makes durable what was overwritten, if there is nothing else to be made so. Several may ask for
    /// it at once: a failure is told to all of them.
    ///
    /// # Errors
    /// As [`Writer::flush`].
    pub fn flush_data(&self) -> Result<bool> {
        self.intact()?;
        if !self.bat().is_clean() || self.space.has_given_up() {
            return Ok(false);
        }
        self.flush_file()?;
        // Whoever came in between was perhaps told nothing.
        self.intact().map(|()| true)
    }

    /// Makes all durable and takes the mark away.
    ///
    /// # Errors
    /// `Broken`; `Io`. The mark may be left then.
    pub fn close(mut self) -> Result<Delta<F>> {
        self.finish()?;
        Ok(self.delta)
    }

    /// Does what [`Writer::close`] does; nothing is written to it afterwards.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.flush()?;
        // The header in the file may have a larger table, behind which the file must not end.
        if self.is_marked() {
            self.trim_end()?;
        }
        let is_empty = self.bat().is_empty();
        self.change_header(|header| {
            header.flags = header.flags.with(Flags::EMPTY, is_empty);
            header.mark = Mark::Closed;
        })?;
        // Nothing is written without the mark.
        *self.is_broken.get_mut() = true;
        Ok(())
    }

    /// Makes durable what was noted if that has become much: perhaps nobody ever asks for it.
    fn make_room_for_notes(&mut self) -> Result<()> {
        match &self.ledger {
            Some(ledger) if ledger.is_full() => self.flush(),
            _ => Ok(()),
        }
    }

    pub(super) fn note(&mut self, cluster: VirtualCluster, entry: Entry) -> Result<()> {
        match &mut self.ledger {
            Some(ledger) => {
                let noted = ledger.note(cluster, entry);
                noted.map_err(self.delta.io("note a change of"))
            }
            None => Ok(()),
        }
    }

    /// Writes nothing more, and lets nobody who takes over do so.
    pub(super) fn give_up(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
        if let Some(ledger) = &self.ledger {
            // Whoever takes over then goes by what the kernel tells him.
            let _ = ledger.give_up();
        }
    }

    /// Notes changes where those of another image were noted, which are durable.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn go_on_with(&mut self, mut ledger: Ledger<F>) -> Result<()> {
        let turned = ledger.turn_to(&self.delta.name);
        turned.map_err(self.delta.io("note changes of"))?;
        self.ledger = Some(ledger);
        Ok(())
    }

    /// The delta, for reading, in the same file opened anew.
    pub(super) fn into_delta_in(mut self, file: F) -> Delta<F> {
        self.delta.file = file;
        self.delta
    }

    /// Lets the file end with the last cluster that is taken. The BAT is durable.
    fn trim_end(&mut self) -> Result<()> {
        let delta = &mut self.delta;
        // A write that failed may have made it longer than is known.
        let length = delta.file.length().map_err(delta.io("read"))?;
        let end = self.space.end() * delta.header.cluster.bytes();
        if length == end {
            return Ok(());
        }
        delta.file.set_length(end).map_err(delta.io("cut off"))?;
        delta.length = end;
        self.flush_file()
    }

    /// The kernel reports a failed flush once: another one would say that all is well.
    pub(super) fn flush_file(&self) -> Result<()> {
        let flushed = self.flushes.run(|| {
            let flushed = self.delta.file.flush();
            if flushed.is_err() {
                self.give_up();
            }
            flushed
        });
        flushed.map_err(self.delta.io("flush"))
    }

    /// The entry for a file cluster.
    pub(super) fn entry_for(&self, cluster: FileCluster) -> Result<Entry> {
        let entry = self.header().entry_for(cluster);
        entry.ok_or_else(|| self.is_full())
    }

    pub(super) fn is_full(&self) -> Error {
        Error::Full {
            file: self.delta.name.clone(),
        }
    }

    /// Refuses after something has failed by which data may be lost, and what was finished.
    pub(super) fn intact(&self) -> Result<()> {
        if self.is_broken.load(Ordering::Relaxed) {
            return Err(self.refusal());
        }
        Ok(())
    }

    pub(super) fn refusal(&self) -> Error {
        Error::Broken {
            file: self.delta.name.clone(),
        }
    }

    fn allocate(&mut self) -> Result<FileCluster> {
        self.marked()?;
        self.make_room_for_notes()?;
        if let Some(found) = self.space.take_lowest(self.end()) {
            return Ok(found);
        }
        if !self.space.has_given_up() {
            return Err(self.is_full());
        }
        self.flush()?;
        let found = self.space.take_lowest(self.end());
        found.ok_or_else(|| self.is_full())
    }

    /// No cluster is taken from there on, in clusters: the kernel's newer driver looks at no more
    /// than one cluster for each of the disk.
    fn end(&self) -> u64 {
        let header = self.header();
        let size = u64::from(header.cluster.sectors());
        let limit = self.limit.map_or(u64::MAX, |limit| limit.0 / size);
        limit.min(u64::from(header.table_clusters()) + u64::from(header.entries))
    }
}

/// Which clusters a delta takes; each must be its own.
pub(super) fn take_stock<F: ImageFile>(delta: &Delta<F>) -> Result<Space> {
    let mut space = Space::new(delta.header.table_clusters());
    for (cluster, entry) in delta.bat.allocated() {
        let wrong = |fault| delta.wrong_entry(cluster, fault);
        let place = delta.header.file_cluster(entry, delta.length);
        if let Some(place) = place.map_err(wrong)?
            && !space.take(place)
        {
            return Err(wrong(EntryFault::Duplicate(place)));
        }
    }
    Ok(space)
}
