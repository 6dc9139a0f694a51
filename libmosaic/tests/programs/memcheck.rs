// SPDX-License-Identifier: MIT OR Apache-2.0
//! Valgrind's memcheck finds nothing in the programs, the library and the drivers: nothing is read or
//! written that is not there, nothing that was never written is used or handed to the kernel, nothing is
//! lost.
//!
//! No volume is found without openat2(2), and none is mounted without mount_setattr(2), which versions such
//! as 3.19 and 3.24 do not know: on such a machine a newer one is asked for, and where there is none, only
//! what needs no volume is run.
//!
//! Its other tools, helgrind and drd, say nothing here: they know the locks of pthreads, and take what is
//! ordered by an atomic or a futex for a race, which is all that Rust's library and ours do.

use std::path::Path;
use std::sync::LazyLock;

use mosaic_tests::{
    Output, Site, Valgrind, left_out, requires_program, requires_root, requires_time, word,
};

use crate::common::requires_compilers;
use crate::faults::{give_others, give_panicky};
use crate::memory::{SIZED, TREES, plain};
use crate::program::{DONE, How, command, program};

/// What a program is run under.
struct Memcheck {
    valgrind: Valgrind,
    /// Or why no volume can be found under it.
    finds_volumes: Result<(), String>,
}

/// The best that there is.
static MEMCHECK: LazyLock<Memcheck> = LazyLock::new(|| {
    let here = Valgrind::here();
    if knows_our_calls(&here) {
        return Memcheck {
            valgrind: here,
            finds_volumes: Ok(()),
        };
    }
    let finds_volumes = match Valgrind::newer() {
        Ok(valgrind) if knows_our_calls(&valgrind) => {
            return Memcheck {
                valgrind,
                finds_volumes: Ok(()),
            };
        }
        Ok(_) => Err("a newer Valgrind does not know our system calls either".to_owned()),
        Err(error) => Err(format!("{error:#}").replace('\n', "; ")),
    };
    Memcheck {
        valgrind: here,
        finds_volumes,
    }
});

/// What memcheck says of no fault of ours: 3.27 takes the size of mount_setattr(2)'s structure, the fifth
/// argument, for its place.
const SUPPRESSIONS: &str = "{
  the-size-of-struct-mount_attr
  Memcheck:Param
  mount(attr)
  fun:syscall
  fun:*mount_setattr_private*
}
";

/// Whether it knows the system calls that the library makes, which is asked of it and not of its version.
fn knows_our_calls(valgrind: &Valgrind) -> bool {
    let site = plain();
    let output = memcheck_by(valgrind, &site, "known_calls", &[]);
    output.is_some_and(|(status, _)| status == DONE)
}

/// Runs a program, and gives how it ended and what was found; `None`: there is no such Valgrind. Children
/// are programs of the system: they are not watched.
fn memcheck_by(
    valgrind: &Valgrind,
    site: &Site,
    name: &str,
    words: &[&str],
) -> Option<(i32, String)> {
    let log = site.moctl().folder().join("memcheck");
    let suppressions = site.moctl().folder().join("suppressions");
    std::fs::write(&suppressions, SUPPRESSIONS).unwrap();
    let mut watcher = valgrind.words();
    let options = [
        "--quiet",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite,indirect",
        "--show-leak-kinds=definite,indirect",
        "--error-exitcode=99",
        "--child-silent-after-fork=yes",
    ];
    watcher.extend(options.map(str::to_owned));
    watcher.push(format!("--log-file={}", word(&log)));
    watcher.push(format!("--suppressions={}", word(&suppressions)));
    let watcher: Vec<&str> = watcher.iter().map(String::as_str).collect();
    // Where a program makes files of its own there are none of ours.
    let folder = site.moctl().folder().join("elsewhere");
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = command(site.moctl(), &watcher, &program(name, How::C), words);
    let output: Output = command.current_dir(folder).output().ok()?.into();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));
    Some((output.status, without_unknown_calls(&log)))
}

/// What memcheck said but for system calls that it does not know, five lines for each.
fn without_unknown_calls(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap();
    // Such a line begins with two hyphens, one about memory with two equals signs.
    let about_memory = text.lines().filter(|line| !line.starts_with("--"));
    about_memory.map(|line| format!("{line}\n")).collect()
}

/// Nothing is to be found in a program, which comes to its end.
#[track_caller]
fn assert_clean(site: &Site, name: &str, words: &[&str]) {
    let found = memcheck_by(&MEMCHECK.valgrind, site, name, words).unwrap();
    assert_eq!(found, (DONE, String::new()), "{name}");
}

/// Runs what needs no volume, and says whether what needs some can be run.
#[track_caller]
fn assert_clean_without_volumes(site: &Site, at: &Path) -> bool {
    let words = ["m", word(at), word(site.moctl().folder())];
    match &MEMCHECK.finds_volumes {
        Ok(()) => true,
        Err(why) => {
            assert_clean(site, "refusals", &[&words[..], &["no-volume"]].concat());
            left_out(&format!("what finds a volume: {why}"));
            false
        }
    }
}

fn can_run() -> bool {
    requires_compilers() && requires_program("valgrind") && requires_time()
}

#[test]
fn memcheck_finds_nothing() {
    if !can_run() {
        return;
    }
    let site = plain();
    let at = site.mountpoint("at");
    if !assert_clean_without_volumes(&site, &at) {
        return;
    }
    let words = ["m", word(&at), word(site.moctl().folder())];
    assert_clean(&site, "refusals", &words);
}

#[test]
fn memcheck_finds_nothing_in_threads_and_children() {
    if !can_run() {
        return;
    }
    for (name, words) in [
        ("threads", &["m", "1"][..]),
        ("one_handle", &["m", "1"]),
        ("forks", &["m"]),
        ("habits", &["m"]),
    ] {
        let site = plain();
        if assert_clean_without_volumes(&site, &site.mountpoint("at")) {
            assert_clean(&site, name, words);
        }
    }
}

/// A panic frees what it was carrying.
#[test]
fn memcheck_finds_nothing_in_a_driver_that_panics() {
    if !can_run() {
        return;
    }
    let site = plain();
    let drivers = give_panicky(&site);
    if assert_clean_without_volumes(&site, &site.mountpoint("at")) {
        let words = ["calm", "wild", "late", word(&drivers)];
        assert_clean(&site, "panics", &words);
    }
}

fn clean_on(fs: &str, driver: &str, more: &str) {
    if !requires_root() || !can_run() || !requires_program("mkfs.ext4") {
        return;
    }
    let site = Site::on(fs, driver, more).unwrap();
    let (at, metadata) = (site.mountpoint("at"), site.mountpoint("metadata"));
    if !assert_clean_without_volumes(&site, &at) {
        return;
    }
    let folder = site.moctl().folder();
    let words = ["m", driver, word(&at), word(folder)];
    // It makes the location as well.
    assert_clean(&site, "every_function", &words);
    let log = folder.join("log");
    let words = ["m", word(&at), word(&metadata), word(&log)];
    assert_clean(&site, "historic", &words);
    assert!(site.names().is_empty());
    site.assert_idle();
}

#[test]
fn root_memcheck_finds_nothing_on_loop() {
    clean_on("xfs", "loop", SIZED);
}

#[test]
fn root_memcheck_finds_nothing_on_btrfs() {
    clean_on("btrfs+full", "btrfs", TREES);
}

#[test]
fn root_memcheck_finds_nothing_on_plain() {
    clean_on("ext4", "plain", TREES);
}

#[test]
fn root_memcheck_finds_nothing_on_ploop() {
    clean_on("ext4", "ploop", SIZED);
}

#[test]
fn root_memcheck_finds_nothing_where_calls_are_cancelled() {
    if !requires_root() || !can_run() || !requires_program("mkfs.xfs") {
        return;
    }
    let site = Site::on("xfs", "loop", "default_fs: ext4\n").unwrap();
    if !assert_clean_without_volumes(&site, &site.mountpoint("at")) {
        return;
    }
    let (location, fresh) = give_others(&site);
    let words = ["m", "plain", word(&location), word(&fresh)];
    assert_clean(&site, "callbacks", &words);
    site.assert_idle();
}

#[test]
fn memcheck_finds_what_a_program_does_not_free() {
    if !can_run() {
        return;
    }
    let (status, found) = memcheck_by(&MEMCHECK.valgrind, &plain(), "leak", &["m"]).unwrap();
    assert_eq!(status, 99, "{found}");
    assert!(
        found.contains("101 bytes in 1 blocks are definitely lost"),
        "{found}"
    );
}
