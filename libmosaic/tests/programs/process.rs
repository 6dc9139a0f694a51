// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a process has from whoever started it, or has given up: its rights, its limits.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mosaic_tests::{Output, Site, requires_program, requires_root};

use crate::common::requires_compilers;
use crate::program::{DONE, How, command, program, run};

/// Another user than root.
const NOBODY: u32 = 65534;

/// A mosaic of the plain driver that is another user's, and the drivers that this user can read.
fn of_nobody() -> (Site, PathBuf) {
    let site = Site::of_user(NOBODY, "plain", "").unwrap();
    let moctl = site.command::<&str>(&[]);
    let drivers = Path::new(moctl.get_program()).parent().unwrap().to_owned();
    (site, drivers)
}

/// Runs a program with all paths in its environment.
#[track_caller]
fn run_in_places(site: &Site, drivers: &Path, program: &Path, words: &[&str]) {
    let mut command = command(site.moctl(), &[], program, words);
    let output = command.env("MOSAIC_DRIVER_PATH", drivers).output();
    let output = Output::from(output.expect("it was built and can be started"));
    assert_eq!((output.status, &*output.stderr), (DONE, ""), "{words:?}");
}

#[test]
fn root_a_program_that_gave_up_root_opens_the_mosaic_that_it_is_told() {
    if !requires_root() || !requires_compilers() {
        return;
    }
    for how in [How::C, How::Archive] {
        let (site, drivers) = of_nobody();
        run_in_places(&site, &drivers, &program("rights", how), &["fewer", "m"]);
        assert_eq!(site.entries(), [""; 0]);
    }
}

#[test]
fn root_a_program_with_more_rights_than_its_caller_says_which_paths_it_ignores() {
    if !requires_root() || !requires_compilers() {
        return;
    }
    let (site, drivers) = of_nobody();
    // With the archive in it it needs no LD_LIBRARY_PATH, which is not believed either.
    let lent = site.moctl().folder().join("rights");
    std::fs::copy(program("rights", How::Archive), &lent).unwrap();
    std::os::unix::fs::chown(&lent, Some(NOBODY), None).unwrap();
    std::fs::set_permissions(&lent, PermissionsExt::from_mode(0o4755)).unwrap();
    let name = format!("no-such-mosaic-{}", std::process::id());
    site.moctl()
        .mosaic(&name, "plain", site.location(), "")
        .unwrap();
    run_in_places(&site, &drivers, &lent, &["more", &name]);
}

#[test]
fn root_a_largest_size_of_files_ends_a_call_and_no_program() {
    if !requires_root() || !requires_compilers() || !requires_program("mkfs.ext4") {
        return;
    }
    for (driver, fs) in [("loop", "xfs"), ("ploop", "ext4")] {
        for signal in ["default", "handled", "blocked"] {
            let site = Site::on(fs, driver, "default_fs: ext4\n").unwrap();
            run(site.moctl(), &program("limits", How::C), &[signal, "m"]);
            assert_eq!(site.entries(), [""; 0]);
            assert!(site.leftovers().is_empty(), "{:?}", site.leftovers());
            site.assert_idle();
        }
    }
}
