// SPDX-License-Identifier: MIT OR Apache-2.0
//! Space by class, beside `btrfs filesystem usage`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use mosaic_btrfs::Btrfs;
use mosaic_core::host_services::Silent;
use mosaic_core::volume::Space;
use mosaic_core::{Driver, Host, Settings};
use mosaic_tests::{LoopFile, requires_program, requires_root, run, stdout_of};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

const MIB: u64 = crate::common::MIB;

/// A file system on some loop devices.
struct Fs {
    at: PathBuf,
    devices: Vec<LoopFile>,
}

impl Fs {
    /// `None`: it cannot be made here, which was said.
    fn new(mkfs: &[&str], sizes: &[u64]) -> Option<Self> {
        if !requires_root() || !requires_program("mkfs.btrfs") || !requires_program("btrfs") {
            return None;
        }
        let devices: Vec<LoopFile> = sizes.iter().map(|s| LoopFile::new(*s).unwrap()).collect();
        let paths: Vec<&str> = devices
            .iter()
            .map(|d| d.device().to_str().unwrap())
            .collect();
        let words = [&["-q", "-K"], mkfs, &paths].concat();
        run("mkfs.btrfs", &words).unwrap();
        let at = devices[0].folder().join("at");
        fs::create_dir(&at).unwrap();
        let named: Vec<String> = paths.iter().map(|path| format!("device={path}")).collect();
        let words = [
            "-t",
            "btrfs",
            "-o",
            &named.join(","),
            paths[0],
            at.to_str().unwrap(),
        ];
        run("mount", &words).unwrap();
        Some(Self { at, devices })
    }

    fn space(&self) -> HashMap<String, Space> {
        let host = Host::new(std::sync::Arc::new(Silent));
        let driver = Btrfs::open(host, &Settings::new(&self.at)).unwrap();
        let classes = driver.space().unwrap();
        classes
            .into_iter()
            .map(|space| (space.class.clone(), space))
            .collect()
    }
}

impl Drop for Fs {
    fn drop(&mut self) {
        let _ = run("umount", &[&self.at]);
        for device in &self.devices {
            let path = device.device().to_str().unwrap();
            let _ = run("btrfs", &["device", "scan", "--forget", path]);
        }
    }
}

/// The first number after a word that `btrfs filesystem usage -b` begins a line or a part with.
fn usage(at: &Path) -> impl Fn(&str, &str) -> u64 {
    let text = stdout_of(
        "btrfs",
        &["filesystem", "usage", "-b", at.to_str().unwrap()],
    )
    .unwrap();
    move |line: &str, word: &str| {
        let found = text.lines().find(|l| l.trim_start().starts_with(line));
        let found = found.unwrap_or_else(|| panic!("no {line} in {text}"));
        let at = found.find(word).unwrap() + word.len();
        let digits = found[at..].trim_start_matches([':', '\t', ' ']);
        let end = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        digits[..end].parse().unwrap()
    }
}

/// Holds both classes against what `btrfs` says. That takes the first MiB of each device for free,
/// unless not much is.
fn compare(fs: &Fs, copies: [u64; 2]) {
    run("btrfs", &["filesystem", "sync", fs.at.to_str().unwrap()]).unwrap();
    let (space, said) = (fs.space(), usage(&fs.at));
    let near = |ours: u64, theirs: u64, what: &str| {
        let off = ours.abs_diff(theirs);
        assert!(
            off <= fs.devices.len() as u64 * MIB,
            "{what}: {ours}, {theirs}"
        );
    };
    let unallocated = said("Device unallocated", "Device unallocated");
    for (class, line, copies) in [
        ("data", "Data,", copies[0]),
        ("metadata", "Metadata,", copies[1]),
    ] {
        let space = &space[class];
        let (size, used) = (said(line, "Size"), said(line, "Used"));
        assert_eq!(space.used.0, used, "{class}");
        near(space.total.0, size + unallocated / copies, class);
    }
    let estimated = said("Free (estimated)", "Free (estimated)");
    near(space["data"].free.0, estimated, "free");
    let reserve = said("Global reserve", "Global reserve") - said("Global reserve", "used");
    let metadata = &space["metadata"];
    let free = (metadata.total.0 - metadata.used.0).saturating_sub(reserve);
    assert_eq!(metadata.free.0, free);
}

#[test]
fn root_copies_of_metadata_are_counted_once() {
    for (profile, copies) in [("single", 1), ("dup", 2)] {
        let Some(fs) = Fs::new(&["-m", profile], &[1 << 30]) else {
            return;
        };
        fs::write(fs.at.join("file"), vec![1; 20 << 20]).unwrap();
        compare(&fs, [1, copies]);
    }
}

#[test]
fn root_copies_on_two_devices_are_counted_once() {
    let Some(fs) = Fs::new(&["-m", "raid1", "-d", "raid1"], &[1 << 30, 1 << 30]) else {
        return;
    };
    fs::write(fs.at.join("file"), vec![1; 20 << 20]).unwrap();
    compare(&fs, [2, 2]);
    drop(fs);
    // The larger device has nowhere to put its second copies.
    let fs = Fs::new(&["-m", "raid1", "-d", "raid1"], &[1 << 30, 3 << 30]).unwrap();
    let data = fs.space()["data"].clone();
    assert!(data.total.0 < 1 << 30, "{data:?}");
}

/// Data that takes all devices leaves metadata with what it has.
#[test]
fn root_metadata_without_room_shows() {
    let Some(fs) = Fs::new(&[], &[512 * MIB]) else {
        return;
    };
    let before = fs.space();
    assert!(before["metadata"].free.0 > 150 * MIB, "{before:?}");
    let mut number = 0;
    loop {
        let file = File::create(fs.at.join(format!("f{number}"))).unwrap();
        match fallocate(&file, FallocateFlags::empty(), 0, 8 * MIB) {
            Ok(()) => number += 1,
            Err(Errno::NOSPC) => break,
            Err(error) => panic!("{error}"),
        }
    }
    compare(&fs, [1, 2]);
    let after = fs.space();
    assert!(after["data"].free.0 < 16 * MIB, "{after:?}");
    assert!(after["metadata"].free.0 < 60 * MIB, "{after:?}");
}

#[test]
fn root_mixed_block_groups_are_one_class() {
    let Some(fs) = Fs::new(&["--mixed"], &[256 * MIB]) else {
        return;
    };
    fs::write(fs.at.join("file"), vec![1; 20 << 20]).unwrap();
    run("btrfs", &["filesystem", "sync", fs.at.to_str().unwrap()]).unwrap();
    let (space, said) = (fs.space(), usage(&fs.at));
    assert_eq!(space.len(), 1);
    assert_eq!(space["data"].used.0, said("Data+Metadata,", "Used"));
    let size = said("Data+Metadata,", "Size") + said("Device unallocated", "Device unallocated");
    let off = space["data"].total.0.abs_diff(size);
    assert!(off <= MIB, "{space:?}, {size}");
}
