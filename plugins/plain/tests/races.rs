// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several processes at one location at one time, and one without privilege.

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Child;

use common::{Directories, helper_task, start_helper, start_helper_as};
use mosaic_core::ErrorKind;
use mosaic_tests::{Scratch, is_quick, requires_root};

#[test]
fn of_four_creates_of_one_name_exactly_one_succeeds() {
    let location = Directories::new();
    let rounds = if is_quick() { 10 } else { 100 };
    for round in 0..rounds {
        let name = format!("v{round}");
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let creates: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| location.create(&name)))
                .collect();
            creates
                .into_iter()
                .map(|create| create.join().unwrap())
                .collect()
        });
        let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        let kinds: Vec<_> = refused.map(|error| error.kind()).collect();
        assert_eq!(kinds, [ErrorKind::Exists; 3], "round {round}");
    }
    assert_eq!(location.names().len(), rounds);
    assert!(location.leftovers().is_empty());
}

#[test]
fn neighbours_in_one_folder_never_fail_each_other() {
    let location = Directories::new().with_depth(3);
    let helpers: Vec<_> = (0..4)
        .map(|number| {
            let task = format!("{number} {}", location.path.display());
            start_helper("helper_that_creates_and_drops", &task)
        })
        .collect();
    assert!(helpers.into_iter().all(succeeds));
    assert!(location.names().is_empty() && location.leftovers().is_empty());
    assert!(!location.at("folder").exists());
}

/// Tests nothing by itself: see the test above.
#[test]
fn helper_that_creates_and_drops() {
    let Some(task) = helper_task() else {
        return;
    };
    let (number, path) = task.split_once(' ').unwrap();
    let location = Directories::open(Path::new(path), 3);
    for round in 0..(if is_quick() { 10 } else { 60 }) {
        let (first, second) = (
            format!("folder/same/a{number}"),
            format!("folder/same/b{number}"),
        );
        location
            .create(&first)
            .unwrap_or_else(|e| panic!("{round}: {}", e.chain()));
        location
            .rename(&first, &second)
            .unwrap_or_else(|e| panic!("{round}: {}", e.chain()));
        assert!(location.find(&second).unwrap().is_some());
        location
            .drop(&second)
            .unwrap_or_else(|e| panic!("{round}: {}", e.chain()));
    }
}

#[test]
fn root_an_ordinary_user_manages_a_location_of_his_own() {
    if !requires_root() {
        return;
    }
    let scratch = Scratch::new("plain-user").unwrap();
    let path = scratch.folder("location").unwrap();
    for folder in [scratch.path(), &path] {
        std::os::unix::fs::chown(folder, Some(USER), Some(USER)).unwrap();
    }
    let task = path.to_str().unwrap();
    assert!(succeeds(start_helper_as(
        USER,
        scratch.path(),
        "helper_without_privilege",
        task
    )));
    // What is root's he sees, and cannot have.
    let location = Directories::open(&path, 1);
    location.create("roots").unwrap();
    assert!(succeeds(start_helper_as(
        USER,
        scratch.path(),
        "helper_beside_a_volume_of_roots",
        task
    )));
    assert_eq!(std::fs::metadata(location.at("roots")).unwrap().uid(), 0);
}

const USER: u32 = 54321;

/// Tests nothing by itself: see the test above.
#[test]
fn helper_without_privilege() {
    let Some(path) = helper_task() else {
        return;
    };
    assert!(!rustix::process::geteuid().is_root());
    let location = Directories::open(Path::new(&path), 1);
    location.create("a").unwrap();
    assert!(location.said.lines()[0].starts_with("size is not enforced"));
    std::fs::create_dir_all(location.at("a/deep/er")).unwrap();
    assert!(location.find("a").unwrap().is_some());
    assert_eq!(location.names(), ["a"]);
    location.rename("a", "b").unwrap();
    location.drop("b").unwrap();
    assert!(location.names().is_empty() && location.leftovers().is_empty());
}

/// Tests nothing by itself: see the test above.
#[test]
fn helper_beside_a_volume_of_roots() {
    let Some(path) = helper_task() else {
        return;
    };
    let location = Directories::open(Path::new(&path), 1);
    let found = location.found("roots");
    assert_eq!(
        found.notes,
        ["cannot open its directory: Permission denied"]
    );
    assert_eq!(location.names(), ["roots"]);
    assert_eq!(
        location.drop("roots").unwrap_err().kind(),
        ErrorKind::Permission
    );
    assert_eq!(
        location.rename("roots", "x").unwrap_err().kind(),
        ErrorKind::Permission
    );
    assert_eq!(location.names(), ["roots"]);
    assert!(location.leftovers().is_empty());
}

fn succeeds(mut helper: Child) -> bool {
    helper.wait().unwrap().success()
}
