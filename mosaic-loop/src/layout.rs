// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which files of a location are volumes.
//!
//! Every regular file is one, in folders too, by its path: that is what historic locations hold.

use std::os::fd::BorrowedFd;
use std::path::Path;

use mosaic_core::location::{Depth, Inventory, Layout, Other};
use mosaic_core::{Location, Result};
use rustix::fs::FileType;

struct Files;

impl Layout for Files {
    fn is_volume(&self, _: BorrowedFd<'_>) -> rustix::io::Result<bool> {
        Ok(false)
    }

    fn other(&self, file_type: FileType, _: Depth) -> Other {
        match file_type {
            FileType::RegularFile => Other::Volume,
            _ => Other::Stranger("neither a regular file nor a folder"),
        }
    }
}

/// As [`Location::inventory`].
pub fn inventory(location: &Location, metadata: Option<&Path>) -> Result<Inventory> {
    location.inventory(metadata, &Files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mosaic_core::VolumeName;
    use std::fs::{create_dir_all, write};
    use std::path::PathBuf;

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
