// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deleting snapshots: the last of a branch goes with its file, one with a single other upon it is
//! merged with that, one with several waits until it has one.

use super::Disk;
use crate::format::descriptor::Temporary;
use crate::format::error::{Refusal, Result};
use crate::format::guid::Guid;
use crate::format::storage::Folder;

/// What became of a snapshot that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone.
    Done,
    /// Several others stand upon it, so it is marked and goes when only one does.
    Waits,
}

impl<S: Folder> Disk<S> {
    /// Deletes a snapshot. To delete the top means that the shot beneath is written from now on.
    ///
    /// # Errors
    /// `Refused`; `Shared` if what is beneath the top may be another disk's too; what merging
    /// returns. If that failed, the snapshot is marked and to delete it again goes on.
    pub fn delete(&mut self, guid: Guid) -> Result<Deletion> {
        let shot = self.descriptor.shot(guid);
        if shot.ok_or(Refusal::NoSnapshot(guid))?.temporary.is_none() {
            self.delete_temporary()?;
        }
        self.delete_one(guid)
    }

    /// Deletes the snapshots that wait for it, as far as that is possible; the first that cannot be
    /// is left for another time.
    ///
    /// # Errors
    /// `Refused` if only libploop may change the disk.
    pub fn delete_temporary(&mut self) -> Result<()> {
        self.changeable()?;
        while let Some(guid) = self.next_temporary() {
            match self.delete_one(guid) {
                Ok(Deletion::Done) => {}
                // What stands in the way will be met by who deletes it by name.
                Ok(Deletion::Waits) | Err(_) => break,
            }
        }
        Ok(())
    }

    /// A marked snapshot with not more than one other upon it.
    fn next_temporary(&self) -> Option<Guid> {
        let marked = Some(Temporary::Deleted);
        let mut shots = self.descriptor.shots().iter();
        let found = shots.find(|shot| {
            shot.temporary == marked && self.descriptor.children(shot.guid).count() <= 1
        });
        found.map(|shot| shot.guid)
    }

    fn delete_one(&mut self, guid: Guid) -> Result<Deletion> {
        let upon: Vec<_> = self.descriptor.children(guid).map(|s| s.guid).collect();
        match upon[..] {
            [] => self.delete_last(guid)?,
            [upper] => self.merge(guid, upper)?,
            _ => {
                self.mark_temporary(guid)?;
                return Ok(Deletion::Waits);
            }
        }
        Ok(Deletion::Done)
    }

    /// Deletes a shot upon which none stands, with its file.
    fn delete_last(&mut self, guid: Guid) -> Result<()> {
        let mut new = self.begin()?;
        if self.descriptor.images().len() == 1 {
            return Err(Refusal::LastImage(guid).into());
        }
        let file = self.file_of(guid)?.to_owned();
        if guid == self.descriptor.top() {
            let below = self.below(guid);
            let shot = self.descriptor.shot(below);
            if shot.is_some_and(|shot| shot.temporary.is_some()) {
                return Err(Refusal::Temporary(below).into());
            }
            if self.descriptor.children(below).count() > 1 {
                return Err(Refusal::HasOthers(below).into());
            }
            self.own(self.file_of(below)?)?;
            new.remove_top()?;
            new.set_size(self.read(below)?.size())?;
            self.forget_statistics()?;
        } else {
            new.remove(guid)?;
        }
        self.store(new)?;
        self.discard_file(&file)
    }

    /// Marks a snapshot as one that is to go, durably.
    pub(super) fn mark_temporary(&mut self, guid: Guid) -> Result<()> {
        let shot = self.descriptor.shot(guid);
        if shot.is_none_or(|shot| shot.temporary.is_some()) {
            return Ok(());
        }
        let mut new = self.begin()?;
        new.set_temporary(guid)?;
        self.store(new)
    }
}
