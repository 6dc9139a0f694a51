// SPDX-License-Identifier: MIT OR Apache-2.0
//! After success a result survives a power cut: the location's file system is shut down without
//! writing its log (FS_IOC_SHUTDOWN), unmounted and mounted again.

mod common;

use common::{Images, MIB};
use mosaic_core::Driver;
use mosaic_core::volume::Kind;
use mosaic_tests::{MountedFs, is_mountpoint, requires_program, requires_root, run, volume};

/// Cuts the power, and comes back.
fn power_cut(location: &MountedFs, images: Images) -> Images {
    let path = images.path.clone();
    // The driver holds the location open.
    drop(images);
    run("xfs_io", &["-x", "-c", "shutdown", path.to_str().unwrap()]).unwrap();
    location.umount().unwrap();
    assert!(!is_mountpoint(&path));
    location.mount().unwrap();
    Images::open(&path)
}

fn survives(fs: &str) {
    let location = MountedFs::new(fs).unwrap();
    let mut images = Images::open(location.path());
    images.create_disk("disk", 8 * MIB).unwrap();
    images = power_cut(&location, images);
    let disk = images.find("disk").unwrap();
    assert_eq!((disk.kind, disk.size.unwrap().0), (Kind::Disk, 8 * MIB));

    images.create_fs("1/12/fs", "ext4", 16 * MIB).unwrap();
    images = power_cut(&location, images);
    let image = images.image("1/12/fs");
    run("e2fsck", &["-fn", image.to_str().unwrap()]).unwrap();
    assert_eq!(images.find("1/12/fs").unwrap().size.unwrap().0, 16 * MIB);

    images
        .driver
        .rename(&volume("1/12/fs"), &volume("2/renamed"))
        .unwrap();
    images = power_cut(&location, images);
    assert_eq!(images.names(), ["2/renamed", "disk"]);

    images.resize("disk", 32 * MIB).unwrap();
    images = power_cut(&location, images);
    assert_eq!(images.find("disk").unwrap().size.unwrap().0, 32 * MIB);

    if fs == "xfs" {
        images.clone_volume("2/renamed", "3/clone", None).unwrap();
        images = power_cut(&location, images);
        let image = images.image("3/clone");
        run("e2fsck", &["-fn", image.to_str().unwrap()]).unwrap();
        images.drop_volume("3/clone").unwrap();
    }
    images.drop_volume("disk").unwrap();
    images.drop_volume("2/renamed").unwrap();
    images = power_cut(&location, images);
    assert_eq!(images.names(), [""; 0]);
}

#[test]
fn root_every_change_on_ext4_survives_a_power_cut() {
    if requires_root() && requires_program("mkfs.ext4") && requires_program("xfs_io") {
        survives("ext4");
    }
}

#[test]
fn root_every_change_on_xfs_survives_a_power_cut() {
    if requires_root() && requires_program("mkfs.xfs") && requires_program("xfs_io") {
        survives("xfs");
    }
}
