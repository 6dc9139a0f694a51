// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mount table of this process, read once and asked many times.
//!
//! A directory is looked for by its path within its file system, not by inode: the table shows that
//! path as the root of each mount of it, and nothing has to be opened for it.

use std::collections::{HashMap, HashSet};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::Dev;

use super::device::{MountDevices, descriptor_path, device_number, statx_of};
use super::mountinfo::{self, MountEntry};
use crate::error::{Context, Error, ErrorKind, Result};

/// A directory by its place in its file system, the same in every mount and every mount namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TreePath {
    /// Device number of the file system as the mount table shows it.
    pub major: u32,
    /// See `major`.
    pub minor: u32,
    /// From the root of the file system, `/` first.
    pub path: PathBuf,
}

impl TreePath {
    /// The place of a relative path beneath this one.
    pub fn join(&self, path: &Path) -> Self {
        Self {
            path: self.path.join(path),
            ..*self
        }
    }

    /// Whether a place is this directory or beneath it; `ab` is not beneath `a`.
    pub fn holds(&self, other: &Self) -> bool {
        (self.major, self.minor) == (other.major, other.minor) && other.path.starts_with(&self.path)
    }

    /// The place whose tree a mount shows.
    pub(crate) fn root_of(entry: &MountEntry) -> Self {
        Self {
            major: entry.major,
            minor: entry.minor,
            path: entry.root.clone(),
        }
    }

    /// The place on which a mount lies, seen from the mount that it is on; `None` if it is not
    /// beneath that one.
    pub(crate) fn mountpoint_of(entry: &MountEntry, parent: &MountEntry) -> Option<Self> {
        let beneath = entry.mountpoint.strip_prefix(&parent.mountpoint).ok()?;
        Some(Self {
            path: parent.root.join(beneath),
            ..Self::root_of(parent)
        })
    }
}

/// The mounts that this process sees at one moment.
#[derive(Debug)]
pub struct MountTable {
    entries: Vec<MountEntry>,
    by_id: HashMap<u64, usize>,
    by_root: HashMap<TreePath, Vec<usize>>,
    /// Built at the first question about a device, as btrfs file systems have to be asked for it.
    by_device: OnceLock<HashMap<Dev, Vec<usize>>>,
}

impl MountTable {
    /// Reads the table.
    ///
    /// # Errors
    /// The kernel's, if `/proc` is not mounted.
    pub fn read() -> Result<Self> {
        mountinfo::own().map(Self::new)
    }

    fn new(entries: Vec<MountEntry>) -> Self {
        let mut by_id = HashMap::new();
        let mut by_root: HashMap<_, Vec<_>> = HashMap::new();
        for (at, entry) in entries.iter().enumerate() {
            by_id.insert(entry.id, at);
            by_root
                .entry(TreePath::root_of(entry))
                .or_default()
                .push(at);
        }
        Self {
            entries,
            by_id,
            by_root,
            by_device: OnceLock::new(),
        }
    }

    /// All mounts, in the order in which the kernel lists them.
    pub fn entries(&self) -> &[MountEntry] {
        &self.entries
    }

    /// The mount of this number.
    pub fn by_id(&self, id: u64) -> Option<&MountEntry> {
        self.by_id.get(&id).and_then(|at| self.entries.get(*at))
    }

    /// Where an open directory is in its file system.
    ///
    /// # Errors
    /// `NotFound` if it was removed; `Unsupported` if the mount that it was opened through is not in
    /// the table: in a chroot that is no mountpoint, or opened from a detached mount.
    pub fn tree_path(&self, dir: BorrowedFd<'_>) -> Result<TreePath> {
        let link = descriptor_path(dir);
        let path = std::fs::read_link(&link).context(|| format!("cannot read {link:?}"))?;
        let stat = statx_of(dir).context(|| format!("cannot look at {path:?}"))?;
        if stat.stx_nlink == 0 {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("{path:?} was removed"),
            ));
        }
        let entry = self.by_id(stat.stx_mnt_id);
        let beneath = entry.and_then(|entry| path.strip_prefix(&entry.mountpoint).ok());
        match (entry, beneath) {
            (Some(entry), Some(beneath)) => Ok(TreePath {
                path: entry.root.join(beneath),
                ..TreePath::root_of(entry)
            }),
            _ => Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "cannot tell where {path:?} is mounted: mount {} is not in this process's mount table (in a chroot?)",
                    stat.stx_mnt_id
                ),
            )),
        }
    }

    /// What is beneath a directory and shown by a mount, or has one on it, by its path in the
    /// directory. Only there are directories that are mounted somewhere, or another file system's.
    ///
    /// # Errors
    /// Those of [`MountTable::tree_path`].
    pub fn touched_beneath(&self, dir: BorrowedFd<'_>) -> Result<HashSet<PathBuf>> {
        let place = self.tree_path(dir)?;
        let link = descriptor_path(dir);
        let path = std::fs::read_link(&link).context(|| format!("cannot read {link:?}"))?;
        let touched = self.entries.iter().flat_map(|entry| {
            let root = TreePath::root_of(entry);
            let shown = place.holds(&root).then_some(root.path);
            let shown =
                shown.and_then(|root| Some(root.strip_prefix(&place.path).ok()?.to_owned()));
            let covered = entry.mountpoint.strip_prefix(&path).ok();
            [shown, covered.map(Path::to_owned)]
        });
        let beneath = |path: &PathBuf| !path.as_os_str().is_empty();
        Ok(touched.flatten().filter(beneath).collect())
    }

    /// Where exactly this directory is mounted; mounts of what is beneath it do not count. Nowhere
    /// to be seen, if it was removed or its own mount is not in the table.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of_directory(&self, dir: BorrowedFd<'_>) -> Result<Vec<PathBuf>> {
        match self.tree_path(dir) {
            Ok(place) => Ok(self.mountpoints(self.by_root.get(&place))),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// Where the file system on this block device is mounted, all of it or a part.
    ///
    /// # Errors
    /// `NotFound` if there is no such device; `Invalid` if it is no block device.
    pub fn of_device(&self, device: &Path) -> Result<Vec<PathBuf>> {
        let number = device_number(device)?;
        Ok(self.mountpoints(self.by_device().get(&number)))
    }

    fn by_device(&self) -> &HashMap<Dev, Vec<usize>> {
        self.by_device.get_or_init(|| {
            let mut by_device: HashMap<_, Vec<_>> = HashMap::new();
            let devices = MountDevices::default();
            for (at, entry) in self.entries.iter().enumerate() {
                for device in devices.of(entry, Some(Path::new("/"))) {
                    by_device.entry(device).or_default().push(at);
                }
            }
            by_device
        })
    }

    fn mountpoints(&self, found: Option<&Vec<usize>>) -> Vec<PathBuf> {
        let entries = found.into_iter().flatten();
        entries
            .filter_map(|at| self.entries.get(*at))
            .map(|entry| entry.mountpoint.clone())
            .collect()
    }
}
