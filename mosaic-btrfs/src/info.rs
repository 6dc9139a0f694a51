// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known of one volume. Nothing here needs privilege; what cannot be seen is said in a note.

use mosaic_core::volume::Volume;
use mosaic_core::{Bytes, ErrorKind, Result, VolumeName, label};

use crate::driver::Btrfs;
use crate::items::{Root, Uuid};
use crate::quota::{self, Account, Mode};
use crate::subvolume::Subvolume;
use mosaic_core::date::rfc3339;

/// What a size does not bind: each subvolume has a quota group of its own, also one that a tenant makes.
const NESTED: &str = "size and usage do not count what is in the subvolumes within it, each of which \
                      counts for itself";

/// A volume, and by which names the file system knows it and what it is a snapshot of.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Without an origin.
    pub(crate) volume: Volume,
    /// Its UUID.
    pub(crate) uuid: Option<Uuid>,
    /// That of what it is a snapshot of.
    pub(crate) parent: Option<Uuid>,
    /// How many subvolumes are right within it.
    nested: usize,
}

impl Seen {
    /// A volume of which nothing can be known, for this reason.
    pub(crate) fn unknown(name: &VolumeName, why: String) -> Self {
        let mut volume = Volume::directory(name);
        volume.notes.push(why);
        Self {
            volume,
            uuid: None,
            parent: None,
            nested: 0,
        }
    }

    /// A volume without what quotas say of it. `nested`: how many subvolumes are right within it.
    pub(crate) fn new(name: &VolumeName, id: u64, root: &Root, nested: usize) -> Self {
        let mut facts = Vec::with_capacity(7);
        let mut fact = |key: &str, value: Option<String>| {
            facts.extend(value.map(|value| (key.to_owned(), value)));
        };
        let uuid = |uuid: Option<Uuid>| uuid.map(|uuid| uuid.to_string());
        fact("id", Some(id.to_string()));
        fact("generation", Some(root.generation.to_string()));
        fact("uuid", uuid(root.uuid));
        fact("parent uuid", uuid(root.parent));
        fact("received uuid", uuid(root.received));
        fact("created", root.made.map(rfc3339));
        fact("nested", (nested > 0).then(|| nested.to_string()));
        Self {
            volume: Volume {
                read_only: root.read_only,
                facts,
                ..Volume::directory(name)
            },
            uuid: root.uuid,
            parent: root.parent,
            nested,
        }
    }
}

/// What the sizes of volumes are here, now.
#[derive(Debug)]
pub(crate) struct Sizes {
    /// The kind of quota; off, too, where that cannot be found out.
    pub(crate) mode: Mode,
    /// What a user should know of them.
    pub(crate) note: Option<String>,
}

impl Btrfs {
    /// The volume of this name; `Ok(None)` if nothing has it.
    ///
    /// # Errors
    /// Those of [`Btrfs::place`].
    pub(crate) fn find_volume(&self, name: &VolumeName) -> Result<Option<Volume>> {
        let sizes = self.sizes();
        let Some(seen) = self.look_at(name, &sizes)? else {
            return Ok(None);
        };
        let origin = self.origin_of(&seen);
        let mut volume = seen.volume;
        volume.origin = origin;
        volume.notes.extend(sizes.note);
        Ok(Some(volume))
    }

    /// What the sizes of volumes are here.
    pub(crate) fn sizes(&self) -> Sizes {
        match self.quota_mode() {
            Ok(mode) => Sizes {
                mode,
                note: self.sizes_note(mode),
            },
            Err(error) => Sizes {
                mode: Mode::Off,
                note: Some(error.chain()),
            },
        }
    }

    /// All that the volume's own directory tells; `Ok(None)` if nothing has the name.
    ///
    /// # Errors
    /// Those of [`Btrfs::place`].
    pub(crate) fn look_at(&self, name: &VolumeName, sizes: &Sizes) -> Result<Option<Seen>> {
        let Some(place) = self.place(name)? else {
            return Ok(None);
        };
        let looked = match Subvolume::at(place) {
            Ok(Some(subvolume)) => self.look(name, &subvolume, sizes),
            Ok(None) => return Ok(None),
            Err(error) => Err(error),
        };
        match looked {
            Ok(seen) => Ok(Some(seen)),
            // Dropped while we were looking.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Ok(Some(Seen::unknown(name, error.chain()))),
        }
    }

    fn look(&self, name: &VolumeName, subvolume: &Subvolume, sizes: &Sizes) -> Result<Seen> {
        let nested = subvolume.children()?.len();
        let mut seen = Seen::new(name, subvolume.id(), &subvolume.root()?, nested);
        if self.options.mapped {
            seen.volume.user = label::name(subvolume.dir())?;
        }
        match self.account(subvolume.id(), sizes.mode) {
            Ok(account) => self.show_account(&mut seen, subvolume.id(), sizes, &account),
            Err(error) => seen.volume.notes.push(error.chain()),
        }
        Ok(seen)
    }

    /// Puts what quotas say into a volume. Usage that the kernel itself calls wrong is unknown.
    pub(crate) fn show_account(&self, seen: &mut Seen, id: u64, sizes: &Sizes, account: &Account) {
        let volume = &mut seen.volume;
        volume.size = account.limit.map(Bytes);
        volume.notes.extend(self.no_group(id, sizes.mode, account));
        if seen.nested > 0 && sizes.mode.is_on() {
            volume.notes.push(NESTED.to_owned());
        }
        let is_right = sizes.mode != Mode::Full { inconsistent: true };
        if let Some(usage) = account.usage.filter(|_| is_right) {
            volume.used = Some(Bytes(usage.referenced));
            volume.exclusive = Some(Bytes(usage.exclusive));
        }
    }

    /// What a volume may take and takes; nothing where quotas are not used.
    pub(crate) fn account(&self, id: u64, mode: Mode) -> Result<Account> {
        match mode {
            Mode::Off => Ok(Account::default()),
            _ => quota::account(self.location.dir(), id),
        }
    }
}
