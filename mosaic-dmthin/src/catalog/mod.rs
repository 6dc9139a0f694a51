// SPDX-License-Identifier: MIT OR Apache-2.0
//! The catalog: names, ids, kinds, sizes and origins of the volumes, in the pool itself.
//!
//! The kernel knows a thin device by a number, and not even its size. All else stands in the
//! reserved thin device [`ThinId::CATALOG`], in two slots that are written in turn. [`mod@format`] is
//! the payload, [`slot`] what says whether a slot is whole and which state of the pool it belongs
//! to, [`store`] both of them on a device.

pub mod format;
pub mod slot;
pub mod store;

use std::collections::BTreeMap;

use mosaic_core::volume::Kind;
use mosaic_core::{Bytes, Error, ErrorKind, Result};

use crate::target::ThinId;

/// What a volume holds. Said before it is made, and never looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The user's.
    Disk,
    /// A file system of this type.
    Fs(String),
}

impl Content {
    /// As the host has it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Disk => Kind::Disk,
            Self::Fs(fs) => Kind::Fs {
                fs: Some(fs.clone()),
                assumed: false,
            },
        }
    }
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its thin device.
    pub id: ThinId,
    /// The pool's transaction in which that was made, as the pool has it too: an id of another one is
    /// another thin device.
    pub made_in: u64,
    /// The user's name, where a volume map changed it.
    pub user: Option<String>,
    /// What it holds.
    pub content: Content,
    /// Its size: whole sectors, more than none.
    pub size: Bytes,
    /// The thin device that it was cloned from, which may be gone.
    pub origin: Option<ThinId>,
    /// When it was made, in seconds since 1970.
    pub created: u64,
}

/// The metadata file system, thin id 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Its type.
    pub fs: String,
    /// Its size: whole sectors, more than none.
    pub size: Bytes,
}

/// What is still to be done although the state is the true one already. Done by whoever holds the
/// catalog next, if not at once; to do it again does no harm until the next state is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pending {
    /// To delete the thin device of a dropped volume.
    Delete {
        /// Its id.
        id: ThinId,
        /// The transaction in which it was made.
        made_in: u64,
    },
    /// To give back what a shrunk volume has behind its end. Bytes.
    Discard {
        /// The volume's.
        id: ThinId,
        /// From here, the volume's size.
        from: Bytes,
        /// To here, the size that it had.
        to: Bytes,
    },
    /// To give a device that shows a volume the size to which that grew.
    Show(ThinId),
}

impl Pending {
    /// The thin device that it is about.
    pub fn id(self) -> ThinId {
        match self {
            Self::Show(id) | Self::Delete { id, .. } | Self::Discard { id, .. } => id,
        }
    }
}

/// One state of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// The metadata file system.
    pub metadata: Option<Metadata>,
    /// What is still to be done.
    pub pending: Vec<Pending>,
    /// The id to try next.
    next: ThinId,
    volumes: BTreeMap<String, Entry>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            metadata: None,
            pending: Vec::new(),
            next: ThinId::VOLUMES.0,
            volumes: BTreeMap::new(),
        }
    }
}

impl Catalog {
    /// The first one, with a metadata file system.
    pub fn new(metadata: Metadata) -> Self {
        Self {
            metadata: Some(metadata),
            ..Self::default()
        }
    }

    /// The volumes by stored name.
    pub fn volumes(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.volumes.iter().map(|(name, entry)| (&**name, entry))
    }

    /// How many volumes there are.
    pub fn len(&self) -> usize {
        self.volumes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.volumes.is_empty()
    }

    /// The volume of a stored name.
    pub fn find(&self, stored: &str) -> Option<&Entry> {
        self.volumes.get(stored)
    }

    /// The volume of a stored name, which is there.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn require(&self, stored: &str) -> Result<&Entry> {
        self.find(stored)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no volume {stored:?}")))
    }

    /// The volume whose thin device this is.
    pub fn name_of(&self, id: ThinId) -> Option<&str> {
        let mut all = self.volumes();
        all.find_map(|(name, entry)| (entry.id == id).then_some(name))
    }

    /// A volume whose name begins with `stored` and a slash, so that the name is a folder.
    pub fn beneath(&self, stored: &str) -> Option<&str> {
        let folder = format!("{stored}/");
        let (name, _) = self.volumes.range(folder.clone()..).next()?;
        name.starts_with(&folder).then_some(name)
    }

    /// All thin devices that the state knows of, the catalog's own left out.
    pub fn ids(&self) -> impl Iterator<Item = ThinId> {
        let metadata = self.metadata.as_ref().map(|_| ThinId::METADATA);
        let volumes = self.volumes.values().map(|entry| entry.id);
        let pending = self.pending.iter().map(|pending| pending.id());
        metadata.into_iter().chain(volumes).chain(pending)
    }

    /// An id that nothing known here has; from now on it is not the next one.
    ///
    /// Ids are not used again until all of them were: who comes late with an old one meets nothing.
    ///
    /// # Errors
    /// `NoSpace` with 16,777,214 volumes.
    pub fn take_id(&mut self) -> Result<ThinId> {
        let used: std::collections::HashSet<ThinId> = self.ids().collect();
        let mut id = self.next;
        // One more than are used suffices.
        for _ in 0..=used.len() {
            if !used.contains(&id) {
                self.next = id.next();
                return Ok(id);
            }
            id = id.next();
        }
        Err(Error::new(
            ErrorKind::NoSpace,
            format!("all {} thin ids are used", ThinId::VOLUMES.1),
        ))
    }

    /// Has the clones of a volume that goes know of no origin.
    pub fn forget_origin(&mut self, id: ThinId) {
        for entry in self.volumes.values_mut() {
            entry.origin = entry.origin.filter(|origin| *origin != id);
        }
    }

    /// Sets the id to try next, beyond all that a pool has.
    pub fn skip_ids_to(&mut self, next: ThinId) {
        self.next = next;
    }

    /// Refuses a name that cannot be given: taken, beneath a volume's, or a folder of one.
    ///
    /// # Errors
    /// `Exists`, with what is in the way.
    pub fn check_free(&self, stored: &str) -> Result<()> {
        let above = stored.match_indices('/').map(|(at, _)| &stored[..at]);
        let mut above = above.filter(|name| self.volumes.contains_key(*name));
        let in_the_way = match self.volumes.contains_key(stored) {
            true => Some(stored),
            false => above.next().or_else(|| self.beneath(stored)),
        };
        match in_the_way {
            Some(name) => Err(Error::new(
                ErrorKind::Exists,
                format!("volume {name:?} is in the way"),
            )),
            None => Ok(()),
        }
    }

    /// Adds a volume.
    ///
    /// # Errors
    /// `Exists` if the name is taken.
    pub fn insert(&mut self, stored: &str, entry: Entry) -> Result<()> {
        if self.volumes.contains_key(stored) {
            return Err(Error::new(
                ErrorKind::Exists,
                format!("volume {stored:?} exists already"),
            ));
        }
        self.volumes.insert(stored.to_owned(), entry);
        Ok(())
    }

    /// Takes a volume out.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove(&mut self, stored: &str) -> Result<Entry> {
        let entry = self.require(stored)?.clone();
        self.volumes.remove(stored);
        Ok(entry)
    }

    /// Changes a volume.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn change(&mut self, stored: &str, change: impl FnOnce(&mut Entry)) -> Result<()> {
        let mut entry = self.remove(stored)?;
        change(&mut entry);
        self.volumes.insert(stored.to_owned(), entry);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
