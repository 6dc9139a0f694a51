// SPDX-License-Identifier: MIT OR Apache-2.0
//! What makes a change durable, and at what price.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

use mosaic_btrfs::commit::{everything, folder, generation};
use mosaic_btrfs::ioctl;
use mosaic_tests::{MountedFs, requires_program, requires_root};

fn open(path: impl AsRef<Path>) -> File {
    File::open(path).unwrap()
}

#[test]
fn root_a_changed_name_costs_one_commit() {
    if !requires_root() || !requires_program("mkfs.btrfs") {
        return;
    }
    let fs = MountedFs::new("btrfs").unwrap();
    let at = |name: &str| fs.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    let (top, below) = (open(fs.path()), open(at("folder")));
    everything(top.as_fd()).unwrap();
    let commits = |of: &File, change: &dyn Fn()| {
        let before = generation(top.as_fd()).unwrap();
        change();
        folder(of).unwrap();
        generation(top.as_fd()).unwrap() - before
    };
    let made = commits(&top, &|| ioctl::create(top.as_fd(), "a", None).unwrap());
    let moved = commits(&below, &|| fs::rename(at("a"), at("folder/a")).unwrap());
    let source = open(at("folder/a"));
    let cloned = commits(&top, &|| {
        ioctl::snapshot(top.as_fd(), "b", source.as_fd(), false, None).unwrap();
    });
    let nothing = commits(&top, &|| {});
    // Last, as the kernel's cleaner begins transactions of its own afterwards.
    let gone = commits(&top, &|| ioctl::destroy(top.as_fd(), "b").unwrap());
    assert_eq!((made, moved, cloned, nothing, gone), (1, 1, 1, 0, 1));
}

/// As a neighbour does that drops another volume of it at the same time.
#[test]
fn root_a_folder_that_was_removed_meanwhile_is_waited_for_too() {
    if !requires_root() || !requires_program("mkfs.btrfs") {
        return;
    }
    let fs = MountedFs::new("btrfs").unwrap();
    let at = |name: &str| fs.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    let below = open(at("folder"));
    ioctl::create(below.as_fd(), "v", None).unwrap();
    folder(&below).unwrap();
    let before = generation(below.as_fd()).unwrap();
    ioctl::destroy(below.as_fd(), "v").unwrap();
    fs::remove_dir(at("folder")).unwrap();
    folder(&below).unwrap();
    // The kernel's cleaner may have begun another one.
    assert!(generation(below.as_fd()).unwrap() > before);
    drop(below);
    fs.cut_power().unwrap();
    assert!(!at("folder").exists());
}

#[test]
fn root_a_folder_that_was_made_along_with_a_volume_is_there_with_it() {
    if !requires_root() || !requires_program("mkfs.btrfs") {
        return;
    }
    let fs = MountedFs::new("btrfs").unwrap();
    let at = |name: &str| fs.path().join(name);
    fs::create_dir_all(at("1/2")).unwrap();
    let below = open(at("1/2"));
    ioctl::create(below.as_fd(), "v", None).unwrap();
    folder(&below).unwrap();
    drop(below);
    fs.cut_power().unwrap();
    assert!(at("1/2/v").is_dir());
}
