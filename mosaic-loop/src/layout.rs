// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which files of a location are volumes.
//!
//! Every regular file is one, in folders too, by its path: that is what historic locations hold.
//! Not Mosaic's own `.mosaic*`, not `lost+found`, not the metadata folder, nothing on another mount,
//! and no name that [`VolumeName`] refuses. Links are never followed.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use mosaic_core::{Context, Location, Result, VolumeName};
use rustix::fs::{AtFlags, Dir, FileType, OFlags, StatxFlags, statat, statx};
use rustix::io::Errno;

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
    let home = mount_of(location.dir())
        .context(|| format!("cannot stat location {:?}", location.path()))?;
    let mut found = Inventory::default();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let read = read_folder(location, &folder, home).and_then(|entries| match entries {
            Some(entries) => sort_out(location, metadata, &folder, entries, &mut found),
            None => Ok(Vec::new()),
        });
        match read {
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

/// A folder's entries; `None` if something else is mounted there.
fn read_folder(location: &Location, folder: &str, home: u64) -> Result<Option<Dir>, Errno> {
    let path = if folder.is_empty() { "." } else { folder };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let dir: OwnedFd = location.open_beneath(path, flags)?;
    if mount_of(&dir)? != home {
        return Ok(None);
    }
    Dir::new(dir).map(Some)
}

/// Puts each entry where it belongs and gives the folders below.
fn sort_out(
    location: &Location,
    metadata: Option<&Path>,
    folder: &str,
    entries: Dir,
    found: &mut Inventory,
) -> Result<Vec<String>, Errno> {
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(leaf) = entry.file_name().to_str() else {
            let path = Path::new(folder).join(entry.file_name().to_string_lossy().as_ref());
            found.strangers.push((path, "its name is not UTF-8".into()));
            continue;
        };
        if leaf == "." || leaf == ".." || is_ours(folder, leaf) {
            continue;
        }
        let path = if folder.is_empty() {
            leaf.to_owned()
        } else {
            format!("{folder}/{leaf}")
        };
        if metadata == Some(Path::new(&path)) {
            continue;
        }
        match (
            kind_of(location, &path, entry.file_type())?,
            VolumeName::parse(&path),
        ) {
            (_, Err(error)) => found.strangers.push((path.into(), error.to_string())),
            (FileType::RegularFile, Ok(name)) => found.volumes.push(name),
            (FileType::Directory, Ok(_)) => folders.push(path),
            (_, Ok(_)) => {
                let reason = "neither a regular file nor a folder".to_owned();
                found.strangers.push((path.into(), reason));
            }
        }
    }
    Ok(folders)
}

/// Mosaic's own things and the file system's, at the top.
fn is_ours(folder: &str, leaf: &str) -> bool {
    folder.is_empty() && (leaf.starts_with(".mosaic") || leaf == "lost+found")
}

/// Some file systems leave the type out of the entry.
fn kind_of(location: &Location, path: &str, kind: FileType) -> Result<FileType, Errno> {
    if kind != FileType::Unknown {
        return Ok(kind);
    }
    match statat(location.dir(), path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode)),
        Err(Errno::NOENT) => Ok(FileType::Unknown),
        Err(errno) => Err(errno),
    }
}

fn mount_of(dir: impl std::os::fd::AsFd) -> rustix::io::Result<u64> {
    statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).map(|stat| stat.stx_mnt_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};

    #[test]
    fn regular_files_are_volumes_and_the_rest_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        for folder in [
            "1/12",
            ".mosaic/tmp",
            "lost+found",
            "meta/deep",
            "1/lost+found",
        ] {
            create_dir_all(at.join(folder)).unwrap();
        }
        for file in [
            "a b",
            "größe",
            "1/12/123",
            ".mosaic/lock",
            ".mosaicold",
            "lost+found/#12",
            "meta/x",
            "meta/deep/y",
            "1/lost+found/z",
            "-n",
            "1/-n",
            "new\nline",
        ] {
            write(at.join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("a b", at.join("link")).unwrap();
        std::os::unix::fs::symlink("/etc", at.join("1/etc")).unwrap();
        let location = Location::open(at).unwrap();
        let found = inventory(&location, Some(Path::new("meta"))).unwrap();
        let mut names: Vec<_> = found.volumes.iter().map(VolumeName::stored).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["1/-n", "1/12/123", "1/lost+found/z", "a b", "größe"]
        );
        let mut strangers: Vec<_> = found.strangers.iter().map(|s| s.0.clone()).collect();
        strangers.sort_unstable();
        let expected = ["-n", "1/etc", "link", "new\nline"];
        assert_eq!(strangers, expected.map(PathBuf::from));
    }

    #[test]
    fn folders_may_be_nested_as_deep_as_a_name_can_be() {
        let dir = tempfile::tempdir().unwrap();
        let deep = "d/".repeat(500) + "volume";
        create_dir_all(dir.path().join(&deep).parent().unwrap()).unwrap();
        write(dir.path().join(&deep), "").unwrap();
        let location = Location::open(dir.path()).unwrap();
        let found = inventory(&location, None).unwrap();
        assert_eq!(found.volumes[0].stored(), deep);
    }
}
