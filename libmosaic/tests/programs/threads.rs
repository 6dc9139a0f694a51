// SPDX-License-Identifier: MIT OR Apache-2.0
//! Eight threads on one handle.

use mosaic_tests::{Site, is_long, is_quick, left_out, requires_program, requires_root};

use crate::common::requires_compilers;
use crate::program::{How, program, run};
use crate::storage::ways;

/// How often each thread does all of it.
fn rounds() -> &'static str {
    if is_quick() {
        left_out("most rounds");
        "2"
    } else if is_long() {
        "200"
    } else {
        "10"
    }
}

#[test]
fn eight_threads_use_one_handle() {
    if !requires_compilers() {
        return;
    }
    for how in ways() {
        let site = Site::in_folder("plain", "").unwrap();
        run(site.moctl(), &program("threads", *how), &["m", rounds()]);
        assert_eq!(site.entries(), [""; 0]);
        assert!(site.leftovers().is_empty());
    }
}

/// What the sanitizer sees is the program and what it shares with the library: handles, texts and
/// structures that go from one thread to another, callbacks, memory that is freed. It does not see into
/// the library, which was not compiled for it: that nothing is written there by two threads at once is
/// for Rust's compiler to prove, but for the blocks that are fenced off.
#[test]
fn the_thread_sanitizer_finds_nothing() {
    if !requires_compilers() {
        return;
    }
    let site = Site::in_folder("plain", "").unwrap();
    let program = program("threads", How::WatchedThreads);
    // Calls of memcpy, read and the like from within the library are not looked at: of its locks, which
    // are futexes, the sanitizer knows nothing. Its memory is placed where it expects it.
    let options = "ignore_noninstrumented_modules=1 halt_on_error=1 exitcode=66";
    let mut command =
        crate::program::command(site.moctl(), &["setarch", "-R"], &program, &["m", rounds()]);
    let output = command.env("TSAN_OPTIONS", options).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(42), ""));
}

/// The test above would pass as well with a sanitizer that finds nothing ever.
#[test]
fn the_thread_sanitizer_finds_a_race() {
    if !requires_compilers() {
        return;
    }
    let site = Site::in_folder("plain", "").unwrap();
    let program = program("race", How::WatchedThreads);
    let mut command = crate::program::command(site.moctl(), &["setarch", "-R"], &program, &["m"]);
    let output = command
        .env(
            "TSAN_OPTIONS",
            "ignore_noninstrumented_modules=1 exitcode=66",
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(66), "{said}");
    assert!(said.contains("data race"), "{said}");
}

#[test]
fn one_handle_is_looked_at_and_dropped_beside_renames() {
    if !requires_compilers() {
        return;
    }
    for how in [How::C, How::WatchedMemory] {
        let site = Site::in_folder("plain", "").unwrap();
        run(site.moctl(), &program("one_handle", how), &["m", rounds()]);
        assert_eq!(site.entries(), [""; 0]);
    }
}

#[test]
fn a_handle_touches_nothing_that_has_its_name_after_a_drop() {
    if !requires_compilers() {
        return;
    }
    let mut ways = &[How::C, How::WatchedMemory][..];
    if is_quick() {
        left_out("the same with watched memory");
        ways = &ways[..1];
    }
    for how in ways {
        let site = Site::in_folder("plain", "").unwrap();
        let location = site.location().to_str().unwrap();
        run(site.moctl(), &program("one_name", *how), &["m", location]);
        assert_eq!(site.entries(), [""; 0]);
    }
}

#[test]
fn root_all_threads_are_given_the_one_device_of_a_handle() {
    if !requires_root() || !requires_compilers() || !requires_program("mkfs.ext4") {
        return;
    }
    let site = Site::on("ext4", "loop", "").unwrap();
    let words = ["m", "1", "device"];
    run(site.moctl(), &program("one_handle", How::C), &words);
    assert_eq!(site.entries(), [""; 0]);
    site.assert_idle();
}
