// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header of a delta that is open for writing, and the mark in it, without which nothing is written.

use super::error::Result;
use super::header::{Header, Mark};
use super::storage::ImageFile;
use super::writer::Writer;

impl<F: ImageFile> Writer<F> {
    /// Changes the header and makes that durable; the BAT is clean, and all of it durable. On an error
    /// the header is what it was. For want of space to write it, nothing is written before that is in the
    /// file again, with the mark: it may have the new one, of which clusters can be the table.
    ///
    /// # Errors
    /// `Broken`; `Io`, and then nothing more is written if something may be lost.
    pub(super) fn change_header(&mut self, change: impl FnOnce(&mut Header)) -> Result<()> {
        self.intact()?;
        let old = self.header().clone();
        change(&mut self.delta.header);
        let changed = self.write_header();
        if let Err(error) = &changed {
            self.delta.header = old;
            if error.may_have_lost() {
                self.give_up();
            }
        }
        // If it failed, a part of the new one may be in the file.
        self.is_unmarked = changed.is_err() || self.header().mark != Mark::InUse;
        changed
    }

    fn write_header(&mut self) -> Result<()> {
        self.delta.write_header()?;
        self.flush_file()
    }

    /// Goes on after [`Writer::finish`] as if that had not been.
    ///
    /// # Errors
    /// `Io`, and then nothing is written, or for want of space not before [`Writer::mark`].
    pub(super) fn reopen(&mut self) -> Result<()> {
        *self.is_broken.get_mut() = false;
        self.is_unmarked = true;
        self.mark()
    }

    /// Writes the header, with the mark, where there was no space for it, before anything else.
    ///
    /// # Errors
    /// `Broken`; `Io`.
    pub(super) fn mark(&mut self) -> Result<()> {
        if self.is_unmarked {
            self.change_header(|header| header.mark = Mark::InUse)?;
        }
        Ok(())
    }

    /// Whether the header is in the file, with the mark.
    pub(super) fn is_marked(&self) -> bool {
        !self.is_unmarked
    }

    /// Refuses also where [`Writer::mark`] has to come first, though nothing is broken then: a chain sees
    /// to that, and says that there is no space.
    pub(super) fn marked(&self) -> Result<()> {
        match self.is_unmarked {
            true => Err(self.refusal()),
            false => self.intact(),
        }
    }
}
