// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands at the same time: each has its turn or says clearly why not, and nothing is left over.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mosaic_tests::{Output, Random, Site, is_long};

use crate::{MAP, on_each};

const AT_ONCE: [&str; 8] = ["11", "12", "13", "14", "15", "16", "17", "18"];

fn rounds(few: usize) -> usize {
    if is_long() { few * 10 } else { few }
}

#[test]
fn root_eight_news_and_drops_share_a_folder_that_comes_and_goes() {
    on_each(&["btrfs+simple"], MAP, |_, site| {
        thread::scope(|scope| {
            for name in AT_ONCE {
                scope.spawn(move || {
                    for _ in 0..rounds(6) {
                        site.ok(&["new", "fs", name, "8M"]);
                        site.ok(&["drop", name]);
                    }
                });
            }
        });
        assert_eq!(site.names(), [""; 0]);
        assert_eq!(
            site.entries(),
            [""; 0],
            "the folder goes with its last volume"
        );
    });
}

#[test]
fn root_eight_clones_of_one_volume_are_eight_volumes() {
    on_each(&["btrfs", "btrfs+full"], MAP, |kind, site| {
        site.ok(&["new", "fs", "01", "8M"]);
        site.subvolume("0/01/within");
        let size = (kind == "btrfs+full").then_some(16 << 20);
        for _ in 0..rounds(2) {
            let clone = |to| vec!["clone", "01", to, "--size", "16M"];
            let outputs = site.run_at_once(&AT_ONCE.map(clone));
            assert!(outputs.iter().all(|o| o.status == 0), "{kind}: {outputs:?}");
            assert_eq!(site.subvolumes().len(), 2 + 16, "{kind}");
            for volume in site.json(&["list"])["volumes"].as_array().unwrap() {
                if volume["name"] != "01" {
                    assert_eq!(volume["size"].as_u64(), size, "{kind}: {volume}");
                    assert_eq!(volume["origin"], "01", "{kind}: {volume}");
                }
            }
            let refused = site.expect(4, &["new", "fs", AT_ONCE[0], "8M"]);
            let why = "a clone of \"01\"";
            assert!(refused.stderr.contains(why), "{kind}: {}", refused.stderr);
            let outputs = site.run_at_once(&AT_ONCE.map(|name| vec!["drop", name]));
            assert!(outputs.iter().all(|o| o.status == 0), "{kind}: {outputs:?}");
            assert_eq!(site.entries(), ["0"], "{kind}");
        }
    });
}

#[test]
fn root_a_clone_of_what_another_drops_is_whole_or_not_there() {
    on_each(&["btrfs+simple"], "", |_, site| {
        for _ in 0..rounds(10) {
            site.ok(&["new", "fs", "a", "8M"]);
            site.subvolume("a/within");
            let commands = ["clone a b", "drop a", "clone a c"].map(|c| c.split(' ').collect());
            let outputs = site.run_at_once(&commands);
            assert_eq!(outputs[1].status, 0, "{outputs:?}");
            let mut expected = Vec::new();
            for (name, output) in [("b", &outputs[0]), ("c", &outputs[2])] {
                match output.status {
                    0 => expected.extend([name.to_owned(), format!("{name}/within")]),
                    3 => assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr),
                    _ => panic!("{outputs:?}"),
                }
            }
            let paths = site.subvolumes().into_iter();
            let mut found: Vec<_> = paths
                .map(|s| s.path.to_string_lossy().into_owned())
                .collect();
            found.sort();
            assert_eq!(found, expected, "{outputs:?}");
            for name in site.names() {
                site.ok(&["drop", &name]);
            }
        }
    });
}

#[test]
fn root_list_beside_writers_shows_no_half_made_volume() {
    on_each(&["btrfs+full"], "", |_, site| {
        site.ok(&["new", "fs", "stays", "8M"]);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut writers = Vec::new();
            for name in ["a", "b"] {
                writers.push(scope.spawn(move || {
                    for _ in 0..rounds(8) {
                        site.ok(&["clone", "stays", name, "--size", "16M"]);
                        site.ok(&["rename", name, &format!("{name}{name}")]);
                        site.ok(&["drop", &format!("{name}{name}")]);
                    }
                }));
            }
            let reader = scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let list = site.json(&["list"]);
                    let volumes = list["volumes"].as_array().unwrap();
                    assert!(volumes.iter().any(|v| v["name"] == "stays"), "{list}");
                    for volume in volumes {
                        let size = if volume["name"] == "stays" {
                            8 << 20
                        } else {
                            16 << 20
                        };
                        assert!(!volume["stored"].as_str().unwrap().contains(".mosaic"));
                        // A quota group may be younger than what the list has of it, or gone.
                        let seen = volume["size"].as_u64();
                        assert!(seen.is_none_or(|seen| seen == size), "{volume}");
                    }
                }
            });
            let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
            stop.store(true, Ordering::Relaxed);
            reader.join().unwrap();
            assert!(ended.iter().all(Result::is_ok));
        });
        assert_eq!(site.names(), ["stays"]);
    });
}

#[test]
fn root_mount_and_drop_at_once_leave_a_mounted_volume_or_none() {
    on_each(&["btrfs"], "", |_, site| {
        let at = site.mountpoint("at");
        let at = at.to_str().unwrap();
        for _ in 0..rounds(10) {
            site.ok(&["new", "fs", "a", "8M"]);
            site.subvolume("a/within");
            let outputs = site.run_at_once(&[vec!["mount", "a", at], vec!["drop", "a"]]);
            match (outputs[0].status, outputs[1].status) {
                (0, 5) => {
                    site.ok(&["umount", "a", at]);
                    site.ok(&["drop", "a"]);
                }
                (3 | 5, 0) => {}
                _ => panic!("{outputs:?}"),
            }
            assert_eq!(site.subvolumes(), []);
            site.assert_idle();
        }
    });
}

/// One command on a few names, now and then killed: what it ended with.
fn disturbed(site: &Site, random: &mut Random) -> Output {
    const NAMES: [&str; 5] = ["11", "12", "21", "22", "31"];
    let (one, other) = (*random.pick(&NAMES), *random.pick(&NAMES));
    let words: Vec<&str> = match random.below(8) {
        0 => vec!["new", "fs", one, "8M"],
        1 => vec!["clone", "01", one],
        2 => vec!["clone", "01", one, "--size", "16M"],
        3 => vec!["clone", one, other],
        4 => vec!["rename", one, other],
        5 => vec!["resize", one, "24M"],
        6 => vec!["drop", "--wait", one],
        _ => vec!["drop", one],
    };
    let mut command = site.command(&words);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    if random.below(3) == 0 {
        thread::sleep(std::time::Duration::from_millis(random.below(40)));
        child.kill().unwrap();
    }
    Output::from(child.wait_with_output().unwrap())
}

#[test]
fn root_whatever_is_done_and_killed_at_once_volumes_stay_whole() {
    on_each(&["btrfs+simple", "btrfs+full"], MAP, |kind, site| {
        site.ok(&["new", "fs", "01", "8M"]);
        site.subvolume("0/01/within");
        site.subvolume("0/01/within/deeper");
        thread::scope(|scope| {
            for seed in 0..6 {
                scope.spawn(move || {
                    let mut random = Random::new(seed);
                    for _ in 0..rounds(12) {
                        let output = disturbed(site, &mut random);
                        // Killed; done; usage, such as a clone to itself; not there; there; busy.
                        assert!(
                            [-1, 0, 2, 3, 4, 5].contains(&output.status),
                            "{kind}: {output:?}"
                        );
                    }
                });
            }
        });
        // The next command finds what those that were killed left.
        site.ok(&["new", "fs", "41", "8M"]);
        site.ok(&["drop", "41"]);
        let all = site.subvolumes();
        let within = |name: &str| all.iter().filter(|s| s.path.starts_with(name)).count();
        for volume in site.json(&["list"])["volumes"].as_array().unwrap() {
            let stored = volume["stored"].as_str().unwrap();
            // New ones hold nothing, clones all of it.
            assert!([1, 3].contains(&within(stored)), "{kind}: {volume}");
            let size = volume["size"].as_u64().unwrap() >> 20;
            assert!([8, 16, 24].contains(&size), "{kind}: {volume}");
            assert_ne!(volume["name"], volume["stored"], "{kind}: {volume}");
        }
        for name in site.names() {
            site.ok(&["drop", "--wait", &name]);
        }
        assert_eq!(site.subvolumes(), [], "{kind}");
        assert!(
            site.ok(&["check", "--repair"]).contains("no faults"),
            "{kind}"
        );
    });
}
