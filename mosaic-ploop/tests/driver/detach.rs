// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was written to a device and is not on the disk is told to whoever takes the device away.

use std::fs::File;
use std::os::unix::fs::FileExt;

use mosaic_core::{Driver, ErrorKind};
use mosaic_tests::{MountedFs, requires_program, requires_root};

use super::common::{Disks, MIB, volume};
use super::foreign_disks::raw;

/// Leaves a few MiB of a file system.
fn fill(disks: &Disks) -> std::path::PathBuf {
    let path = disks.file("filler");
    let file = File::create(&path).unwrap();
    let stat = rustix::fs::fstatvfs(&file).unwrap();
    let bytes = stat.f_bavail * stat.f_frsize - 4 * MIB;
    let mode = rustix::fs::FallocateFlags::empty();
    rustix::fs::fallocate(&file, mode, 0, bytes).unwrap();
    path
}

#[test]
fn root_what_did_not_fit_is_told_by_detach_and_not_passed_over() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    for is_raw in [false, true] {
        let location = MountedFs::new("ext4").unwrap();
        let disks = Disks::open(location.path(), &[]);
        match is_raw {
            false => disks.create_disk("a", 64 * MIB).unwrap(),
            true => {
                raw(&disks, "a", &[0; 512]);
                disks.label("a");
                disks.resize("a", 64 * MIB).unwrap();
            }
        }
        let attached = disks.driver.attach(&volume("a"), false).unwrap();
        let device = || {
            let opened = File::options().write(true).open(&attached.device);
            opened.unwrap()
        };
        let filler = fill(&disks);
        // As dd does it: what the kernel could not write is told to nobody, not even by close.
        device().write_all_at(&vec![7; 32 << 20], 8 * MIB).unwrap();
        let told = disks.driver.detach(&volume("a")).unwrap_err();
        let kinds = [ErrorKind::NoSpace, ErrorKind::Io];
        assert!(kinds.contains(&told.kind()), "{}", told.chain());
        assert_eq!(
            disks.find("a").unwrap().attachment.as_ref(),
            Some(&attached)
        );
        std::fs::remove_file(filler).unwrap();
        device().write_all_at(&vec![8; 32 << 20], 8 * MIB).unwrap();
        disks.driver.detach(&volume("a")).unwrap();
        assert!(disks.find("a").unwrap().attachment.is_none());
        assert_eq!(disks.read("a", 8 * MIB, 32 << 20), vec![8; 32 << 20]);
    }
}
