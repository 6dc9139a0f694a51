// SPDX-License-Identifier: MIT OR Apache-2.0
//! Putting a new descriptor in the place of the old one, and tidying up after those who were stopped
//! while they did.

use super::{Disk, absent};
use crate::format::check::Repair;
use crate::format::descriptor::{DESCRIPTOR, DESCRIPTOR_NEW, Descriptor};
use crate::format::error::{Error, Result};
use crate::format::guid::Guid;
use crate::format::header::Mark;
use crate::format::layer::Layer;
use crate::format::storage::{Access, Folder, ImageFile as _};
use crate::format::units::FileOffset;

impl<S: Folder> Disk<S> {
    /// Puts in order what operations left that were interrupted: what they had made and nobody has
    /// used, and the marks of files that were open for writing. That nobody uses the disk is for the
    /// caller to know. Damage stays as it is.
    ///
    /// # Errors
    /// As [`Disk::check`]; `Refused`; `Interrupted` if the newest data may be what was left.
    pub fn settle(&mut self) -> Result<()> {
        self.changeable()?;
        self.tidy_up()?;
        for shot in self.descriptor.shots() {
            let Layer::Delta(delta) = self.layer(shot.guid, Access::Read)? else {
                continue;
            };
            if delta.header().mark == Mark::InUse {
                return self.check(Some(Repair::Safe)).map(drop);
            }
        }
        Ok(())
    }

    /// Begins a change: the descriptor that is to become the new one. The one that there is is durable
    /// then: what is changed by it would be wrong for the one before.
    pub(super) fn begin(&mut self) -> Result<Descriptor> {
        self.changeable()?;
        self.sync()?;
        self.tidy_up()?;
        let mut new = self.descriptor.clone();
        if new.top() != Guid::TOP {
            new.set_usual_top()?;
        }
        Ok(new)
    }

    /// Writes a descriptor under the name of one that is not complete.
    pub(super) fn prepare(&self, new: &Descriptor) -> Result<()> {
        let failed = |e| Error::io("write", DESCRIPTOR_NEW, e);
        absent(self.folder.remove(DESCRIPTOR_NEW)).map_err(failed)?;
        let file = self.folder.create(DESCRIPTOR_NEW, true).map_err(failed)?;
        let text = new.to_string();
        let written = file.write_at(text.as_bytes(), FileOffset(0));
        written.and_then(|()| file.flush()).map_err(failed)
    }

    /// Makes the prepared descriptor the disk's, durably.
    pub(super) fn commit(&mut self, new: Descriptor) -> Result<()> {
        self.commit_from(DESCRIPTOR_NEW, new)
    }

    /// The same with a descriptor that was written under another name.
    pub(super) fn commit_from(&mut self, name: &str, new: Descriptor) -> Result<()> {
        let failed = |e| Error::io("replace", DESCRIPTOR, e);
        self.folder.sync(DESCRIPTOR).map_err(failed)?;
        let renamed = self.folder.rename(name, DESCRIPTOR);
        renamed.map_err(failed)?;
        self.descriptor = new;
        self.folder.sync(DESCRIPTOR).map_err(failed)
    }

    /// Makes durable which descriptor the disk has: who put it there may have been killed before he did
    /// that, and others, who write to the disk now, do not know of it.
    ///
    /// # Errors
    /// `Io`.
    pub fn sync(&self) -> Result<()> {
        let synced = self.folder.sync(DESCRIPTOR);
        synced.map_err(|e| Error::io("flush the folder of", DESCRIPTOR, e))
    }

    pub(super) fn store(&mut self, new: Descriptor) -> Result<()> {
        self.replace(new, None, |_| Ok(()))
    }

    /// Prepares a descriptor, does the work that goes with it, and makes it the disk's. `delta` is a
    /// file that the work makes.
    pub(super) fn replace<E: From<Error>>(
        &mut self,
        new: Descriptor,
        delta: Option<&str>,
        work: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let prepared = self.prepare(&new).map_err(E::from);
        if let Err(error) = prepared.and_then(|()| work(self)) {
            self.take_back(delta);
            return Err(error);
        }
        Ok(self.commit(new)?)
    }

    /// Takes back what a failed operation prepared. It is of no use, but it does no harm either.
    pub(super) fn take_back(&self, delta: Option<&str>) {
        for name in delta.into_iter().chain([DESCRIPTOR_NEW]) {
            // The next operation tries it again.
            let _ = self.folder.remove(name);
        }
    }
}
