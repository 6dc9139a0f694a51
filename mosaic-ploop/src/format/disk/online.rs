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
use crate::format::header::{Header, Version};
use crate::format::layer::Layer;
use crate::format::ledger::Pending;
use crate::format::storage::{Access, Folder};
use crate::format::units::Sectors;
use crate::format::writer::Writer;

impl<S: Folder> Disk<S> {
    /// Makes a snapshot of the disk as it is in an open chain, which writes to a new top afterwards.
    /// All that was written before is durable then.
    ///
    /// # Errors
    /// As [`Disk::snapshot`] and [`Chain::end_top`]. The chain reads what it read before, and either
    /// goes on with the old top or writes nothing more (`Broken`).
    pub fn snapshot_open(&mut self, guid: Guid, chain: &mut Chain<S::File>) -> Result<()> {
        // One that is only read may be of a writer that died, and nothing can be put upon that.
        if let Layer::Delta(top) = chain.top() {
            top.ensure_closed()?;
        }
        let mut new = self.begin()?;
        self.unused(guid)?;
        let old = self.file_of(self.descriptor.top())?;
        if old != chain.top().name() {
            let file = chain.top().name().to_owned();
            return Err(Error::Broken { file });
        }
        let frozen = self.open_file(old, Access::Read)?;
        let version = chain.top().version().unwrap_or(Version::V2);
        let header = Header::new(version, chain.cluster(), chain.size())?;
        let file = self.fresh_name()?;
        new.insert_top(guid, &file)?;
        new.set_size(header.size)?;
        let limit = self.descriptor.max_delta();
        let mut next = None;
        let replaced = self.replace(new, Some(&file), |disk| {
            let delta = Delta::open(&file, disk.create_delta(&file, &header)?)?;
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

    /// Ends what a server that died left unfinished in an image, before the disk is opened again.
    ///
    /// # Errors
    /// As [`Writer::take_over`]; `Shared`, `Io`.
    pub fn take_over(&self, pending: &Pending) -> Result<()> {
        let file = self.open_file(&pending.image, Access::Write)?;
        Writer::take_over(Delta::open(&pending.image, file)?, pending)
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
