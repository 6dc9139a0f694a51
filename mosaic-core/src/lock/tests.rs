// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ranges of real lock files.

use super::*;
use crate::host_services::Silent;

fn two() -> (tempfile::TempDir, LockFile, LockFile) {
    let dir = tempfile::tempdir().unwrap();
    let location = Location::open(dir.path()).unwrap();
    let (one, other) = (LockFile::open(&location), LockFile::open(&location));
    (dir, one.unwrap(), other.unwrap())
}

#[test]
fn the_byte_of_a_name_never_changes() {
    assert_eq!(
        name_byte("a"),
        1 + (0xaf63_dc4c_8601_ec8c_u64 % (u64::MAX / 2)) as i64
    );
    assert!(name_byte("") > 0);
}

#[test]
fn a_name_is_exclusive_beside_a_shared_mosaic() {
    let (_dir, one, other) = two();
    let wanted = |name: &str| {
        [
            (Subject::name(name), Hold::Exclusive),
            (Subject::mosaic(), Hold::Shared),
        ]
    };
    one.lock(&wanted("a"), Duration::ZERO, &Silent).unwrap();
    other.lock(&wanted("b"), Duration::ZERO, &Silent).unwrap();
    let error = other
        .lock(&wanted("a"), Duration::ZERO, &Silent)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(
        error.to_string().starts_with("volume \"a\" is locked"),
        "{error}"
    );
}

#[test]
fn a_failed_lock_holds_nothing_and_a_closed_descriptor_neither() {
    let (_dir, one, other) = two();
    one.lock(
        &[(Subject::name("a"), Hold::Exclusive)],
        Duration::ZERO,
        &Silent,
    )
    .unwrap();
    let both = [
        (Subject::mosaic(), Hold::Exclusive),
        (Subject::name("a"), Hold::Shared),
    ];
    assert!(other.lock(&both, Duration::ZERO, &Silent).is_err());
    assert!(one.try_lock(&Subject::mosaic(), Hold::Exclusive).unwrap());
    drop(one);
    // A child that another test starts has the descriptor, too, until it runs its program.
    other.lock(&both, Duration::from_secs(60), &Silent).unwrap();
}

#[test]
fn waiting_ends_when_the_holder_lets_go() {
    let (_dir, one, other) = two();
    let name = Subject::name("a");
    assert!(one.try_lock(&name, Hold::Exclusive).unwrap());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            other.lock(
                &[(Subject::name("a"), Hold::Exclusive)],
                Duration::from_secs(60),
                &Silent,
            )
        });
        one.unlock(&name);
        waiter.join().unwrap().unwrap();
    });
}

#[test]
fn what_is_free_is_shared_and_the_rest_has_a_reason() {
    let (_dir, one, other) = two();
    let subjects = ["a", "b", "c"].map(Subject::name);
    assert!(one.try_lock(&subjects[1], Hold::Exclusive).unwrap());
    assert!(one.try_lock(&subjects[2], Hold::Shared).unwrap());
    let refused = other.share_free(&subjects, Duration::ZERO, &Silent);
    let refused = refused.unwrap();
    let places: Vec<_> = refused.keys().copied().collect();
    assert_eq!(places, [1]);
    let words = refused[&1].to_string();
    assert!(words.starts_with("volume \"b\" is locked"), "{words}");
    for taken in [&subjects[0], &subjects[2]] {
        assert!(!one.try_lock(taken, Hold::Exclusive).unwrap(), "{taken:?}");
    }
}

#[test]
fn any_time_can_be_waited_for_a_lock() {
    let (_dir, one, _) = two();
    let name = [(Subject::name("a"), Hold::Exclusive)];
    one.lock(&name, Duration::MAX, &Silent).unwrap();
}

#[test]
fn readers_exclude_each_other_and_writers() {
    let (dir, writer, _) = two();
    let location = Location::open(dir.path()).unwrap();
    let reader = || LockFile::open_to_look(&location).unwrap().unwrap();
    let (name, other) = (Subject::name("a"), Subject::name("b"));
    let takes = |locks: &LockFile, what| locks.try_lock(what, Hold::Exclusive).unwrap();

    assert!(takes(&writer, &name));
    let first = reader();
    assert!(!takes(&first, &name), "a writer has it");
    writer.unlock(&name);
    assert!(takes(&first, &name) && takes(&first, &other));
    assert!(!takes(&reader(), &name), "a reader has it");
    assert!(!takes(&writer, &name), "a reader has it");
    drop(first);
    assert!(takes(&reader(), &name));
}

#[test]
fn a_link_in_place_of_the_lock_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let location = Location::open(dir.path()).unwrap();
    std::fs::create_dir(dir.path().join(".mosaic")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join(".mosaic/lock")).unwrap();
    assert!(LockFile::open(&location).is_err());
}

#[test]
fn root_what_a_killed_root_left_to_itself_becomes_the_owners() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !mosaic_tests::requires_root() {
        return;
    }
    const OWNER: u32 = 54321;
    let uid = |path: &std::path::Path| std::fs::metadata(path).unwrap().uid();
    for (stranger, expected) in [(None, OWNER), (Some("secret"), 0)] {
        let dir = tempfile::tempdir().unwrap();
        chown(dir.path(), Some(OWNER), Some(OWNER)).unwrap();
        let private = dir.path().join(".mosaic");
        std::fs::create_dir_all(private.join("tmp")).unwrap();
        std::fs::write(private.join("lock"), "").unwrap();
        if let Some(name) = stranger {
            std::fs::write(private.join(name), "").unwrap();
        }
        let location = Location::open(dir.path()).unwrap();
        LockFile::open(&location).unwrap();
        location.private_folder(Place::Tmp).unwrap();
        assert_eq!(uid(&private), expected, "{stranger:?}");
        assert_eq!(uid(&private.join("tmp")), OWNER);
        assert_eq!(uid(&private.join("lock")), OWNER);
    }
}
