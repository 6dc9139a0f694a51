// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real file systems: on images without a name, and (`root_`) on loop devices and mounted.

mod images;
mod renewal;
mod sizes;
mod volume;

use std::sync::Arc;

use mosaic_tests::{requires_program, requires_root, requires_time};

use super::*;
use crate::host_services::Silent;

const MIB: u64 = 1 << 20;
/// The known types, each with a size in bytes that is good for a test.
const TYPES: [(&str, u64); 3] = [("ext4", 64 * MIB), ("xfs", 320 * MIB), ("btrfs", 512 * MIB)];

fn host() -> Host {
    Host::new(Arc::new(Silent))
}

fn fs(name: &str) -> FsType {
    FsType::parse(name).unwrap()
}

/// Whether a test with this type can run here.
fn has_tools(name: &str) -> bool {
    requires_program(&format!("mkfs.{name}"))
}

/// The same for a test that needs to mount.
fn can_mount(name: &str) -> bool {
    requires_root() && has_tools(name)
}

#[test]
fn a_type_is_letters_and_digits() {
    for good in ["ext4", "xfs", "btrfs", "f2fs", "x"] {
        assert_eq!(FsType::parse(good).unwrap().name(), good);
    }
    let long = "x".repeat(33);
    for bad in [
        "", ".", "..", "a/b", "EXT4", "ext4 ", "-f", "ext4\n", "ä", &long,
    ] {
        let error = FsType::parse(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad:?}");
    }
}

#[test]
fn too_small_is_refused_with_both_numbers() {
    let error = fs("xfs").check_size(Bytes(200 * MIB)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        error.to_string(),
        "200 MiB (209715200 bytes) is too small for xfs, which needs 300 MiB (314572800 bytes)"
    );
    assert!(fs("xfs").check_size(Bytes(300 * MIB)).is_ok());
    assert!(fs("zzz").check_size(Bytes(1)).is_ok());
}

#[test]
fn a_size_that_a_type_is_not_grown_to_is_refused_with_both_numbers() {
    let error = fs("btrfs").check_growth(Bytes(200 * MIB)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        error.to_string(),
        "btrfs cannot be grown to 200 MiB, only to 256 MiB or more"
    );
    assert!(fs("btrfs").check_growth(Bytes(256 * MIB)).is_ok());
    assert!(fs("ext4").check_growth(Bytes(MIB)).is_ok());
}

#[test]
fn a_type_without_mkfs_is_unsupported() {
    let error = fs("nonesuch").check_available().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.to_string(), "mkfs.nonesuch is not installed");
    let error = fs("nonesuch")
        .make(&host(), Path::new("/dev/null"))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn nothing_more_than_mkfs_is_done_with_other_types() {
    let minix = fs("minix");
    let path = Path::new("/dev/null");
    let null = open(path).unwrap();
    assert!(minix.can_renew_uuid().is_err() && !minix.renewal_needs_device());
    assert!(minix.clone_is_clean(null.as_fd()).unwrap());
    assert!(minix.can_grow().is_err() && minix.can_shrink().is_err());
    for refused in [
        minix.renew_uuid(&host(), path),
        minix.grow(&host(), path, None),
        minix.shrink(&host(), path, Bytes(MIB)),
        minix.check(&host(), path, false).map(drop),
        minix.uuid(null.as_fd()).map(drop),
        minix.size(null.as_fd()).map(drop),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
