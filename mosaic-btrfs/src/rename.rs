// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another name for a volume.

use std::os::fd::AsFd;

use mosaic_core::location::rename_noreplace;
use mosaic_core::{Result, VolumeName, busy, label};
use rustix::io::fcntl_dupfd_cloexec;

use crate::commit;
use crate::driver::Btrfs;
use crate::error::{self, Call};
use crate::subvolume::Subvolume;

impl Btrfs {
    /// Steps: prove that it is mounted nowhere, and that it can be renamed if it is read-only; keep
    /// the new user's name with it, where a volume map changes that; make the folders above; one
    /// rename that replaces nothing; remove folders that are empty now; **commit** of the
    /// transaction, which all of these are in.
    ///
    /// Killed between label and rename the volume has its old name and a label that does not lead
    /// to it, so that it is listed by its stored name. After the rename it has the new one, and that
    /// survives the power once the transaction is committed.
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
            true => label::set_name(volume.dir(), to)
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
        let folder = renamed.map_err(|error| {
            self.location.remove_empty_parents(to);
            match relabel {
                true => error.after_undo(put_back(&volume, before.as_deref(), from)),
                false => error,
            }
        })?;
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

/// The label as it was before.
fn put_back(volume: &Subvolume, before: Option<&str>, from: &VolumeName) -> Result<()> {
    let user = before.unwrap_or(from.stored());
    let name = VolumeName::with_stored(user, from.stored())?;
    label::set_name(volume.dir().as_fd(), &name)
}
