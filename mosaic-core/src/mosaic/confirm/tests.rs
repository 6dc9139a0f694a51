// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks that differ, beside locks that others hold.

use std::cell::RefCell;

use super::*;
use crate::host_services::Silent;
use crate::lock::Hold;

/// A location whose lock file is there.
struct Ground {
    _dir: tempfile::TempDir,
    location: Location,
    other: LockFile,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::open(dir.path()).unwrap();
        let other = LockFile::open(&location).unwrap();
        Self {
            _dir: dir,
            location,
            other,
        }
    }

    /// Somebody is at work on that.
    fn lock(&self, subject: &Subject) {
        assert!(self.other.try_lock(subject, Hold::Exclusive).unwrap());
    }

    /// What is known where the looks, the first without locks, find these; and how many there were.
    fn looks(&self, looks: &[&[&str]]) -> (Known, usize) {
        let waiting = Waiting {
            timeout: Duration::ZERO,
            services: &Silent,
        };
        let rest = RefCell::new(looks[1..].iter());
        let known = confirm(&self.location, &waiting, findings(looks[0]), || {
            Ok(findings(rest.borrow_mut().next().expect("a look too many")))
        });
        let left = rest.into_inner().len();
        (known.unwrap(), looks.len() - left)
    }
}

/// A fault of each; "" is the location.
fn findings(volumes: &[&str]) -> Vec<Finding> {
    let finding = |volume: &&str| Finding {
        volume: (!volume.is_empty()).then(|| (*volume).to_owned()),
        fault: "fault".to_owned(),
        remedy: None,
        repaired: false,
    };
    volumes.iter().map(finding).collect()
}

fn names(findings: &[Finding]) -> Vec<&str> {
    let volumes = findings.iter().map(|finding| finding.volume.as_deref());
    volumes.map(Option::unwrap_or_default).collect()
}

/// Volumes that may be at fault, each with the reason for not knowing.
fn doubts(known: &Known) -> Vec<(&str, String)> {
    let doubts = known.unsure.iter().map(|(finding, error)| {
        assert_eq!(error.kind(), ErrorKind::Busy);
        (finding.volume.as_deref().unwrap(), error.chain())
    });
    doubts.collect()
}

#[test]
fn a_look_that_finds_no_volume_at_fault_is_the_only_one() {
    let ground = Ground::new();
    ground.lock(&Subject::mosaic());
    for first in [&[][..], &[""]] {
        let (known, looks) = ground.looks(&[first]);
        assert_eq!((names(&known.sure), looks), (first.to_vec(), 1));
        assert!(known.unsure.is_empty());
    }
}

#[test]
fn the_second_look_counts() {
    let ground = Ground::new();
    let (known, looks) = ground.looks(&[&["a", "b"], &["", "b"]]);
    assert_eq!((names(&known.sure), looks), (vec!["", "b"], 2));
    assert!(known.unsure.is_empty());
}

#[test]
fn a_fault_that_only_the_second_look_finds_is_looked_at_once_more() {
    let ground = Ground::new();
    let (known, looks) = ground.looks(&[&["a"], &["a", "b"], &["b"]]);
    assert_eq!((names(&known.sure), looks), (vec!["b"], 3));
    assert!(known.unsure.is_empty());
    let (known, looks) = ground.looks(&[&["a"], &["b"], &[]]);
    assert_eq!((names(&known.sure), looks), (vec![], 3));
    assert!(known.unsure.is_empty());
}

#[test]
fn what_always_another_look_finds_is_not_dropped() {
    let ground = Ground::new();
    let (known, looks) = ground.looks(&[&["a"], &["a", "b"], &["a", "b", "c"]]);
    assert_eq!((names(&known.sure), looks), (vec!["a", "b"], 3));
    let [(volume, why)] = &doubts(&known)[..] else {
        panic!("{known:?}");
    };
    assert_eq!(*volume, "c");
    assert!(why.contains("was changed while"), "{why}");
}

#[test]
fn a_volume_that_others_are_at_work_on_is_in_doubt() {
    let ground = Ground::new();
    ground.lock(&Subject::name("a"));
    let (known, looks) = ground.looks(&[&["", "a", "b"], &["", "a", "b"]]);
    assert_eq!((names(&known.sure), looks), (vec!["", "b"], 2));
    let [(volume, why)] = &doubts(&known)[..] else {
        panic!("{known:?}");
    };
    assert_eq!(*volume, "a");
    assert!(why.starts_with("volume \"a\" is locked"), "{why}");
    // It is well again, whoever works on it.
    let (known, _) = ground.looks(&[&["a"], &[]]);
    assert!(known.sure.is_empty() && known.unsure.is_empty());
}

#[test]
fn all_volumes_are_in_doubt_beside_a_repair() {
    let ground = Ground::new();
    ground.lock(&Subject::mosaic());
    let (known, looks) = ground.looks(&[&["", "a", "b"]]);
    assert_eq!((names(&known.sure), looks), (vec![""], 1));
    let doubts = doubts(&known);
    assert_eq!(doubts.iter().map(|it| it.0).collect::<Vec<_>>(), ["a", "b"]);
    assert!(
        doubts.iter().all(|it| it.1.starts_with("the mosaic")),
        "{doubts:?}"
    );
}

#[test]
fn where_it_cannot_be_looked_again_the_look_before_stands() {
    let ground = Ground::new();
    ground.lock(&Subject::name("b"));
    let waiting = Waiting {
        timeout: Duration::ZERO,
        services: &Silent,
    };
    let confirm = |kind| {
        confirm(&ground.location, &waiting, findings(&["a", "b"]), || {
            Err(Error::new(kind, "no"))
        })
    };
    let known = confirm(ErrorKind::Io).unwrap();
    assert_eq!(names(&known.sure), ["a"]);
    assert_eq!(doubts(&known)[0].0, "b");
    let error = confirm(ErrorKind::Interrupted).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
}

#[test]
fn what_nobody_ever_locked_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let location = Location::open(dir.path()).unwrap();
    let waiting = Waiting {
        timeout: Duration::ZERO,
        services: &Silent,
    };
    let known = confirm(&location, &waiting, findings(&["a"]), || panic!("a look"));
    assert_eq!(names(&known.unwrap().sure), ["a"]);
}
