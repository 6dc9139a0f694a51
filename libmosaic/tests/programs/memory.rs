// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nothing is read or written that is not there any more, nothing is lost.
//!
//! The address sanitizer watches the programs, and what both they and the library give back to each
//! other: memory of either is freed by one `free`. Into the library memcheck looks as well.

use mosaic_tests::{Output, Site, requires_program, requires_root, requires_time, word};

use crate::common::requires_compilers;
use crate::program::{DONE, How, command, program, run};

/// Of a config file of volumes that are block devices, and of volumes that are folders.
pub const SIZED: &str = "default_fs: ext4\nlayout:\n  fs: meta\n";
pub const TREES: &str = "layout:\n  fs: meta\n";

/// A mosaic of the plain driver, `m`, in a temporary folder, and one that is not right, `broken`.
pub fn plain() -> Site {
    let site = Site::in_folder("plain", "").unwrap();
    let broken = "type: plain\nlocaton: /srv\n";
    site.moctl().config("broken", broken).unwrap();
    site
}

#[test]
fn the_address_sanitizer_finds_nothing() {
    if !requires_compilers() {
        return;
    }
    let site = plain();
    let at = site.mountpoint("at");
    let how = How::WatchedMemory;
    run(site.moctl(), &program("threads", how), &["m", "1"]);
    run(site.moctl(), &program("forks", how), &["m"]);
    let words = ["m", word(&at), word(site.moctl().folder())];
    run(site.moctl(), &program("refusals", how), &words);
}

#[test]
fn root_the_address_sanitizer_finds_nothing_on_real_storage() {
    if !requires_root() || !requires_compilers() || !requires_program("mkfs.xfs") {
        return;
    }
    if !requires_time() {
        return;
    }
    for (fs, driver, more) in [
        ("xfs", "loop", SIZED),
        ("btrfs+full", "btrfs", TREES),
        ("ext4", "plain", TREES),
        ("ext4", "ploop", SIZED),
    ] {
        let site = Site::on(fs, driver, more).unwrap();
        let at = site.mountpoint("at");
        let words = ["m", driver, word(&at), word(site.moctl().folder())];
        run(
            site.moctl(),
            &program("every_function", How::WatchedMemory),
            &words,
        );
        site.assert_idle();
    }
}

#[test]
fn the_address_sanitizer_finds_what_a_program_does_not_free() {
    if !requires_compilers() {
        return;
    }
    let site = plain();
    let leak = program("leak", How::WatchedMemory);
    let output = command(site.moctl(), &[], &leak, &["m"]).output().unwrap();
    let output: Output = output.into();
    assert_ne!(output.status, DONE);
    assert!(
        output.stderr.contains("101 byte(s) leaked in 1 allocation"),
        "{}",
        output.stderr
    );
}
