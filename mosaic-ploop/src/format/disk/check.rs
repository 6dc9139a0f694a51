// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checking all files of a disk, and that they fit upon each other.

use super::Disk;
use crate::format::check::{Repair, Report, check};
use crate::format::error::{Error, Result};
use crate::format::guid::Guid;
use crate::format::storage::{Access, Folder};
use crate::format::units::Sectors;

/// What a check found.
#[derive(Debug, Default)]
pub struct DiskReport {
    /// Of each image with a header, in the order of the descriptor.
    pub files: Vec<Report>,
    /// Images that do not fit upon what is beneath them. No repair mends that.
    pub misfits: Vec<Error>,
    /// A conversion between V1 and V2 had not ended, and has been undone.
    pub undid_conversion: bool,
    /// The size that the descriptor has if it is not that of the top, which is the right one:
    /// harmless, and what a crash leaves while the size changes.
    pub stale_size: Option<Sectors>,
}

impl DiskReport {
    /// Whether nothing is wrong, or is any more.
    pub fn is_clean(&self) -> bool {
        self.misfits.is_empty() && self.files.iter().all(Report::is_clean)
    }
}

impl<S: Folder> Disk<S> {
    /// Checks all images, and repairs those that need it if that is asked for. An image that another
    /// disk may have too is never repaired.
    ///
    /// # Errors
    /// `Converting` if a conversion has to be undone first: by a repair, if what it takes is there;
    /// `Header`, `Descriptor`, `Io`; where there is something to repair, also `Refused`,
    /// `NotWritable`, `Extension`, `Full`.
    pub fn check(&mut self, repair: Option<Repair>) -> Result<DiskReport> {
        let shots = self.descriptor.shots().iter().map(|shot| shot.guid);
        self.check_shots(&shots.collect::<Vec<_>>(), repair)
    }

    /// As [`Disk::check`] with a safe repair, of the images that the disk is read from now: whoever
    /// serves it has locks on those alone, and those of another branch may be in use.
    pub(super) fn repair_chain(&mut self) -> Result<DiskReport> {
        let chain = self.descriptor.chain(self.descriptor.top());
        self.check_shots(&chain, Some(Repair::Safe))
    }

    fn check_shots(&mut self, shots: &[Guid], repair: Option<Repair>) -> Result<DiskReport> {
        let mut report = DiskReport::default();
        if repair.is_some() {
            report.undid_conversion = self.undo_conversion()?;
            if self.changeable().is_ok() {
                // The mark that is about to go says that an image has been merged into.
                self.take_up_merge()?;
            }
        }
        for shot in shots {
            report.files.extend(self.check_shot(*shot, repair)?);
        }
        if !report.is_clean() {
            // Entries cannot be followed, so there is no use in putting them upon each other.
            return Ok(report);
        }
        for shot in shots {
            let misfit = self.misfit(*shot, self.below(*shot))?;
            report.misfits.extend(misfit);
        }
        self.check_size(repair, &mut report)?;
        Ok(report)
    }

    fn check_shot(&self, shot: Guid, repair: Option<Repair>) -> Result<Option<Report>> {
        let name = self.file_of(shot)?;
        if self.is_raw(shot) {
            self.open_file(name, Access::Read)?;
            return Ok(None);
        }
        let report = check(name, self.open_file(name, Access::Read)?, None)?;
        if repair.is_none() || report.is_clean() || self.is_shared(name)? {
            return Ok(Some(report));
        }
        self.changeable()?;
        check(name, self.open_file(name, Access::Write)?, repair).map(Some)
    }

    fn misfit(&self, shot: Guid, below: Guid) -> Result<Option<Error>> {
        let layer = self.layer(shot, Access::Read);
        let fits = layer.and_then(|layer| match below {
            Guid::NONE => Ok(()),
            below => layer.fits_on(&self.layer(below, Access::Read)?),
        });
        match fits {
            Err(misfit @ Error::Mismatch { .. }) => Ok(Some(misfit)),
            other => other.map(|()| None),
        }
    }

    fn check_size(&mut self, repair: Option<Repair>, report: &mut DiskReport) -> Result<()> {
        let size = self.layer(self.descriptor.top(), Access::Read)?.size();
        if size == self.descriptor.size() {
            return Ok(());
        }
        report.stale_size = Some(self.descriptor.size());
        if repair.is_some() {
            let mut new = self.begin()?;
            new.set_size(size)?;
            self.store(new)?;
        }
        Ok(())
    }
}
