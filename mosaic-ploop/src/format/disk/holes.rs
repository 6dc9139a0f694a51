// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing zeros to what nobody has written: libploop up to 7 takes no image on ext4 that has holes, or
//! has space that was never written in parts of clusters.

use super::Disk;
use crate::format::error::{Error, Result};
use crate::format::storage::{Access, Folder, ImageFile};
use crate::format::units::FileOffset;

/// How much is written at once.
const STEP: u64 = 64 << 20;

impl<S: Folder> Disk<S> {
    /// Writes zeros to whatever is a hole or was never written in an image of the disk; how many bytes.
    /// The disk's content stays what it is. That may take long, so `goes_on` is asked again and again.
    ///
    /// # Errors
    /// `Shared`; `Refused` and `Interrupted` as for every change; `Io`.
    pub fn fill_holes(&self, name: &str, goes_on: impl Fn() -> bool) -> Result<u64> {
        self.changeable()?;
        self.refuse_older()?;
        let file = self.open_file(name, Access::Write)?;
        let failed = |e| Error::io("write", name, e);
        // What is not on the disk yet is not told from a hole everywhere.
        file.flush().map_err(failed)?;
        let length = file.length().map_err(failed)?;
        let (mut at, mut filled) = (0, 0);
        while let Some(hole) = file.next_hole(FileOffset(at)).map_err(failed)?
            && hole.0 < length
            && goes_on()
        {
            let data = file.next_data(hole).map_err(failed)?;
            let end = data.map_or(length, |data| data.0.min(length));
            let end = end.min(hole.0 + STEP);
            file.write_zeros(hole, end - hole.0).map_err(failed)?;
            filled += end - hole.0;
            at = end;
        }
        file.flush().map_err(failed)?;
        Ok(filled)
    }
}
