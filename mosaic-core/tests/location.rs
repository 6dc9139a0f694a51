// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders above volumes on a file system where not every directory is a plain folder.

use std::path::Path;

use mosaic_core::{Location, VolumeName};
use mosaic_tests::{MountedFs, requires_program, requires_root, run};
use rustix::fs::{Mode, mkdirat};

fn subvolume(at: &Path) {
    let path = at.to_str().unwrap();
    run("btrfs", &["-q", "subvolume", "create", path]).unwrap();
}

fn mount(at: &Path) {
    std::fs::create_dir(at).unwrap();
    let path = at.to_str().unwrap();
    run("mount", &["-t", "tmpfs", "none", path]).unwrap();
}

#[test]
fn root_an_empty_subvolume_or_mount_above_a_volume_stays() {
    if !requires_root() || !requires_program("mkfs.btrfs") || !requires_program("btrfs") {
        return;
    }
    let mounted = MountedFs::new("btrfs").unwrap();
    let location = Location::open(mounted.path()).unwrap();
    subvolume(&mounted.path().join("subvolume"));
    mount(&mounted.path().join("mount"));
    for folder in ["subvolume", "mount"] {
        let path = mounted.path().join(folder);
        let name = VolumeName::parse(&format!("{folder}/1/v")).unwrap();
        location
            .in_parent(&name, |parent, leaf| mkdirat(parent, leaf, Mode::RWXU))
            .unwrap();
        std::fs::remove_dir(path.join("1/v")).unwrap();
        location.remove_empty_parents(&name);
        assert!(!path.join("1").exists(), "{folder}");
        assert!(path.is_dir(), "{folder}");
    }
}
