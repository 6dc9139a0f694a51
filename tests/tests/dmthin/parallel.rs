// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands at the same time on one pool: each has its turn, and says truly what it did.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use mosaic_tests::{Random, Site, is_long, is_quick, left_out, stdout_of};
use rustix::fs::{Mode, OFlags};
use serde_json::Value;

use crate::{assert_sound, roomy_site};

/// Few, so that commands meet.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// At a time.
const WORKERS: u64 = 8;
/// What every clone of the first volume has.
const CONTENT: &str = "what all clones have";

/// Commands of each worker.
fn rounds() -> u32 {
    match (is_quick(), is_long()) {
        (true, _) => {
            left_out("64 commands at a time by eights, not 200");
            8
        }
        (_, true) => 100,
        _ => 25,
    }
}

/// Two different names.
fn two_names(random: &mut Random) -> (&'static str, &'static str) {
    let one = *random.pick(&NAMES);
    let others = NAMES.map(|name| (name != one).then_some(name));
    let others: Vec<&'static str> = others.into_iter().flatten().collect();
    (one, *random.pick(&others))
}

/// How often a name was given, less how often it was taken away. A name is given only where there is
/// none and taken only where there is one: so in whatever order it was, this is 1 if there is a
/// volume of that name, else 0.
#[derive(Default)]
struct Ledger(Mutex<BTreeMap<&'static str, i32>>);

impl Ledger {
    fn add(&self, name: &'static str, count: i32) {
        *self.0.lock().unwrap().entry(name).or_default() += count;
    }

    /// The names that there have to be.
    fn names(&self) -> Vec<&'static str> {
        let ledger = self.0.lock().unwrap();
        assert!(
            ledger.values().all(|count| [0, 1].contains(count)),
            "{ledger:?}"
        );
        let there = ledger.iter().filter(|(_, count)| **count == 1);
        there.map(|(name, _)| *name).collect()
    }
}

/// One command, whose exit status is one that it may have, and what its success means.
fn disturb(site: &Site, random: &mut Random, ledger: &Ledger) {
    let (one, other) = two_names(random);
    let run = |words: &[&str], expected: &[i32]| {
        // Nobody has to give up, however slow the machine is.
        let output = site.run(&[words, &["--lock-timeout", "300"]].concat());
        assert!(
            expected.contains(&output.status),
            "{words:?}: {} {}",
            output.status,
            output.stderr
        );
        output.status == 0
    };
    match random.below(12) {
        0 | 1 if run(&["new", "disk", one, "8M"], &[0, 4]) => ledger.add(one, 1),
        2 if run(&["new", "fs", one, "8M"], &[0, 4]) => ledger.add(one, 1),
        3 if run(&["clone", "first", one], &[0, 4]) => ledger.add(one, 1),
        4 | 5 if run(&["clone", one, other], &[0, 3, 4]) => ledger.add(other, 1),
        6 | 7 if run(&["rename", one, other], &[0, 3, 4]) => {
            ledger.add(one, -1);
            ledger.add(other, 1);
        }
        8..=10 if run(&["drop", one], &[0, 3]) => ledger.add(one, -1),
        11 => {
            let list = site.json(&["list"]);
            let volumes = list["volumes"].as_array().unwrap();
            assert!(volumes.iter().any(|v| v["name"] == "first"), "{list}");
            let no_notes = |v: &Value| v["notes"].as_array().is_some_and(Vec::is_empty);
            assert!(volumes.iter().all(no_notes), "{list}");
            let checked = site.ok(&["check"]);
            assert!(checked.contains("no faults"), "{checked}");
        }
        _ => {}
    }
}

#[test]
fn root_eight_at_a_time_make_clone_rename_and_drop_and_the_catalog_is_right() {
    let Some(site) = roomy_site() else { return };
    let at = site.mountpoint("at");
    let path = at.to_str().unwrap();
    // By their size those that come of it are told from new ones.
    site.ok(&["new", "fs", "first", "16M"]);
    site.ok(&["mount", "first", path]);
    fs::write(at.join("file"), CONTENT).unwrap();
    site.ok(&["umount", "first", path]);
    let ledger = Ledger::default();
    let rounds = rounds();
    thread::scope(|scope| {
        for seed in 0..WORKERS {
            let (site, ledger) = (&site, &ledger);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                for _ in 0..rounds {
                    disturb(site, &mut random, ledger);
                }
            });
        }
    });
    ledger.add("first", 1);
    let done: u64 = site.pool().unwrap().status().unwrap()[0].parse().unwrap();
    assert!(done > u64::from(2 * rounds), "only {done} changes");
    assert_eq!(site.names(), ledger.names());
    for volume in site.json(&["list"])["volumes"].as_array().unwrap() {
        let name = volume["name"].as_str().unwrap();
        if volume["kind"] == "disk" {
            assert_eq!(volume["size"], 8 << 20, "{volume}");
            continue;
        }
        site.ok(&["mount", name, path]);
        let content = fs::read_to_string(at.join("file")).ok();
        let expected = (volume["size"] == 16 << 20).then_some(CONTENT);
        assert_eq!(content.as_deref(), expected, "{volume}");
        site.ok(&["umount", name, path]);
    }
    assert_sound(&site);
}

#[test]
fn root_who_holds_the_catalog_is_named_and_who_reads_it_is_not() {
    let Some(site) = roomy_site() else {
        return;
    };
    let name = site.pool().unwrap().name();
    let catalog = format!("{name}-mosaic-catalog");
    let words = ["info", "-c", "--noheadings", "-o", "minor", &catalog];
    let number = stdout_of("dmsetup", &words).unwrap();
    let device = format!("/dev/dm-{}", number.trim());
    let mut reader = Command::new("sh")
        .args(["-c", &format!("exec 7<{device}; echo; read x")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(reader.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    // A reader keeps nobody from a change.
    let first = site.run(&["new", "disk", "a", "8M"]);
    let how = OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
    let holder = rustix::fs::open(&*device, how, Mode::empty()).unwrap();
    let refused = site.run(&["--lock-timeout", "0", "new", "disk", "b", "8M"]);
    // Nor does a holder keep anybody from a look.
    let seen = site.run(&["list"]);
    drop(holder);
    drop(reader.stdin.take());
    reader.wait().unwrap();
    assert!(first.status == 0 && seen.status == 0, "{first:?} {seen:?}");
    let (held, read) = (std::process::id(), reader.id());
    let text = &refused.stderr;
    assert!(text.contains(&format!("pid {held} ")), "{text}");
    assert!(!text.contains(&format!("pid {read} ")), "{text}");
    assert_sound(&site);
}
