// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stands in a location, for drivers to which a folder is a volume.
//!
//! Folders are volumes or folders of volumes by their depth alone; nothing in them tells.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FileType, OFlags};
use rustix::io::Errno;

use super::{Location, is_dots};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::finding::Finding;
use crate::name::VolumeName;
use crate::scratch::PRIVATE_DIR;

/// Something that stands where a volume could be.
struct Found {
    /// Its path in the location.
    path: PathBuf,
    file_type: FileType,
}

impl Found {
    fn name(&self) -> Option<VolumeName> {
        VolumeName::parse(self.path.to_str()?).ok()
    }
}

/// Refuses a name that has another number of components than the volumes of a location. Whether
/// `a/b` is a volume, or a folder in volume `a`, only its depth can tell.
///
/// # Errors
/// `Invalid`.
pub fn check_depth(name: &VolumeName, depth: u32) -> Result<()> {
    let has = name.components().count();
    if has == depth as usize {
        return Ok(());
    }
    let stored = name.stored();
    let why = format!("{stored:?} has {has} components, volumes here have {depth}");
    Err(Error::new(ErrorKind::Invalid, why))
}

impl Location {
    /// The names of directories of `depth` components, in any order. Left out are Mosaic's own
    /// things, `lost+found`, `layout_fs` with all above and beneath it, links, and what has a name
    /// that no volume can have.
    ///
    /// # Errors
    /// The kernel's, for a folder that cannot be read. One that goes meanwhile is no error.
    pub fn directories(&self, depth: u32, layout_fs: Option<&Path>) -> Result<Vec<VolumeName>> {
        let found = self.at_depth(depth, layout_fs)?;
        let directories = found.iter().filter(|f| f.file_type == FileType::Directory);
        Ok(directories.filter_map(Found::name).collect())
    }

    /// What stands where such a directory could be, but is none, as findings for `check`.
    ///
    /// # Errors
    /// Those of [`Location::directories`].
    pub fn strays(&self, depth: u32, layout_fs: Option<&Path>) -> Result<Vec<Finding>> {
        let found = self.at_depth(depth, layout_fs)?;
        let strays = found.iter().filter_map(|found| {
            let why = match (found.file_type, found.name()) {
                (FileType::Directory, Some(_)) => return None,
                (FileType::Directory, None) => "has a name that no volume can have",
                _ => "is in the place of a volume, and no directory",
            };
            Some(Finding {
                volume: None,
                fault: format!("{:?} {why}", found.path),
                remedy: None,
                repaired: false,
            })
        });
        Ok(strays.collect())
    }

    fn at_depth(&self, depth: u32, layout_fs: Option<&Path>) -> Result<Vec<Found>> {
        let layout_fs: Option<PathBuf> = layout_fs.map(plain_components);
        let mut here = vec![Found {
            path: PathBuf::new(),
            file_type: FileType::Directory,
        }];
        for level in 1..=depth {
            let mut below = Vec::new();
            for folder in &here {
                if folder.file_type == FileType::Directory {
                    self.read_folder(&folder.path, &mut below)?;
                }
            }
            below.retain(|found| match &layout_fs {
                Some(layout) if found.path.starts_with(layout) => false,
                Some(layout) if level == depth => !layout.starts_with(&found.path),
                _ => true,
            });
            here = below;
        }
        Ok(here)
    }

    fn read_folder(&self, folder: &Path, found: &mut Vec<Found>) -> Result<()> {
        let is_top = folder.as_os_str().is_empty();
        let failed = || match is_top {
            true => format!("cannot read location {:?}", self.path),
            false => format!("cannot read folder {folder:?} in {:?}", self.path),
        };
        let at = if is_top { Path::new(".") } else { folder };
        let dir = match self.open_beneath(at, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => return Ok(()),
            other => other.context(failed)?,
        };
        for entry in Dir::read_from(&dir).context(failed)? {
            let entry = entry.context(failed)?;
            let name = entry.file_name();
            if is_never_a_volume(folder, name.to_bytes()) {
                continue;
            }
            let file_type = match entry.file_type() {
                // Not every file system says.
                FileType::Unknown => match fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(_) => continue,
                },
                known => known,
            };
            let path = folder.join(OsStr::from_bytes(name.to_bytes()));
            found.push(Found { path, file_type });
        }
        Ok(())
    }
}

/// Whether an entry can be no volume and no folder of volumes, by its name alone.
pub(super) fn is_never_a_volume(folder: &Path, name: &[u8]) -> bool {
    let at_top = folder.as_os_str().is_empty();
    is_dots(name) || at_top && (name.starts_with(PRIVATE_DIR.as_bytes()) || name == b"lost+found")
}

/// A relative path without `.` components.
pub(super) fn plain_components(path: &Path) -> PathBuf {
    path.components()
        .filter(|component| matches!(component, Component::Normal(_)))
        .collect()
}
