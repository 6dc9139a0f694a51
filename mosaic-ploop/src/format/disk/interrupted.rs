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
use crate::format::header::{HeaderFault, Mark, RawHeader};
use crate::format::storage::{Access, Folder, ImageFile as _, is_zero};
use crate::format::units::FileOffset;

/// The name of a descriptor while there is another one under the usual name; libploop's too.
const DESCRIPTOR_MARKED: &str = "DiskDescriptor.xml.tmp.tmp";

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

    /// Puts in order what an interrupted operation left.
    ///
    /// # Errors
    /// `Interrupted` if that may be more than the disk has, and nothing is removed; `Io`.
    pub(super) fn tidy_up(&mut self) -> Result<()> {
        self.refuse_older()?;
        self.take_up_merge()?;
        self.clear_interrupted()
    }

    /// Marks the snapshots that libploop was merging away, of which one may have a part already of what
    /// stands upon it: to merge them again ends that. Our own merge marks them before.
    pub(super) fn take_up_merge(&mut self) -> Result<()> {
        let Some(left) = self.left_descriptor()? else {
            return Ok(());
        };
        let mut new = self.descriptor.clone();
        for image in left.images() {
            let away = self.merged_away(&left, image.guid);
            let Some(lowest) = away.last() else {
                continue;
            };
            // To delete the top looks the same from here, and then the snapshot is as good as it was.
            if image.guid == Guid::TOP {
                match self.has_been_merged(*lowest, image.guid) {
                    Ok(true) => {}
                    Err(error @ Error::Io { .. }) => return Err(error),
                    // Nor can what is damaged be told to have been.
                    Ok(false) | Err(_) => continue,
                }
            }
            for guid in away {
                if self
                    .descriptor
                    .shot(guid)
                    .is_some_and(|shot| shot.temporary.is_none())
                {
                    new.set_temporary(guid)?;
                }
            }
        }
        if new == self.descriptor {
            return Ok(());
        }
        // The other descriptor is needed until this one is the disk's.
        let failed = |e| Error::io("write", DESCRIPTOR_MARKED, e);
        self.discard_file(DESCRIPTOR_MARKED)?;
        let file = self.folder.create(DESCRIPTOR_MARKED, true);
        let file = file.map_err(failed)?;
        let written = file.write_at(new.to_string().as_bytes(), FileOffset(0));
        written.and_then(|()| file.flush()).map_err(failed)?;
        self.commit_from(DESCRIPTOR_MARKED, new)
    }

    /// Whether something of what stands upon a snapshot may be in it already: it is marked in use, or
    /// has all of that.
    fn has_been_merged(&self, lower: Guid, upper: Guid) -> Result<bool> {
        if let Some(delta) = self.layer(lower, Access::Read)?.delta()
            && delta.header().mark == Mark::InUse
        {
            return Ok(true);
        }
        let (below, above) = (self.read(lower)?, self.read(upper)?);
        let size = above.cluster();
        let bytes = usize::try_from(size.bytes()).unwrap_or_default();
        let (mut then, mut now) = (vec![0; bytes], vec![0; bytes]);
        let count = self.descriptor.chain(lower).len();
        for layer in above.layers().skip(count) {
            for cluster in layer.clusters() {
                let at = size.start_on_disk(cluster);
                let end = at.0.saturating_add(size.bytes());
                if end > below.size().bytes() || end > above.size().bytes() {
                    return Ok(false);
                }
                below.read(&mut then, at)?;
                above.read(&mut now, at)?;
                if then != now {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The shots beneath one that go if it gets the file of the lowest of them.
    fn merged_away(&self, left: &Descriptor, upper: Guid) -> Vec<Guid> {
        let target = left.file(upper).map(last_part);
        let mut gone = Vec::new();
        let chain = self.descriptor.chain(upper);
        for guid in chain.into_iter().rev().skip(1) {
            let is_only = self.descriptor.children(guid).count() == 1;
            if left.shot(guid).is_some() || !is_only {
                break;
            }
            gone.push(guid);
            if self.descriptor.file(guid).map(last_part) == target {
                return gone;
            }
        }
        Vec::new()
    }

    /// Removes what an interrupted operation left: the delta that it was making, and its
    /// descriptor, which names that delta.
    fn clear_interrupted(&self) -> Result<()> {
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
        self.discard_file(DESCRIPTOR_MARKED)?;
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
