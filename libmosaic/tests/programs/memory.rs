// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nothing is read or written that is not there any more, nothing is lost.
//!
//! The address sanitizer watches the programs, and what both they and the library give back to each
//! other: memory of either is freed by one `free`. It runs everything. Memcheck looks into the library as
//! well, but its versions before 3.21 know no openat2(2), without which no volume is found: it runs what
//! needs none.

use std::path::Path;

use mosaic_tests::{Output, Site, requires_program, requires_root, requires_time, word};

use crate::common::requires_compilers;
use crate::program::{DONE, How, command, program, run};

const SIZED: &str = "default_fs: ext4\nlayout:\n  fs: meta\n";
const TREES: &str = "layout:\n  fs: meta\n";

fn plain() -> Site {
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

/// Runs a program under memcheck, and gives how it ended and what was found. Children are programs of
/// the system: they are not watched.
fn memcheck(site: &Site, name: &str, words: &[&str]) -> (i32, String) {
    let log = site.moctl().folder().join("memcheck");
    let watcher = [
        "valgrind",
        "--quiet",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite",
        "--show-leak-kinds=definite",
        "--error-exitcode=99",
        "--child-silent-after-fork=yes",
        &format!("--log-file={}", word(&log)),
    ];
    let output = command(site.moctl(), &watcher, &program(name, How::C), words).output();
    let output: Output = output.unwrap().into();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));
    (output.status, without_unknown_calls(&log))
}

/// What memcheck said but for system calls that it does not know, five lines for each.
fn without_unknown_calls(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap();
    // Such a line begins with two hyphens, one about memory with two equals signs.
    let about_memory = text.lines().filter(|line| !line.starts_with("--"));
    about_memory.map(|line| format!("{line}\n")).collect()
}

#[test]
fn memcheck_finds_nothing() {
    if !requires_compilers() || !requires_program("valgrind") || !requires_time() {
        return;
    }
    let site = plain();
    let at = site.mountpoint("at");
    let words = ["m", word(&at), word(site.moctl().folder()), "no-volume"];
    assert_eq!(memcheck(&site, "refusals", &words), (DONE, String::new()));
}

#[test]
fn memcheck_finds_what_a_program_does_not_free() {
    if !requires_compilers() || !requires_program("valgrind") || !requires_time() {
        return;
    }
    let (status, found) = memcheck(&plain(), "leak", &["m"]);
    assert_eq!(status, 99, "{found}");
    assert!(
        found.contains("101 bytes in 1 blocks are definitely lost"),
        "{found}"
    );
}
