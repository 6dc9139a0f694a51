// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stands in a location, for drivers whose volumes lie at any depth and are known by what they
//! are.
//!
//! A volume's name is its path. Not Mosaic's own `.mosaic*`, not `lost+found`, not the metadata folder,
//! nothing on another mount, and no name that [`VolumeName`] refuses. Links are never followed.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FileType, OFlags, StatxFlags};
use rustix::io::Errno;

use super::Location;
use super::listing::is_never_a_volume;
use crate::error::{Context, Result};
use crate::name::VolumeName;

/// What lies in a location.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Names of volumes.
    pub volumes: Vec<VolumeName>,
    /// What is no volume, with the reason.
    pub strangers: Vec<(PathBuf, String)>,
}

/// What a driver's volumes are.
pub trait Layout {
    /// Whether a folder is a volume. In one that is none volumes may lie.
    ///
    /// # Errors
    /// The kernel's: the folder is a stranger then.
    fn is_volume(&self, folder: BorrowedFd<'_>) -> rustix::io::Result<bool>;

    /// What something is that is no folder.
    fn other(&self, file_type: FileType, depth: Depth) -> Other;
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// In the location itself.
    Top,
    /// In a folder.
    Deeper,
}

/// What an entry is that is no folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// A volume.
    Volume,
    /// What does not belong here, and why.
    Stranger(&'static str),
    /// Somebody else's, which may lie here.
    Theirs,
}

impl Location {
    /// Looks through the location. One folder is open at a time, however deep they are nested.
    ///
    /// # Errors
    /// The kernel's while reading the location itself. A folder that cannot be read is a stranger.
    pub fn inventory(&self, metadata: Option<&Path>, layout: &impl Layout) -> Result<Inventory> {
        let failed = || format!("cannot read location {:?}", self.path);
        let mut walk = Walk {
            location: self,
            home: mount_of(self.dir()).context(failed)?,
            metadata,
            layout,
            found: Inventory::default(),
        };
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            match walk.look_into(&folder) {
                Ok(more) => folders.extend(more),
                // It went while we were looking.
                Err(Errno::NOENT | Errno::NOTDIR) if !folder.is_empty() => {}
                Err(errno) if folder.is_empty() => return Err(errno).context(failed),
                Err(errno) => {
                    let reason = format!("cannot be read: {}", std::io::Error::from(errno).kind());
                    walk.found.strangers.push((folder.into(), reason));
                }
            }
        }
        Ok(walk.found)
    }
}

struct Walk<'a, L> {
    location: &'a Location,
    /// The location's mount.
    home: u64,
    metadata: Option<&'a Path>,
    layout: &'a L,
    found: Inventory,
}

impl<L: Layout> Walk<'_, L> {
    /// Says whether a folder is a volume; if it is none, what is in it: the folders are returned.
    fn look_into(&mut self, folder: &str) -> rustix::io::Result<Vec<String>> {
        let path = if folder.is_empty() { "." } else { folder };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = self.location.open_beneath(path, flags)?;
        if mount_of(&dir)? != self.home {
            return Ok(Vec::new());
        }
        if let Ok(name) = VolumeName::parse(folder)
            && self.layout.is_volume(dir.as_fd())?
        {
            self.found.volumes.push(name);
            return Ok(Vec::new());
        }
        self.sort_out(folder, dir.as_fd())
    }

    /// Puts each entry where it belongs and gives the folders below.
    fn sort_out(&mut self, folder: &str, dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<String>> {
        let mut folders = Vec::new();
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_never_a_volume(Path::new(folder), name.to_bytes()) {
                continue;
            }
            let Ok(leaf) = name.to_str() else {
                let path = Path::new(folder).join(name.to_string_lossy().as_ref());
                let reason = "its name is not UTF-8".into();
                self.found.strangers.push((path, reason));
                continue;
            };
            let (path, depth) = match folder {
                "" => (leaf.to_owned(), Depth::Top),
                folder => (format!("{folder}/{leaf}"), Depth::Deeper),
            };
            if self.metadata == Some(Path::new(&path)) {
                continue;
            }
            let file_type = match entry.file_type() {
                FileType::Unknown => type_of(dir, leaf)?,
                known => known,
            };
            let stranger = match (file_type, VolumeName::parse(&path)) {
                (_, Err(error)) => Some(error.to_string()),
                (FileType::Directory, Ok(_)) => {
                    folders.push(path);
                    continue;
                }
                (other, Ok(name)) => match self.layout.other(other, depth) {
                    Other::Volume => {
                        self.found.volumes.push(name);
                        None
                    }
                    Other::Stranger(reason) => Some(reason.to_owned()),
                    Other::Theirs => None,
                },
            };
            if let Some(reason) = stranger {
                self.found.strangers.push((path.into(), reason));
            }
        }
        Ok(folders)
    }
}

/// Some file systems leave the type out of the entry.
fn type_of(dir: BorrowedFd<'_>, leaf: &str) -> rustix::io::Result<FileType> {
    match fs::statat(dir, leaf, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode)),
        Err(Errno::NOENT) => Ok(FileType::Unknown),
        Err(errno) => Err(errno),
    }
}

/// The number of the mount through which something was opened.
fn mount_of(opened: impl AsFd) -> rustix::io::Result<u64> {
    let stat = fs::statx(opened, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok(stat.stx_mnt_id)
}
