// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real file systems on images without a name, and on loop devices (`root_`).

use super::*;

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
    let xfs = FsType::parse("xfs").unwrap();
    let error = xfs.check_size(Bytes(200 << 20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        error.to_string(),
        "200 MiB (209715200 bytes) is too small for xfs, which needs 300 MiB (314572800 bytes)"
    );
    assert!(xfs.check_size(Bytes(300 << 20)).is_ok());
    assert!(FsType::parse("zzz").unwrap().check_size(Bytes(1)).is_ok());
}
