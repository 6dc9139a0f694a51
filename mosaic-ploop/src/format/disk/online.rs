// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done to a disk while it is open: the chain goes on with the new top or the new size.
//!
//! All that can fail comes before the descriptor: the new top is there and marked, the old one is
//! closed. If the descriptor cannot be put in place the chain goes on with the old top.

use super::Disk;
use crate::format::chain::Chain;
use crate::format::delta::Delta;
use crate::format::error::{Error, Result};
use crate::format::guid::Guid;
use crate::format::header::{Header, Mark, Version};
use crate::format::layer::Layer;
use crate::format::ledger::{self, Pending};
use crate::format::storage::{Access, Folder, ImageFile as _};
use crate::format::take_over;
use crate::format::units::Sectors;
use crate::format::writer::Writer;

impl<S: Folder> Disk<S> {
    /// Makes a snapshot of the disk as it is in an open chain, which writes to a new top afterwards.
    /// All that was written before is durable then. `claim` is given the new top by its name, before
    /// the disk has it.
    ///
    /// # Errors
    /// As [`Disk::snapshot`] and [`Chain::end_top`]. The chain reads what it read before, and either
    /// goes on with the old top or writes nothing more (`Broken`). Those of `claim`, after which it goes
    /// on.
    pub fn snapshot_open<E: From<Error>>(
        &mut self,
        guid: Guid,
        chain: &mut Chain<S::File>,
        claim: impl FnOnce(&S, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        // One that is only read may be of a writer that died, and nothing can be put upon that.
        if let Layer::Delta(top) = chain.top() {
            top.ensure_closed()?;
        }
        let mut new = self.begin()?;
        self.unused(guid)?;
        let old = self.file_of(self.descriptor.top())?;
        if old != chain.top().name() {
            let file = chain.top().name().to_owned();
            return Err(Error::Broken { file }.into());
        }
        let frozen = self.open_file(old, Access::Read)?;
        let version = chain.top().version().unwrap_or(Version::V2);
        let header = Header::new(version, chain.cluster(), chain.size()).map_err(Error::from)?;
        let file = self.fresh_name()?;
        new.insert_top(guid, &file).map_err(Error::from)?;
        new.set_size(header.size).map_err(Error::from)?;
        let limit = self.descriptor.max_delta();
        let mut next = None;
        let replaced = self.replace(new, Some(&file), |disk| {
            let delta = Delta::open(&file, disk.create_delta(&file, &header)?)?;
            claim(&disk.folder, &file)?;
            next = Some(chain.end_top(delta, limit)?);
            Ok(())
        });
        let is_new = self.file_of(self.descriptor.top())? == file;
        match next {
            Some(next) if is_new => chain.push(next, frozen),
            // What was wrong is said already, and a chain that does not go on says so.
            Some(next) => drop(chain.reopen_top(next)),
            None => {}
        }
        // The descriptor is in place, but perhaps not after a crash: then all that would have been
        // written to the new top would be lost.
        if is_new && replaced.is_err() {
            chain.give_up();
        }
        replaced
    }

    /// The disk for reading and writing by one server after the other, each of which notes in the same
    /// file what is not durable yet, and goes on with what one that died had begun. For that nothing is
    /// written, unless the one before had ended the top: then its header is, which wants space where
    /// that is copied on write. Statistics that somebody has put beside the disk meanwhile go. Where
    /// something has failed for good none of them writes any more, as the table that the next one reads
    /// is that of the page cache, which storage perhaps does not have; and the next flush of a raw top
    /// fails once.
    ///
    /// Who starts the servers sees to it that nothing is forgotten of which one was told that was killed
    /// then ([`ledger::remember_losses`]).
    ///
    /// The folder is made durable first, as by [`Disk::write`].
    ///
    /// # Errors
    /// `Overtaken` if somebody changed it in between; as [`Disk::write`], but for `InUse`, and as
    /// [`Disk::check`].
    pub fn serve(&mut self, notes: S::File) -> Result<Chain<S::File>> {
        let failed = |e| Error::io("read the notes on", "the disk", e);
        let pending = ledger::load(&notes).map_err(failed)?;
        let synced = self.sync();
        let opened = match pending {
            Some(mut pending) => {
                if !pending.is_broken && (synced.is_err() || !self.is_all_durable()?) {
                    pending.is_broken = true;
                    let _ = ledger::give_up(&notes);
                }
                if pending.is_broken && !self.is_raw(self.descriptor.top()) {
                    return self.read_broken(&pending);
                }
                if pending.is_broken {
                    return self.write_raw_lost(notes);
                }
                if self.is_under_work(&pending)? {
                    return self.write_durable(|top| Writer::resume(top, &pending, notes));
                }
                let opened = self.write_mended();
                if opened.as_ref().is_err_and(Error::may_have_lost) {
                    // If that fails too, whoever comes next goes by what the kernel tells him.
                    let _ = ledger::give_up(&notes);
                }
                opened
            }
            None => synced.and_then(|()| self.write_mended()),
        };
        let mut chain = opened?;
        chain.keep_ledger(notes)?;
        Ok(chain)
    }

    /// As [`Disk::write`], once what a writer that died has left is repaired.
    fn write_mended(&mut self) -> Result<Chain<S::File>> {
        match self.write_durable(Writer::open) {
            Err(Error::InUse { .. } | Error::Converting { .. }) => {
                self.repair_chain()?;
                self.write_durable(Writer::open)
            }
            other => other,
        }
    }

    /// Whether the kernel can write all that was written to the top. Of a raw one it is who wrote that
    /// asks.
    fn is_all_durable(&self) -> Result<bool> {
        let top = self.descriptor.top();
        if self.is_raw(top) {
            return Ok(true);
        }
        let file = self.open_file(self.file_of(top)?, Access::Write)?;
        Ok(file.flush().is_ok())
    }

    /// The disk as a server had it whose writes have failed: it is only read.
    fn read_broken(&self, pending: &Pending) -> Result<Chain<S::File>> {
        let (lower, top) = self.read(self.descriptor.top())?.into_layers();
        let top = match top {
            Layer::Delta(delta) => Layer::Writer(Box::new(Writer::broken(delta, pending)?)),
            other => other,
        };
        Chain::new(lower, top)
    }

    /// A raw disk of which something was lost: its next flush fails. The notes go on saying so, which is
    /// told once more by each server that follows: it is not known whether the last one came to it.
    fn write_raw_lost(&mut self, notes: S::File) -> Result<Chain<S::File>> {
        let mut chain = self.write_mended()?;
        chain.has_lost();
        chain.resume_ledger(notes);
        Ok(chain)
    }

    /// Whether a server died at work on the top. Else it had ended the image: before a new top, or with
    /// the disk.
    fn is_under_work(&self, pending: &Pending) -> Result<bool> {
        let top = self.layer(self.descriptor.top(), Access::Read)?;
        let Some(delta) = top.delta() else {
            return Ok(false);
        };
        let is_marked = delta.header().mark == Mark::InUse;
        if is_marked && pending.image == delta.name() {
            return Ok(true);
        }
        if !pending.entries.is_empty() {
            take_over::ensure_has(delta, pending)?;
        }
        Ok(false)
    }

    /// Makes the disk larger while a chain of it is open. New clusters of a preallocated disk are
    /// not allocated: that would take long.
    ///
    /// # Errors
    /// As [`Disk::grow`] and [`Chain::grow`].
    pub fn grow_open(&mut self, size: Sectors, chain: &mut Chain<S::File>) -> Result<()> {
        let mut new = self.begin()?;
        let (cluster, old) = (chain.cluster(), chain.size());
        new.set_size(cluster.round_up(size).unwrap_or(size).max(old))?;
        self.replace(new, None, |_| chain.grow(size))
    }
}
