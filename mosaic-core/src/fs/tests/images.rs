// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tools do on an image that has no name, without root.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::*;
use crate::command::fd_path;

fn image(size: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(size).unwrap();
    file
}

fn made(name: &str, size: u64) -> File {
    let file = image(size);
    fs(name).make(&host(), &fd_path(file.as_fd())).unwrap();
    file
}

#[test]
fn every_type_is_made_on_an_image_without_a_name() {
    for (name, size) in TYPES {
        if !has_tools(name) {
            continue;
        }
        let file = made(name, size);
        assert_eq!(fs(name).size(file.as_fd()).unwrap(), Bytes(size), "{name}");
        assert!(
            fs(name)
                .is_grown_to(file.as_fd(), None, Bytes(size))
                .unwrap()
        );
        let path = fd_path(file.as_fd());
        assert_eq!(fs(name).check(&host(), &path, false).unwrap(), None);
        let first = fs(name).uuid(file.as_fd()).unwrap();
        fs(name).make(&host(), &path).unwrap();
        assert_ne!(fs(name).uuid(file.as_fd()).unwrap(), first, "{name}");
    }
}

#[test]
fn a_made_image_stays_sparse() {
    use std::os::unix::fs::MetadataExt;
    // mke2fs writes its journal, 16 MiB, mkfs.xfs its log, 64 MiB.
    for (name, most) in [("ext4", 20 * MIB), ("xfs", 80 * MIB), ("btrfs", 8 * MIB)] {
        if !has_tools(name) {
            continue;
        }
        let file = made(name, 512 * MIB);
        let used = file.metadata().unwrap().blocks() * 512;
        assert!(used < most, "{name}: {used}");
    }
}

#[test]
fn any_other_mkfs_makes_a_file_system_by_its_name() {
    if !has_tools("minix") {
        return;
    }
    let file = made("minix", 10 * MIB);
    let mut magic = [0; 2];
    file.read_exact_at(&mut magic, 1024 + 16).unwrap();
    // 14 or 30 characters in a name (uapi/linux/magic.h).
    let magic = u16::from_le_bytes(magic);
    assert!([0x137f, 0x138f].contains(&magic), "{magic:x}");
}

#[test]
fn the_least_size_is_what_mkfs_takes() {
    for (name, _) in TYPES {
        if !has_tools(name) {
            continue;
        }
        let least = fs(name).min_size().unwrap();
        let file = made(name, least.0);
        assert_eq!(fs(name).size(file.as_fd()).unwrap(), least);
    }
}

#[test]
fn the_least_ext4_is_the_least_with_a_journal() {
    if !has_tools("ext4") {
        return;
    }
    let has_journal = |size| {
        let mut features = [0; 4];
        let file = made("ext4", size);
        file.read_exact_at(&mut features, 1024 + 0x5c).unwrap();
        u32::from_le_bytes(features) & 4 != 0
    };
    let least = fs("ext4").min_size().unwrap().0;
    assert!(has_journal(least));
    assert!(!has_journal(least - 4096));
}

#[test]
fn mkfs_says_why_it_failed() {
    for (name, words) in [
        ("xfs", "mkfs.xfs failed with status 1: "),
        ("btrfs", "mkfs.btrfs failed with status 1: "),
        ("ext4", "mkfs.ext4 failed with status 1: "),
    ] {
        if !has_tools(name) {
            continue;
        }
        let file = image(4096);
        let error = fs(name).make(&host(), &fd_path(file.as_fd())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        let text = error.to_string();
        assert!(
            text.starts_with(words) && text.len() > words.len(),
            "{text}"
        );
        assert!(!text.contains("Usage") && !text.contains('\n'), "{text}");
    }
}

#[test]
fn an_image_of_another_type_is_corrupt_for_each() {
    for (name, size) in TYPES {
        if !has_tools(name) {
            continue;
        }
        let file = made(name, size);
        for (other, _) in TYPES.iter().filter(|(other, _)| *other != name) {
            let error = fs(other).size(file.as_fd()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{other} on {name}");
            let error = fs(other).uuid(file.as_fd()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{other} on {name}");
        }
    }
    let empty = image(0);
    assert!(fs("btrfs").clone_is_clean(empty.as_fd()).is_err());
}

#[test]
fn damage_to_ext4_is_found_and_mended() {
    if !has_tools("ext4") {
        return;
    }
    let file = made("ext4", 64 * MIB);
    let path = fd_path(file.as_fd());
    // The free blocks count of the superblock.
    file.write_all_at(&[1, 0, 0, 0], 1024 + 0xc).unwrap();
    // And the bitmap of inodes.
    let bitmap = first_group(&file, 4) * 1024;
    file.write_all_at(&[0; 64], bitmap).unwrap();
    let said = fs("ext4").check(&host(), &path, false).unwrap().unwrap();
    assert!(said.contains("bitmap"), "{said}");
    assert!(!said.contains('\n') && !said.contains("Pass 1"), "{said}");
    let mended = fs("ext4").check(&host(), &path, true).unwrap();
    assert!(mended.is_some());
    assert_eq!(fs("ext4").check(&host(), &path, false).unwrap(), None);
    assert_eq!(fs("ext4").check(&host(), &path, true).unwrap(), None);
}

/// A field of the first group descriptor: in block 2 where blocks are 1 KiB.
fn first_group(file: &File, at: u64) -> u64 {
    let mut field = [0; 4];
    file.read_exact_at(&mut field, 2048 + at).unwrap();
    u32::from_le_bytes(field).into()
}

#[test]
fn damage_that_needs_a_decision_stops_renewal_and_growth() {
    if !has_tools("ext4") {
        return;
    }
    let file = made("ext4", 64 * MIB);
    let path = fd_path(file.as_fd());
    let table = first_group(&file, 8) * 1024;
    // The root directory: the second of the inodes of 256 bytes.
    file.write_all_at(&[0; 256], table + 256).unwrap();
    let before = fs("ext4").uuid(file.as_fd()).unwrap();
    file.set_len(128 * MIB).unwrap();
    for refused in [
        fs("ext4").renew_uuid(&host(), &path),
        fs("ext4").grow(&host(), &path, None),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.chain());
    }
    assert_eq!(fs("ext4").uuid(file.as_fd()).unwrap(), before);
    assert_eq!(fs("ext4").size(file.as_fd()).unwrap(), Bytes(64 * MIB));
}

#[test]
fn ext4_and_btrfs_get_another_uuid_and_ext4_grows_without_a_device() {
    for name in ["ext4", "btrfs"] {
        if !has_tools(name) {
            continue;
        }
        let file = made(name, 128 * MIB);
        let path = fd_path(file.as_fd());
        let before = fs(name).uuid(file.as_fd()).unwrap();
        fs(name).renew_uuid(&host(), &path).unwrap();
        assert_ne!(fs(name).uuid(file.as_fd()).unwrap(), before);
        assert_eq!(fs(name).check(&host(), &path, false).unwrap(), None);
        if name == "ext4" {
            file.set_len(256 * MIB).unwrap();
            fs(name).grow(&host(), &path, None).unwrap();
            assert_eq!(fs(name).size(file.as_fd()).unwrap(), Bytes(256 * MIB));
            assert_eq!(fs(name).check(&host(), &path, false).unwrap(), None);
        }
    }
}

#[test]
fn one_that_is_larger_than_its_image_is_not_grown() {
    if !has_tools("ext4") {
        return;
    }
    let file = made("ext4", 64 * MIB);
    file.set_len(32 * MIB).unwrap();
    let error = fs("ext4")
        .grow(&host(), &fd_path(file.as_fd()), None)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn damage_to_xfs_is_found() {
    if !has_tools("xfs") {
        return;
    }
    let file = made("xfs", 320 * MIB);
    // The free space header of the first allocation group: its second sector.
    file.write_all_at(&[0xff; 256], 512 + 64).unwrap();
    let path = fd_path(file.as_fd());
    let said = fs("xfs").check(&host(), &path, false).unwrap().unwrap();
    assert!(!said.is_empty() && !said.contains("Phase"), "{said}");
}

#[test]
fn damage_to_btrfs_is_found_and_no_repair_is_tried() {
    if !has_tools("btrfs") {
        return;
    }
    let file = made("btrfs", 512 * MIB);
    // The copies of the metadata are within the first 128 MiB, behind the system chunk.
    let mut root = [0; 8];
    file.read_exact_at(&mut root, 65536 + 0x50).unwrap();
    let mut at = u64::from_le_bytes(root);
    while at < 128 * MIB {
        file.write_all_at(&[0; 16384], at).unwrap();
        at += 16384;
    }
    let path = fd_path(file.as_fd());
    let said = fs("btrfs").check(&host(), &path, false).unwrap().unwrap();
    assert!(!said.is_empty(), "{said}");
    let error = fs("btrfs").check(&host(), &path, true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}
