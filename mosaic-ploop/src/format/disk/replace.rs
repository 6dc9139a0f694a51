// SPDX-License-Identifier: MIT OR Apache-2.0
//! Putting a new descriptor in the place of the old one, and tidying up after those who were stopped
//! while they did.

use std::io;

use super::names::is_new_delta;
use super::{Disk, absent, load};
use crate::format::check::Repair;
use crate::format::delta::Delta;
use crate::format::descriptor::{Base, DESCRIPTOR, DESCRIPTOR_NEW, Descriptor};
use crate::format::error::{Error, Result};
use crate::format::guid::Guid;
use crate::format::header::{Mark, RawHeader};
use crate::format::layer::Layer;
use crate::format::storage::{Access, Folder, ImageFile, is_zero};
use crate::format::units::FileOffset;

impl<S: Folder> Disk<S> {
    /// Whether an operation was interrupted before the disk had a new descriptor.
    ///
    /// # Errors
    /// `Io`.
    pub fn is_interrupted(&self) -> Result<bool> {
        match self.folder.open(DESCRIPTOR_NEW, Access::Read) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("open", DESCRIPTOR_NEW, e)),
        }
    }

    /// Puts in order what operations left that were interrupted: what they had made and nobody has
    /// used, and the marks of files that were open for writing. That nobody uses the disk is for the
    /// caller to know. Damage stays as it is.
    ///
    /// # Errors
    /// As [`Disk::check`]; `Refused`.
    pub fn settle(&mut self) -> Result<()> {
        self.changeable()?;
        self.clear_interrupted()?;
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

    /// Begins a change: the descriptor that is to become the new one.
    pub(super) fn begin(&self) -> Result<Descriptor> {
        self.changeable()?;
        self.clear_interrupted()?;
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
        let failed = |e| Error::io("replace", DESCRIPTOR, e);
        self.folder.sync(DESCRIPTOR).map_err(failed)?;
        let renamed = self.folder.rename(DESCRIPTOR_NEW, DESCRIPTOR);
        renamed.map_err(failed)?;
        self.descriptor = new;
        self.folder.sync(DESCRIPTOR).map_err(failed)
    }

    pub(super) fn store(&mut self, new: Descriptor) -> Result<()> {
        self.replace(new, None, |_| Ok(()))
    }

    /// Prepares a descriptor, does the work that goes with it, and makes it the disk's. `delta` is a
    /// file that the work makes.
    pub(super) fn replace(
        &mut self,
        new: Descriptor,
        delta: Option<&str>,
        work: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let prepared = self.prepare(&new);
        if let Err(error) = prepared.and_then(|()| work(self)) {
            self.take_back(delta);
            return Err(error);
        }
        self.commit(new)
    }

    /// Takes back what a failed operation prepared. It is of no use, but it does no harm either.
    pub(super) fn take_back(&self, delta: Option<&str>) {
        for name in delta.into_iter().chain([DESCRIPTOR_NEW]) {
            // The next operation tries it again.
            let _ = self.folder.remove(name);
        }
    }

    /// Removes what an interrupted operation left: the delta that it was making, and its
    /// descriptor, which names that delta.
    fn clear_interrupted(&self) -> Result<()> {
        let left = match load(&self.folder, DESCRIPTOR_NEW) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(());
            }
            Err(error @ Error::Io { .. }) => return Err(error),
            // It had not been written to its end, so nothing had begun.
            Err(_) => None,
            Ok(left) => Some(left),
        };
        let files = left.iter().flat_map(|left| left.images());
        let mut new = files.filter(|image| is_new_delta(&image.file, &self.descriptor));
        // An operation makes one delta. Two: somebody has put an old descriptor in place.
        if let (Some(image), None) = (new.next(), new.next())
            && self.is_half_made(&image.file)?
        {
            self.discard_file(&image.file)?;
        }
        self.discard_file(DESCRIPTOR_NEW)
    }

    /// Whether there is nothing in a file that anybody could miss: other programs than we also put
    /// names of files into such a descriptor, and not only of those that they make.
    fn is_half_made(&self, name: &str) -> Result<bool> {
        let failed = |e| Error::io("read", name, e);
        let file = match self.folder.open(name, Access::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(failed)?,
        };
        if self.is_shared(name)? {
            return Ok(false);
        }
        let mut start = [0; size_of::<RawHeader>()];
        let there = file.length().map_err(failed)?;
        let there = usize::try_from(there).map_or(start.len(), |n| n.min(start.len()));
        file.read_at(&mut start[..there], FileOffset(0))
            .map_err(failed)?;
        if is_zero(&start) {
            // The header comes last. A raw image may begin like this too.
            return Ok(self.descriptor.base() != Base::Raw || there == 0);
        }
        match Delta::open(name, file) {
            Ok(delta) => Ok(delta.bat().is_empty() || delta.header().mark == Mark::InUse),
            Err(Error::Header { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }
}
