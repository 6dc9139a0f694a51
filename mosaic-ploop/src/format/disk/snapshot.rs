// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots and switching between them: an old top stays as it is, a new empty one is written.

use super::Disk;
use crate::format::create::create_empty;
use crate::format::descriptor::{Descriptor, MAX_DELTAS};
use crate::format::error::{Error, Refusal, Result};
use crate::format::extension::Extension;
use crate::format::guid::Guid;
use crate::format::header::{Header, Version};
use crate::format::layer::Layer;
use crate::format::storage::{Access, Folder};
use crate::format::writer::Writer;

impl<S: Folder> Disk<S> {
    /// Makes a snapshot: the top as it is now is called `guid`, and an empty top stands upon it.
    ///
    /// # Errors
    /// `Refused`; `InUse`, `Converting` if the top was not closed; `NotWritable`, `Extension`;
    /// `Header`, `Descriptor`, `Io`. The disk is the old one then, or the new one if only its
    /// durability is in doubt.
    pub fn snapshot(&mut self, guid: Guid) -> Result<()> {
        self.delete_temporary()?;
        let mut new = self.begin()?;
        self.unused(guid)?;
        self.drop_extension()?;
        let header = self.header_upon(self.descriptor.top())?;
        let file = self.fresh_name()?;
        new.insert_top(guid, &file)?;
        // Whole clusters, which an image of QEMU's need not have.
        new.set_size(header.size)?;
        self.put_top(new, &file, &header)
    }

    /// Goes back to a snapshot: an empty top stands upon it. The old top is lost, unless it is to be
    /// kept as a snapshot of that name.
    ///
    /// The disk has the size again that it had then. An old top that is damaged or marked in use is
    /// no obstacle: that nobody runs the disk is for the caller to know.
    ///
    /// # Errors
    /// As [`Disk::snapshot`].
    pub fn switch(&mut self, guid: Guid, keep: Option<Guid>) -> Result<()> {
        self.delete_temporary()?;
        let mut new = self.begin()?;
        let shot = self.descriptor.shot(guid);
        let shot = shot.ok_or(Refusal::NoSnapshot(guid))?;
        if guid == self.descriptor.top() {
            return Err(Refusal::ReservedGuid(guid).into());
        }
        if shot.temporary.is_some() {
            return Err(Refusal::Temporary(guid).into());
        }
        let header = self.header_upon(guid)?;
        let file = self.fresh_name()?;
        let mut old = None;
        match keep {
            Some(keep) => {
                self.unused(keep)?;
                self.drop_extension()?;
                new.branch_top(keep, guid, &file)?;
            }
            None => {
                old = Some(self.file_of(self.descriptor.top())?.to_owned());
                new.replace_top(guid, &file)?;
            }
        }
        new.set_size(header.size)?;
        self.put_top(new, &file, &header)?;
        old.map_or(Ok(()), |old| self.discard_file(&old))?;
        self.forget_statistics()
    }

    /// Makes the new top's file and then the descriptor that has it the disk's.
    pub(super) fn put_top(&mut self, new: Descriptor, file: &str, header: &Header) -> Result<()> {
        self.replace(new, Some(file), |disk| {
            disk.create_delta(file, header).map(drop)
        })
    }

    /// Makes an empty delta.
    pub(super) fn create_delta(&self, file: &str, header: &Header) -> Result<S::File> {
        let made = self.folder.create(file, false);
        let delta = made.map_err(|e| Error::io("make", file, e))?;
        create_empty(file, &delta, header)?;
        Ok(delta)
    }

    /// Refuses a name that no new snapshot can have, and a snapshot more than there can be.
    pub(super) fn unused(&self, guid: Guid) -> Result<()> {
        if !guid.is_free() {
            return Err(Refusal::ReservedGuid(guid).into());
        }
        if self.descriptor.shot(guid).is_some() {
            return Err(Refusal::SnapshotExists(guid).into());
        }
        // libploop keeps the last place free.
        let deltas = self.descriptor.images().len();
        if deltas >= MAX_DELTAS - 1 {
            return Err(Refusal::TooManyDeltas(deltas).into());
        }
        Ok(())
    }

    /// The header of an empty delta upon a shot: of its size, and of its version.
    pub(super) fn header_upon(&self, shot: Guid) -> Result<Header> {
        let layer = self.layer(shot, Access::Read)?;
        if let Some(delta) = layer.delta() {
            delta.ensure_closed()?;
        }
        let cluster = layer.cluster();
        if !cluster.is_valid() {
            return Err(Error::NotWritable {
                file: layer.name().to_owned(),
            });
        }
        let version = layer.version().unwrap_or(Version::V2);
        Ok(Header::new(version, cluster, layer.size())?)
    }

    /// Drops the top's format extension: its bitmaps say what changed in a disk whose top it was.
    fn drop_extension(&self) -> Result<()> {
        let top = self.descriptor.top();
        let Layer::Delta(delta) = self.layer(top, Access::Read)? else {
            return Ok(());
        };
        let extension = Extension::load(delta.file(), delta.header(), delta.length());
        let extension = extension.map_err(|e| Error::io("read", delta.name(), e))?;
        if extension.is_none() {
            return Ok(());
        }
        match self.layer(top, Access::Write)? {
            Layer::Delta(delta) => Writer::change(delta, |_| Ok(())),
            Layer::Raw(_) | Layer::Writer(_) => Ok(()),
        }
    }
}
