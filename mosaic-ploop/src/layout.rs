// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which folders of a location are volumes.
//!
//! Every folder with a descriptor is one, at any depth, by its path: that is how OpenVZ keeps them
//! (`101/root.hdd`) and what historic locations hold. Nothing within one is looked at. Not Mosaic's
//! own `.mosaic*`, not `lost+found`, not the metadata folder, nothing on another mount, and no name
//! that [`VolumeName`] refuses. Links are never followed.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use mosaic_core::{Context, Location, Result, VolumeName};
use rustix::fs::{AtFlags, Dir, FileType, OFlags, statat};
use rustix::io::Errno;

use crate::volume_dir::{is_volume, mount_of};

/// What lies in a location.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Names of volumes.
    pub volumes: Vec<VolumeName>,
    /// What is no volume, with the reason.
    pub strangers: Vec<(PathBuf, String)>,
}

/// Looks through the location. One folder is open at a time, however deep they are nested.
///
/// # Errors
/// The kernel's while reading the location itself. A folder that cannot be read is a stranger.
pub fn inventory(location: &Location, metadata: Option<&Path>) -> Result<Inventory> {
    let home = mount_of(location.dir())?;
    let mut found = Inventory::default();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        match look_into(location, metadata, &folder, home, &mut found) {
            Ok(more) => folders.extend(more),
            // It went while we were looking.
            Err(Errno::NOENT | Errno::NOTDIR) if !folder.is_empty() => {}
            Err(errno) if folder.is_empty() => {
                return Err(errno)
                    .context(|| format!("cannot read location {:?}", location.path()));
            }
            Err(errno) => {
                let reason = format!("cannot be read: {}", std::io::Error::from(errno).kind());
                found.strangers.push((folder.into(), reason));
            }
        }
    }
    Ok(found)
}

/// Says whether a folder is a volume; if it is none, what is in it: the folders are returned.
fn look_into(
    location: &Location,
    metadata: Option<&Path>,
    folder: &str,
    home: u64,
    found: &mut Inventory,
) -> Result<Vec<String>, Errno> {
    let is_top = folder.is_empty();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let dir = location.open_beneath(if is_top { "." } else { folder }, flags)?;
    if mount_of(&dir).map_err(|_| Errno::IO)? != home {
        return Ok(Vec::new());
    }
    let name = VolumeName::parse(folder).ok();
    if let Some(name) = name
        && is_volume(&dir).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?
    {
        found.volumes.push(name);
        return Ok(Vec::new());
    }
    sort_out(metadata, folder, dir, found)
}

/// Puts each entry where it belongs and gives the folders below.
fn sort_out(
    metadata: Option<&Path>,
    folder: &str,
    dir: OwnedFd,
    found: &mut Inventory,
) -> Result<Vec<String>, Errno> {
    let mut folders = Vec::new();
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let Ok(leaf) = entry.file_name().to_str() else {
            let path = Path::new(folder).join(entry.file_name().to_string_lossy().as_ref());
            found.strangers.push((path, "its name is not UTF-8".into()));
            continue;
        };
        if leaf == "." || leaf == ".." || is_ours(folder, leaf) {
            continue;
        }
        let path = match folder {
            "" => leaf.to_owned(),
            folder => format!("{folder}/{leaf}"),
        };
        if metadata == Some(Path::new(&path)) {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => kind_of(&dir, leaf)?,
            known => known,
        };
        match (kind, VolumeName::parse(&path)) {
            (_, Err(error)) => found.strangers.push((path.into(), error.to_string())),
            (FileType::Directory, Ok(_)) => folders.push(path),
            // Files of whoever keeps volumes in folders, such as a container's config.
            (_, Ok(_)) if !folder.is_empty() => {}
            (_, Ok(_)) => found.strangers.push((path.into(), "not a folder".into())),
        }
    }
    Ok(folders)
}

/// Mosaic's own things and the file system's, at the top.
fn is_ours(folder: &str, leaf: &str) -> bool {
    folder.is_empty() && (leaf.starts_with(".mosaic") || leaf == "lost+found")
}

/// Some file systems leave the type out of the entry.
fn kind_of(dir: &OwnedFd, leaf: &str) -> Result<FileType, Errno> {
    match statat(dir, leaf, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode)),
        Err(Errno::NOENT) => Ok(FileType::Unknown),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};

    #[test]
    fn folders_with_a_descriptor_are_volumes_and_the_rest_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        for folder in [
            "a b",
            "größe",
            "1/12/123",
            "101/root.hdd",
            "101/root.hdd/nested",
            ".mosaic/tmp/0123456789abcdef",
            ".mosaicold",
            "lost+found/x",
            "meta/x",
            "1/lost+found/z",
            "-n",
            "new\nline",
        ] {
            create_dir_all(at.join(folder)).unwrap();
            write(at.join(folder).join("DiskDescriptor.xml"), "").unwrap();
        }
        for folder in ["empty/folder", "dir/DiskDescriptor.xml"] {
            create_dir_all(at.join(folder)).unwrap();
        }
        for file in ["file", "101/ve.conf"] {
            write(at.join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("a b", at.join("link")).unwrap();
        let location = Location::open(at).unwrap();
        let found = inventory(&location, Some(Path::new("meta"))).unwrap();
        let mut names: Vec<_> = found.volumes.iter().map(VolumeName::stored).collect();
        names.sort_unstable();
        let expected = ["1/12/123", "1/lost+found/z", "101/root.hdd", "a b", "größe"];
        assert_eq!(names, expected);
        let mut strangers: Vec<_> = found.strangers.iter().map(|s| s.0.clone()).collect();
        strangers.sort_unstable();
        let expected = ["-n", "file", "link", "new\nline"];
        assert_eq!(strangers, expected.map(PathBuf::from));
    }
}
