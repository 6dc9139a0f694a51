// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names that go or change in one durable step, for drivers whose volumes are files or directories.

use rustix::fs;

use super::{Location, rename_noreplace};
use crate::error::{Context, Result};
use crate::name::VolumeName;
use crate::scratch::{Place, ScratchName};

impl Location {
    /// Takes a volume's name away by moving what has it to `.mosaic/trash/<scratch>`. The rename is
    /// the commit; it is durable when this returns, and folders that are empty now are gone.
    ///
    /// # Errors
    /// `NotFound`; `Busy` for a mount point; the kernel's.
    pub fn move_to_trash(&self, name: &VolumeName, scratch: &ScratchName) -> Result<()> {
        let failed = || format!("cannot move {:?} to the trash", name.stored());
        let trash = self.private_folder(Place::Trash)?;
        let (parent, leaf) = self.parent(name)?;
        rename_noreplace(&parent, leaf, &trash, scratch.as_str())
            .and_then(|()| fs::fsync(&trash))
            .and_then(|()| fs::fsync(&parent))
            .context(failed)?;
        self.remove_empty_parents(name);
        Ok(())
    }

    /// Gives what has one name another one, never replacing anything. The rename is the commit; it
    /// is durable when this returns. Folders come and go as needed.
    ///
    /// # Errors
    /// `NotFound`; `Exists`; `Busy` for a mount point; the kernel's.
    pub fn rename(&self, from: &VolumeName, to: &VolumeName) -> Result<()> {
        let (parent, leaf) = self.parent(from)?;
        let renamed = self.with_parent(to, |folder, new_leaf| {
            rename_noreplace(&parent, leaf, folder, new_leaf)
        });
        if renamed.is_err() {
            self.remove_empty_parents(to);
        }
        renamed?;
        fs::fsync(&parent).context(|| format!("cannot make the end of \"{from}\" durable"))?;
        self.remove_empty_parents(from);
        Ok(())
    }
}
