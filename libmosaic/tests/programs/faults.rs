// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that do what they should not, and what comes at an awkward time.

use std::path::PathBuf;

use mosaic_tests::workspace::panicky;
use mosaic_tests::{Moctl, Site, requires_program, requires_root, requires_time, word};

use crate::common::{installed, requires_compilers};
use crate::program::{DONE, How, program, run};
use crate::storage::ways;

/// A mosaic of the plain driver, `m`, in a temporary folder.
fn plain() -> Site {
    Site::in_folder("plain", "").unwrap()
}

#[test]
fn what_makes_no_sense_is_refused() {
    if !requires_compilers() {
        return;
    }
    for how in ways() {
        let site = plain();
        let at = site.mountpoint("at");
        let moctl = site.moctl();
        moctl
            .config("broken", "type: plain\nlocaton: /srv\n")
            .unwrap();
        let words = ["m", word(&at), word(moctl.folder())];
        run(moctl, &program("refusals", *how), &words);
        assert_eq!(site.entries(), ["v"]);
    }
}

/// A folder of drivers, with the one that panics.
fn folder_with_panicky(moctl: &Moctl) -> PathBuf {
    let drivers = moctl.make_folder("drivers").unwrap();
    std::fs::copy(panicky(), drivers.join("libmosaic_panicky.so")).unwrap();
    drivers
}

/// The same, with a mosaic at the site for each of its moods.
pub fn give_panicky(site: &Site) -> PathBuf {
    let drivers = folder_with_panicky(site.moctl());
    for mood in ["calm", "wild", "late"] {
        let line = format!("mood: {mood}\n");
        let made = site.moctl().mosaic(mood, "panicky", site.location(), &line);
        made.unwrap();
    }
    drivers
}

/// Beside a mosaic that clones, one of the plain driver, whose location it gives, and one that is not made
/// yet, whose config it gives.
pub fn give_others(site: &Site) -> (PathBuf, PathBuf) {
    let moctl = site.moctl();
    let location = moctl.make_folder("plain").unwrap();
    moctl.mosaic("plain", "plain", &location, "").unwrap();
    let fresh = moctl.folder().join("fresh");
    let fresh = moctl.mosaic("fresh", "plain", &fresh, "").unwrap();
    (location, fresh)
}

#[test]
fn a_driver_that_panics_is_an_error_and_no_line_on_stderr() {
    // The driver is built in a workspace of its own.
    if !requires_compilers() || !requires_time() {
        return;
    }
    let site = plain();
    let moctl = site.moctl();
    let drivers = give_panicky(&site);
    for how in How::ALL {
        let words = ["calm", "wild", "late", word(&drivers)];
        run(moctl, &program("panics", how), &words);
    }
}

#[test]
fn a_handle_goes_by_what_a_failed_drop_or_rename_has_done() {
    if !requires_compilers() || !requires_time() {
        return;
    }
    for how in [How::C, How::WatchedMemory] {
        let site = plain();
        let moctl = site.moctl();
        let drivers = folder_with_panicky(moctl);
        moctl
            .mosaic("behind", "panicky", site.location(), "mood: behind\n")
            .unwrap();
        let words = ["behind", word(site.location()), word(&drivers)];
        run(moctl, &program("behind", how), &words);
        let others = ["a", "b", "kept", "panics", "seen", "unseen", "well"];
        assert_eq!(site.entries(), others);
    }
}

#[test]
fn a_process_and_its_child_use_the_same_handles() {
    if !requires_compilers() {
        return;
    }
    for how in ways() {
        let site = plain();
        run(site.moctl(), &program("forks", *how), &["m"]);
        let mut expected = vec!["parents".to_owned(), "renamed".to_owned()];
        expected.extend((0..10).flat_map(|n| [format!("child-{n}"), format!("parent-{n}")]));
        expected.sort();
        assert_eq!(site.entries(), expected);
    }
}

#[test]
fn root_a_call_is_cancelled_anywhere_and_called_from_anywhere() {
    if !requires_root() || !requires_compilers() || !requires_program("mkfs.xfs") {
        return;
    }
    for how in ways() {
        let cloning = Site::on("xfs", "loop", "default_fs: ext4\n").unwrap();
        let moctl = cloning.moctl();
        let (location, fresh) = give_others(&cloning);
        let words = ["m", "plain", word(&location), word(&fresh)];
        run(moctl, &program("callbacks", *how), &words);
        assert!(cloning.names().is_empty());
        assert!(cloning.leftovers().is_empty(), "{:?}", cloning.leftovers());
        assert_eq!(cloning.entries(), [""; 0]);
        cloning.assert_idle();
        assert!(fresh.with_file_name("fresh").is_dir());
        let left = moctl.json(&["plain", "list"]);
        assert_eq!(left["volumes"][0]["name"], "last");
        assert_eq!(left["volumes"].as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn habits_of_programs_do_no_harm() {
    if !requires_compilers() {
        return;
    }
    for how in ways().iter().chain(&[How::WatchedMemory]) {
        let site = plain();
        let elsewhere = site.mountpoint("elsewhere");
        let program = program("habits", *how);
        let mut command = crate::program::command(site.moctl(), &[], &program, &["m"]);
        let output = command.current_dir(elsewhere).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(DONE), ""), "{how:?}");
        assert_eq!(site.entries(), [""; 0]);
    }
}

/// The environment of a program is not ours: it may have another working folder, closed standard
/// streams, ignored signals.
#[test]
fn standard_streams_may_be_closed() {
    if !requires_compilers() {
        return;
    }
    let site = plain();
    let at = site.mountpoint("at");
    let program = program("refusals", How::C);
    site.moctl()
        .config("broken", "type: plain\nlocaton: /srv\n")
        .unwrap();
    let script = "trap '' CHLD PIPE; \"$@\" <&- >&- 2>&-; echo $?";
    let words = [
        "-c",
        script,
        "sh",
        word(&program),
        "m",
        word(&at),
        word(site.moctl().folder()),
    ];
    let output = crate::program::command(site.moctl(), &[], "/bin/sh".as_ref(), &words);
    let output = { output }.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "42\n");
    assert!(installed().join("lib").is_dir());
}
