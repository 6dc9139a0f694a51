// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an operation left that was stopped before the disk had its new descriptor: the descriptor
//! under its other name, and perhaps a delta that only that one names.
//!
//! Of our operations such a delta has nothing in it, or what its sources still have. Of libploop's
//! snapshot of a running disk it may have more: the kernel writes to the new delta before the
//! descriptor is renamed, and goes on doing so when `ploop` is killed between the two. Then all that
//! was written since is there and nowhere else.

use std::io;

use super::names::{has, is_new_delta, last_part};
use super::{Disk, load};
use crate::format::delta::Delta;
use crate::format::descriptor::{Base, DESCRIPTOR_NEW, Descriptor};
use crate::format::error::{Error, Result};
use crate::format::guid::Guid;
use crate::format::header::{HeaderFault, RawHeader};
use crate::format::storage::{Access, Folder, ImageFile as _, is_zero};
use crate::format::units::FileOffset;

/// What is in the file of a delta that only the other descriptor names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// There is no such file.
    Absent,
    /// No cluster of the disk.
    Nothing,
    /// What somebody may miss.
    Data,
}

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

    /// The file that may have newer data than the disk, after an interrupted snapshot of another
    /// program: whoever goes on with the disk as it is loses them.
    ///
    /// # Errors
    /// `Io`.
    pub fn newer_elsewhere(&self) -> Result<Option<String>> {
        let Some(left) = self.left_descriptor()? else {
            return Ok(None);
        };
        for image in left.images() {
            if is_new_delta(&image.file, &self.descriptor)
                && self.content(&left, image.guid, &image.file)? == Content::Data
                && !self.is_merge(&left, image.guid)?
            {
                return Ok(Some(image.file.clone()));
            }
        }
        Ok(None)
    }

    /// Refuses a disk of which another file may have newer data.
    ///
    /// # Errors
    /// `Interrupted`; `Io`.
    pub fn refuse_older(&self) -> Result<()> {
        match self.newer_elsewhere()? {
            Some(file) => Err(Error::Interrupted { file }),
            None => Ok(()),
        }
    }

    /// Ends the interrupted snapshot of another program as that program would have: its descriptor
    /// becomes the disk's. The new top may still be marked in use.
    ///
    /// # Errors
    /// `Mismatch`, `Header`, `Io` and others of [`Disk::read`] if the deltas do not make a disk;
    /// `Refused`.
    pub fn finish_interrupted(&mut self) -> Result<()> {
        self.changeable()?;
        let Some(left) = self.left_descriptor()? else {
            return Ok(());
        };
        let now = std::mem::replace(&mut self.descriptor, left.clone());
        let fits = self.read(left.top()).map(drop);
        self.descriptor = now;
        fits?;
        let written = self.folder.open(DESCRIPTOR_NEW, Access::Read);
        let durable = written.and_then(|written| written.flush());
        durable.map_err(|e| Error::io("sync", DESCRIPTOR_NEW, e))?;
        self.commit(left)?;
        self.forget_statistics()
    }

    /// Removes what an interrupted operation left: the delta that it was making, and its
    /// descriptor, which names that delta.
    ///
    /// # Errors
    /// `Interrupted` if that may be more than the disk has, and nothing is removed; `Io`.
    pub(super) fn clear_interrupted(&self) -> Result<()> {
        self.refuse_older()?;
        let left = self.left_descriptor()?;
        let files = left.iter().flat_map(|left| left.images());
        let mut new = files.filter(|image| is_new_delta(&image.file, &self.descriptor));
        // An operation makes one delta. Two: somebody has put an old descriptor in place.
        if let (Some(left), Some(image), None) = (&left, new.next(), new.next())
            // Nor is one in another folder ours.
            && !image.file.contains('/')
            && self.content(left, image.guid, &image.file)? != Content::Absent
            && !self.is_shared(&image.file)?
        {
            self.discard_file(&image.file)?;
        }
        self.discard_file(DESCRIPTOR_NEW)
    }

    /// The descriptor of an operation that was interrupted, if it was written to its end: if not,
    /// nothing had begun.
    fn left_descriptor(&self) -> Result<Option<Descriptor>> {
        match load(&self.folder, DESCRIPTOR_NEW) {
            Ok(left) => Ok(Some(left)),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error @ Error::Io { .. }) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// What is in a file of that descriptor.
    fn content(&self, left: &Descriptor, shot: Guid, name: &str) -> Result<Content> {
        let failed = |e| Error::io("read", name, e);
        let file = match self.folder.open(name, Access::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Content::Absent),
            other => other.map_err(failed)?,
        };
        let mut start = [0; size_of::<RawHeader>()];
        let there = file.length().map_err(failed)?;
        let there = usize::try_from(there).map_or(start.len(), |n| n.min(start.len()));
        let read = file.read_at(&mut start[..there], FileOffset(0));
        read.map_err(failed)?;
        let is_base = left.shot(shot).is_none_or(|shot| shot.parent == Guid::NONE);
        // The header comes last. A raw image may begin like this too.
        if there == 0 || is_zero(&start) && !(is_base && left.base() == Base::Raw) {
            return Ok(Content::Nothing);
        }
        match Delta::open(name, file) {
            Ok(delta) if delta.bat().is_empty() => Ok(Content::Nothing),
            // Data would be behind the table.
            Err(Error::Header {
                fault: HeaderFault::Truncated { .. },
                ..
            }) => Ok(Content::Nothing),
            Ok(_) | Err(Error::Header { .. }) => Ok(Content::Data),
            Err(other) => Err(other),
        }
    }

    /// Whether a new delta was to have what two of the disk's have, which are both there.
    fn is_merge(&self, left: &Descriptor, upper: Guid) -> Result<bool> {
        let lower = self.below(upper);
        let sources = [upper, lower].map(|shot| self.descriptor.file(shot));
        let [Some(above), Some(below)] = sources else {
            return Ok(false);
        };
        if left.shot(lower).is_some()
            || [above, below].iter().any(|file| has(left, last_part(file)))
        {
            return Ok(false);
        }
        for file in [above, below] {
            match self.folder.open(file, Access::Read) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(e) => return Err(Error::io("open", file, e)),
            }
        }
        Ok(true)
    }
}
