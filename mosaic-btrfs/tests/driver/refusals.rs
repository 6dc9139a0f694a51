// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel refuses, and what is made of that.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use crate::common::changes::mapped;
use crate::common::{MIB, Quotas, Site, open, site, volume};
use mosaic_btrfs::ioctl;
use mosaic_core::{Driver, Error, ErrorKind};
use mosaic_tests::{MountedFs, requires_program, requires_root, run};

type Refused = Vec<(&'static str, Error)>;

/// All that makes something, from the volume `a`.
fn made(site: &Site) -> Refused {
    let labelled = &mapped("user", "1/b");
    let done = [
        ("new", site.new_volume("1/b", 64 * MIB)),
        ("new, labelled", site.new_named(labelled, 64 * MIB)),
        ("clone", site.clone_volume("a", "1/b", None)),
        (
            "clone, labelled",
            site.clone_named(&volume("a"), labelled, None),
        ),
    ];
    let refused = done.map(|(verb, done)| (verb, done.expect_err(verb)));
    refused.into()
}

fn assert_says(verb: &str, error: &Error, kind: ErrorKind, words: &[&str]) {
    let said = error.chain();
    assert_eq!(error.kind(), kind, "{verb}: {said}");
    for word in words {
        assert!(said.contains(word), "{verb}: {said}");
    }
}

#[test]
fn root_a_file_system_that_is_mounted_read_only_is_said_to_be() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    site.new_volume("a", 64 * MIB).unwrap();
    site.new_named(&mapped("user", "x"), 64 * MIB).unwrap();
    let mounted = site.fs.path().to_str().unwrap();
    run("mount", &["-o", "remount,ro", mounted]).unwrap();
    let mut refused = made(&site);
    refused.push(("rename", site.rename("a", "1/b").unwrap_err()));
    refused.push(("resize", site.resize("a", 128 * MIB).unwrap_err()));
    for (verb, error) in refused {
        assert_says(
            verb,
            &error,
            ErrorKind::Permission,
            &["mounted read-only", "ct"],
        );
    }
    run("mount", &["-o", "remount,rw", mounted]).unwrap();
    assert_eq!(site.entries(), ["a", "x"]);
}

#[test]
fn root_a_location_in_a_read_only_subvolume_is_said_to_be() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    let path = site.fs.path().join("sealed");
    ioctl::create(open(site.fs.path()).as_fd(), "sealed", None).unwrap();
    let sealed = Site::over(site.fs, path, |_| {});
    sealed.new_volume("a", 64 * MIB).unwrap();
    sealed.new_named(&mapped("user", "x"), 64 * MIB).unwrap();
    ioctl::set_read_only(sealed.dir(), true).unwrap();
    let mut refused = made(&sealed);
    refused.push(("rename", sealed.rename("a", "1/b").unwrap_err()));
    for (verb, error) in refused {
        let words = ["the subvolume that location", "is read-only"];
        assert_says(verb, &error, ErrorKind::Permission, &words);
    }
    // A limit is no change of that one.
    sealed.resize("a", 128 * MIB).unwrap();
    assert_eq!(sealed.entries(), ["a", "x"]);
}

/// Leaves no room for metadata, and half of that for data.
fn fill_metadata(top: &Path, names: &Path) {
    let file = |number: u32| top.join(format!("data-{number}"));
    let most = (0..10_000).find(|number| {
        let written = fs::write(file(*number), vec![7; 4 << 20]);
        written
            .and_then(|()| open(&file(*number)).sync_all())
            .is_err()
    });
    let most = most.unwrap();
    // Each block group stays in use.
    (0..most)
        .step_by(2)
        .for_each(|number| fs::remove_file(file(number)).unwrap());
    mosaic_btrfs::commit::everything(open(top).as_fd()).unwrap();
    let name = |number: u32| names.join(format!("{number:0240}"));
    let full = (0..1_000_000).find(|number| fs::File::create(name(*number)).is_err());
    assert!(full.is_some());
}

#[test]
fn root_metadata_that_is_full_is_told_from_data() {
    if !requires_root() || !requires_program("mkfs.btrfs") {
        return;
    }
    let fs = MountedFs::with_size("btrfs", 256 * MIB).unwrap();
    let path = fs.path().join("ct");
    fs::create_dir(&path).unwrap();
    let site = Site::over(fs, path, |_| {});
    site.new_volume("a", 64 * MIB).unwrap();
    site.new_volume("names", 64 * MIB).unwrap();
    fill_metadata(site.fs.path(), &site.at("names"));
    for (verb, error) in made(&site) {
        let words = [
            "metadata is full (",
            "are free for data; drop a volume, and btrfs balance start",
        ];
        assert_says(verb, &error, ErrorKind::NoSpace, &words);
    }
    assert_eq!(site.entries(), ["a", "names"]);
    // What is said to help does.
    let said = site.new_volume("1/b", 64 * MIB).unwrap_err().chain();
    let dropped = site.drop_volume("names").unwrap();
    site.driver.await_space(&dropped).unwrap();
    let usage = said.split("-dusage=").nth(1).unwrap().split(' ').next();
    let filter = format!("-dusage={}", usage.unwrap());
    let mounted = site.fs.path().to_str().unwrap();
    run("btrfs", &["-q", "balance", "start", &filter, mounted]).unwrap();
    site.new_volume("1/b", 64 * MIB).unwrap();
    site.clone_volume("a", "1/c", None).unwrap();
}
