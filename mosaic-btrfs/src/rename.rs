// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another name for a volume.

use mosaic_core::location::rename_noreplace;
use mosaic_core::{Result, VolumeName, busy, label};
use rustix::io::fcntl_dupfd_cloexec;

use crate::commit;
use crate::driver::Btrfs;
use crate::error::{self, Call};
use crate::subvolume::Subvolume;

impl Btrfs {
    /// Steps: prove that it is mounted nowhere, and that it can be renamed if it is read-only; keep
    /// both users' names with it, where a volume map changes them; make the folders above; one
    /// rename that replaces nothing; forget the old name; remove folders that are empty now;
    /// **commit** of the transaction, which all of these are in.
    ///
    /// Killed before the rename the volume has its old name, after it the new one, and that survives
    /// the power once the transaction is committed.
    pub(crate) fn rename_subvolume(&self, from: &VolumeName, to: &VolumeName) -> Result<()> {
        let volume = self.volume(from)?;
        // The kernel would rename it; the mount would then be of no volume.
        busy::mounts_of_directory(volume.dir())?.refuse()?;
        let before = label::name(volume.dir())?;
        let wanted = (to.user() != to.stored()).then(|| to.user());
        let relabel = before.as_deref() != wanted;
        if volume.root()?.read_only {
            refuse_what_writes(&volume, from, to, relabel)?;
        }
        self.host.check_cancelled()?;
        let (folder, leaf) = self.location.parent(from)?;
        volume.prove_named(&folder, leaf)?;
        let labelled = match relabel {
            true => label::set_names(volume.dir(), &[from, to])
                .map_err(|error| self.explained(Call::Label, error)),
            false => Ok(()),
        };
        self.host.debug(&format!("rename {from} to {to}"));
        let renamed = labelled.and_then(|()| {
            let renamed = self.location.in_parent(to, |parent, new_leaf| {
                let kept = fcntl_dupfd_cloexec(parent, 0)?;
                rename_noreplace(&folder, leaf, parent, new_leaf).map(|()| kept)
            });
            renamed.map_err(|error| self.explained(Call::Rename, error))
        });
        if relabel {
            let now = if renamed.is_ok() { to } else { from };
            // With both names the volume is shown by the right one too.
            let _ = label::set_name(volume.dir(), now);
        }
        let folder = renamed.inspect_err(|_| self.location.remove_empty_parents(to))?;
        self.location.remove_empty_parents(from);
        commit::folder(folder)
    }
}

/// A read-only subvolume takes neither a label nor, since its `..` changes, another folder.
fn refuse_what_writes(
    volume: &Subvolume,
    from: &VolumeName,
    to: &VolumeName,
    relabel: bool,
) -> Result<()> {
    let why = if relabel {
        "the user's name, which the volume map changes, could not be kept with it"
    } else if from.parent() != to.parent() {
        "such a subvolume cannot leave its folder"
    } else {
        return Ok(());
    };
    let way_out = "clone it to the new name, which makes it writable, and drop it";
    Err(error::read_only(volume, why, way_out))
}
