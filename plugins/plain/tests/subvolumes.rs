// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes on btrfs in which a tenant has made subvolumes.

mod common;

use std::path::Path;

use common::Directories;
use mosaic_tests::{MountedFs, requires_program, requires_root, run, stdout_of};
use rustix::io::Errno;

fn btrfs(arguments: &[&str], path: &Path) {
    run("btrfs", &[arguments, &[path.to_str().unwrap()]].concat()).unwrap();
}

#[test]
fn root_a_volume_goes_with_the_subvolumes_that_are_in_it() {
    if !requires_root() || !requires_program("mkfs.btrfs") || !requires_program("btrfs") {
        return;
    }
    let mounted = MountedFs::new("btrfs").unwrap();
    let location = Directories::open(mounted.path(), 1);
    location.create("a").unwrap();
    for layer in ["a/layer", "a/layer/inner"] {
        btrfs(&["-q", "subvolume", "create"], &location.at(layer));
        std::fs::write(location.at(layer).join("file"), "x").unwrap();
    }
    let read_only = location.at("a/layer");
    let set = ["property", "set", "-ts", read_only.to_str().unwrap(), "ro"];
    run("btrfs", &[&set[..], &["true"]].concat()).unwrap();
    location.drop("a").unwrap();
    let list = stdout_of(
        "btrfs",
        &["subvolume", "list", mounted.path().to_str().unwrap()],
    );
    assert_eq!(list.unwrap(), "");
}

#[test]
fn root_a_read_only_subvolume_in_a_volumes_place_stays_as_it_is() {
    if !requires_root() || !requires_program("mkfs.btrfs") || !requires_program("btrfs") {
        return;
    }
    let mounted = MountedFs::new("btrfs").unwrap();
    let location = Directories::open(mounted.path(), 1);
    let at = location.at("s");
    btrfs(&["-q", "subvolume", "create"], &at);
    std::fs::write(at.join("file"), "x").unwrap();
    run(
        "btrfs",
        &["property", "set", "-ts", at.to_str().unwrap(), "ro", "true"],
    )
    .unwrap();
    let error = location.drop("s").unwrap_err();
    let read_only = Errno::ROFS.raw_os_error();
    assert_eq!(error.errno(), Some(read_only), "{}", error.chain());
    assert!(at.join("file").exists());
}
