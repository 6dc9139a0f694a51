// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which folders of a location are volumes.
//!
//! Every folder with a descriptor is one, at any depth, by its path: that is how OpenVZ keeps them
//! (`101/root.hdd`) and what historic locations hold. Nothing within one is looked at.

use std::os::fd::BorrowedFd;
use std::path::Path;

use mosaic_core::location::{Depth, Inventory, Layout, Other};
use mosaic_core::{Location, Result};
use rustix::fs::FileType;

use crate::volume_dir::is_volume;

struct Folders;

impl Layout for Folders {
    fn is_volume(&self, folder: BorrowedFd<'_>) -> rustix::io::Result<bool> {
        is_volume(folder)
    }

    fn other(&self, _: FileType, depth: Depth) -> Other {
        match depth {
            Depth::Top => Other::Stranger("not a folder"),
            // Files of whoever keeps volumes in folders, such as a container's config.
            Depth::Deeper => Other::Theirs,
        }
    }
}

/// As [`Location::inventory`].
pub fn inventory(location: &Location, metadata: Option<&Path>) -> Result<Inventory> {
    location.inventory(metadata, &Folders)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mosaic_core::VolumeName;
    use std::fs::{create_dir_all, write};
    use std::path::PathBuf;

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
