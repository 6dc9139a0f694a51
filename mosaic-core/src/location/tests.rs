// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paths beneath a location: links, folders that come and go, what is listed.

use super::*;

fn location() -> (tempfile::TempDir, Location) {
    let dir = tempfile::tempdir().unwrap();
    let location = Location::open(dir.path()).unwrap();
    (dir, location)
}

#[test]
fn a_link_is_never_followed() {
    let (dir, location) = location();
    std::os::unix::fs::symlink("/etc", dir.path().join("out")).unwrap();
    for name in ["out", "out/passwd"] {
        let name = VolumeName::parse(name).unwrap();
        let error = location.open_volume(&name, OFlags::RDONLY).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists);
    }
}

#[test]
fn parents_come_with_the_first_volume_and_go_with_the_last() {
    let (dir, location) = location();
    let name = VolumeName::parse("1/12/123").unwrap();
    let make = |parent: BorrowedFd<'_>, leaf: &str| fs::mkdirat(parent, leaf, Mode::RWXU);
    location.with_parent(&name, make).unwrap();
    assert!(dir.path().join("1/12/123").is_dir());
    std::fs::create_dir(dir.path().join("1/13")).unwrap();
    std::fs::remove_dir(dir.path().join("1/12/123")).unwrap();
    location.remove_empty_parents(&name);
    assert!(!dir.path().join("1/12").exists());
    assert!(dir.path().join("1/13").is_dir());
}

#[test]
fn a_parent_that_vanishes_is_made_again() {
    let (dir, location) = location();
    let name = VolumeName::parse("1/a").unwrap();
    let mut left = 5;
    location
        .with_parent(&name, |parent, leaf| {
            if left > 0 {
                left -= 1;
                std::fs::remove_dir(dir.path().join("1")).unwrap();
            }
            fs::mkdirat(parent, leaf, Mode::RWXU)
        })
        .unwrap();
    assert!(dir.path().join("1/a").is_dir());
}
