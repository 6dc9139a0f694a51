// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known of one volume. Nothing here needs privilege; what cannot be seen is said in a note.

use mosaic_core::volume::Volume;
use mosaic_core::{Bytes, ErrorKind, Result, VolumeName, label};

use crate::date::rfc3339;
use crate::driver::Btrfs;
use crate::items::{Root, Uuid};
use crate::quota::{self, Account, Mode};
use crate::subvolume::Subvolume;

impl Btrfs {
    /// The volume of this name; `Ok(None)` if nothing has it.
    ///
    /// # Errors
    /// Those of [`Btrfs::place`].
    pub(crate) fn find_volume(&self, name: &VolumeName) -> Result<Option<Volume>> {
        let Some(place) = self.place(name)? else {
            return Ok(None);
        };
        let looked = match Subvolume::at(place) {
            Ok(Some(subvolume)) => self.look(name, &subvolume),
            Ok(None) => return Ok(None),
            Err(error) => Err(error),
        };
        match looked {
            Ok(volume) => Ok(Some(volume)),
            // Dropped while we were looking.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let mut volume = Volume::directory(name);
                volume.notes.push(error.chain());
                Ok(Some(volume))
            }
        }
    }

    /// All that is known of an open volume.
    fn look(&self, name: &VolumeName, subvolume: &Subvolume) -> Result<Volume> {
        let nested = subvolume.children()?.len();
        let mut volume = describe(name, subvolume.id(), &subvolume.root()?, nested);
        if self.options.mapped {
            volume.user = label::name(subvolume.dir())?;
        }
        let sizes = self.quota_mode().and_then(|mode| {
            self.show_sizes(&mut volume, mode, &self.account(subvolume.id(), mode)?);
            Ok(self.sizes_note(mode))
        });
        volume
            .notes
            .extend(sizes.unwrap_or_else(|error| Some(error.chain())));
        Ok(volume)
    }

    /// What a volume may take and takes; nothing where quotas are not used.
    pub(crate) fn account(&self, id: u64, mode: Mode) -> Result<Account> {
        match mode {
            Mode::Off => Ok(Account::default()),
            _ => quota::account(self.location.dir(), id),
        }
    }

    /// Puts what quotas say into a volume. Usage that the kernel itself calls wrong is unknown.
    pub(crate) fn show_sizes(&self, volume: &mut Volume, mode: Mode, account: &Account) {
        volume.size = account.limit.map(Bytes);
        let is_right = mode != Mode::Full { inconsistent: true };
        if let Some(usage) = account.usage.filter(|_| is_right) {
            volume.used = Some(Bytes(usage.referenced));
            volume.exclusive = Some(Bytes(usage.exclusive));
        }
    }
}

/// A volume without what quotas say of it. `nested`: how many subvolumes are right within it.
pub(crate) fn describe(name: &VolumeName, id: u64, root: &Root, nested: usize) -> Volume {
    let uuid = |uuid: Option<Uuid>| uuid.map(|uuid| uuid.to_string());
    let facts = [
        ("id", Some(id.to_string())),
        ("generation", Some(root.generation.to_string())),
        ("uuid", uuid(root.uuid)),
        ("parent uuid", uuid(root.parent)),
        ("received uuid", uuid(root.received)),
        ("created", root.made.map(rfc3339)),
        ("nested", (nested > 0).then(|| nested.to_string())),
    ];
    let facts = facts.into_iter();
    Volume {
        read_only: root.read_only,
        facts: facts
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect(),
        ..Volume::directory(name)
    }
}
