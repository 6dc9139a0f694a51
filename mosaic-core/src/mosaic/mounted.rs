// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where volumes that are directories are mounted, asked for all of a location at once.
//!
//! The mount table shows each mount's directory by its path in its file system, and so names the few
//! volumes of a location that can be mounted at all: only those are opened. That a volume's
//! directory has the volume's name in the location is the drivers' habit, not their duty. It is
//! proven on one volume of each list; where it does not hold, every volume is opened.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::Mosaic;
use crate::driver::LockScope;
use crate::error::Result;
use crate::location::Location;
use crate::mounts::{MountTable, TreePath};
use crate::name::VolumeName;
use crate::volume::{MountSource, Volume};

/// What a mount table says of the directories of one location.
pub(super) struct DirectoryMounts<'m> {
    mosaic: &'m Mosaic,
    table: &'m MountTable,
    layout: Layout,
}

/// Whether volumes stand at their names.
enum Layout {
    /// Nobody has looked.
    Unknown,
    /// As far as is known they do.
    Named(Named),
    /// They do not, or it cannot be told.
    Other,
}

struct Named {
    location: TreePath,
    /// See [`MountTable::touched_beneath`].
    touched: HashSet<PathBuf>,
    /// One volume was seen where its name says.
    proven: bool,
}

impl Named {
    /// Whether a volume's directory, or one above it, is shown or covered by a mount.
    fn is_touched(&self, stored: &Path) -> bool {
        stored.ancestors().any(|path| self.touched.contains(path))
    }
}

impl<'m> DirectoryMounts<'m> {
    pub(super) fn new(mosaic: &'m Mosaic, table: &'m MountTable) -> Self {
        Self {
            mosaic,
            table,
            layout: Layout::Unknown,
        }
    }

    /// Where a volume is mounted. One that cannot be opened, or was dropped since, is not known to
    /// be mounted.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn of(&mut self, volume: &Volume) -> Result<Vec<PathBuf>> {
        if let Layout::Unknown = self.layout {
            self.layout = self.look();
        }
        let stored = Path::new(&volume.stored);
        let untouched = match &mut self.layout {
            Layout::Named(named) if !named.is_touched(stored) => Some(named),
            _ => None,
        };
        if untouched.as_ref().is_some_and(|named| named.proven) {
            return Ok(Vec::new());
        }
        let Some(dir) = self.mosaic.directory(volume) else {
            return Ok(Vec::new());
        };
        if let Some(named) = untouched {
            let place = self.table.tree_path(dir.as_fd());
            named.proven = place.is_ok_and(|place| place == named.location.join(stored));
            if !named.proven {
                self.layout = Layout::Other;
            }
        }
        self.table.of_directory(dir.as_fd())
    }

    fn look(&self) -> Layout {
        let Ok(LockScope::Directory(path)) = self.mosaic.driver.lock_scope() else {
            return Layout::Other;
        };
        let looked = Location::open(&path).and_then(|location| {
            Ok(Named {
                location: self.table.tree_path(location.dir())?,
                touched: self.table.touched_beneath(location.dir())?,
                proven: false,
            })
        });
        looked.map_or(Layout::Other, Layout::Named)
    }
}

impl Mosaic {
    /// The directory of a volume; `None` if it cannot be opened or is none.
    fn directory(&self, volume: &Volume) -> Option<OwnedFd> {
        let name = VolumeName::parse(&volume.stored).ok()?;
        match self.driver.mount_source(Some(&name), true) {
            Ok(MountSource::Directory(dir)) => Some(dir),
            _ => None,
        }
    }
}
