// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done to a disk while it is open: the chain goes on with the new top or the new size.
//!
//! The descriptor comes first. From then on the new top is the disk's, which has nothing in it yet;
//! so if the old one cannot be closed, or a crash comes, what was written is seen through it.

use super::Disk;
use crate::format::chain::Chain;
use crate::format::delta::Delta;
use crate::format::error::{Error, Result};
use crate::format::guid::Guid;
use crate::format::header::{Header, Version};
use crate::format::ledger::Pending;
use crate::format::storage::{Access, Folder};
use crate::format::units::Sectors;
use crate::format::writer::Writer;

impl<S: Folder> Disk<S> {
    /// Makes a snapshot of the disk as it is in an open chain, which writes to a new top afterwards.
    /// All that was written before is durable then.
    ///
    /// # Errors
    /// As [`Disk::snapshot`] and [`Chain::push`]. After an error of the latter the chain is not to be
    /// written any more.
    pub fn snapshot_open(&mut self, guid: Guid, chain: &mut Chain<S::File>) -> Result<()> {
        let mut new = self.begin()?;
        self.unused(guid)?;
        let version = chain.top().version().unwrap_or(Version::V2);
        let header = Header::new(version, chain.cluster(), chain.size())?;
        let file = self.fresh_name()?;
        let frozen = self.open_file(self.file_of(self.descriptor.top())?, Access::Read)?;
        new.insert_top(guid, &file)?;
        new.set_size(header.size)?;
        self.put_top(new, &file, &header)?;
        let delta = self.folder.open(&file, Access::Write);
        let delta = delta.map_err(|e| Error::io("open", &file, e))?;
        let limit = self.descriptor.max_delta();
        chain.push(Delta::open(&file, delta)?, limit, frozen)
    }

    /// Ends what a server that died left unfinished in an image, before the disk is opened again.
    ///
    /// # Errors
    /// As [`Writer::take_over`]; `Shared`, `Header`, `Io`.
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
