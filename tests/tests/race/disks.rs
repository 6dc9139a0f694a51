// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several commands on one disk: each is done, or says why not, and whatever wins the disk is whole.

use std::path::Path;

use mosaic_tests::{
    Output, Random, Site, assert_filled, block_servers_beneath, did, eventually, fill,
    requires_program, requires_root, requires_time, run_status,
};
use serde_json::Value;

use crate::rounds;

/// Drivers that show disks by loop devices, and can clone on [`site`].
const DRIVERS: [&str; 2] = ["loop", "ploop"];

/// Commands that may meet; `AT` is a mountpoint.
const COMMANDS: [&[&str]; 13] = [
    &["attach", "a"],
    &["attach", "a", "--ro"],
    &["detach", "a"],
    &["detach", "a", "--missing-ok"],
    &["mount", "a", "AT"],
    &["umount", "a", "AT"],
    &["clone", "a", "b"],
    &["drop", "b"],
    &["rename", "a", "c"],
    &["rename", "c", "a"],
    &["check"],
    &["list"],
    &["info", "a"],
];

fn ready() -> bool {
    requires_root() && ["mkfs.ext4", "mkfs.xfs"].into_iter().all(requires_program)
}

fn site(driver: &str) -> Site {
    Site::on("xfs", driver, "default_fs: ext4\n").unwrap()
}

/// Nothing shows a disk, and nothing serves one.
#[track_caller]
fn assert_idle(site: &Site) {
    site.assert_idle();
    let servers = || block_servers_beneath(site.location());
    assert!(eventually(|| servers().is_empty()), "{:?}", servers());
}

/// The device that shows a volume.
fn device_of(site: &Site, name: &str) -> Option<String> {
    let found = site.json(&["info", name]);
    let device = &found["volume"]["attachment"]["device"];
    device.as_str().map(str::to_owned)
}

#[test]
fn root_four_parallel_attach_of_deltas_make_one_device_and_one_server() {
    if !requires_root() {
        return;
    }
    let site = Site::in_folder("ploop", "").unwrap();
    site.ok(&["new", "disk", "a", "8M"]);
    for round in 0..rounds(25, 3) {
        let outputs = site.run_at_once(&[["attach", "a"]; 4].map(Vec::from));
        let device = device_of(&site, "a").unwrap();
        crate::assert_one_winner(&outputs, 5, &device);
        let winner = outputs.iter().find(|output| output.status == 0).unwrap();
        assert_eq!(winner.stdout, format!("Device: {device}\n"));
        let servers = block_servers_beneath(site.location());
        assert_eq!(servers.len(), 2, "round {round}: {outputs:?}");
        let outputs = site.run_at_once(&[["detach", "a"]; 4].map(Vec::from));
        crate::assert_one_winner(&outputs, 3, "\"a\"");
        assert_idle(&site);
    }
}

/// A check by cron, a list by a monitor: neither is in the way of those who change something, nor takes
/// what they are at for a fault.
#[test]
fn root_who_only_looks_at_deltas_keeps_nobody_from_them() {
    if !requires_time() || !ready() {
        return;
    }
    let site = site("ploop");
    let at = site.mountpoint("at");
    let at = at.to_str().unwrap();
    site.ok(&["new", "fs", "a", "16M"]);
    for _ in 0..rounds(8, 1) {
        for changes in [
            vec!["attach", "a"],
            vec!["clone", "a", "b"],
            vec!["drop", "b"],
            vec!["detach", "a"],
            vec!["mount", "a", at],
            vec!["clone", "a", "b"],
            vec!["umount", "a", at],
            vec!["rename", "b", "c"],
            vec!["resize", "c", "32M"],
            vec!["drop", "c"],
        ] {
            let looks = [vec!["check"], vec!["check"], vec!["list"]];
            let outputs = site.run_at_once(&[&looks[..], std::slice::from_ref(&changes)].concat());
            let is_well = outputs.iter().all(|output| output.status == 0);
            assert!(is_well, "{changes:?}: {outputs:?}");
        }
    }
    assert_idle(&site);
}

#[test]
fn root_clones_made_at_once_of_a_mounted_disk_are_all_whole() {
    if !requires_time() || !ready() {
        return;
    }
    for driver in DRIVERS {
        let site = site(driver);
        let at = site.mountpoint("at");
        let path = at.to_str().unwrap();
        site.ok(&["new", "fs", "a", "16M"]);
        site.ok(&["mount", "a", path]);
        fill(&at.join("file"), 4).unwrap();
        let names = ["b", "c", "d", "e"];
        for _ in 0..rounds(3, 1) {
            let outputs = site.run_at_once(&names.map(|name| vec!["clone", "a", name]));
            assert!(
                outputs.iter().all(|o| o.status == 0),
                "{driver}: {outputs:?}"
            );
            let there = site.mountpoint("there");
            for name in names {
                assert_content(&site, name, &there);
            }
            let outputs = site.run_at_once(&names.map(|name| vec!["drop", name]));
            assert!(
                outputs.iter().all(|o| o.status == 0),
                "{driver}: {outputs:?}"
            );
            std::fs::remove_dir(there).unwrap();
        }
        site.ok(&["umount", "a", path]);
        assert_idle(&site);
        assert_eq!(site.names(), ["a"]);
        site.ok(&["check"]);
    }
}

/// The volume can be mounted, and has what was written in `a`.
fn assert_content(site: &Site, name: &str, at: &Path) {
    let path = at.to_str().unwrap();
    site.ok(&["mount", name, path]);
    assert_filled(&at.join("file"), 4);
    site.ok(&["umount", name, path]);
}

/// Four commands at once, whichever chance takes, again and again.
#[test]
fn root_whatever_meets_on_a_disk_it_is_whole_and_nothing_is_left() {
    if !requires_time() || !ready() {
        return;
    }
    let seed = Random::seed_of_run();
    for driver in DRIVERS {
        let mut random = Random::new(seed);
        let site = site(driver);
        let at = site.mountpoint("at");
        site.ok(&["new", "fs", "a", "16M"]);
        let path = at.to_str().unwrap();
        site.ok(&["mount", "a", path]);
        fill(&at.join("file"), 4).unwrap();
        site.ok(&["umount", "a", path]);
        let (mut done, mut refused) = (0, 0);
        for _ in 0..rounds(30, 3) {
            let commands: Vec<Vec<&str>> = (0..4)
                .map(|_| words(random.pick::<&[&str]>(&COMMANDS), path))
                .collect();
            let outputs = site.run_at_once(&commands);
            for (command, output) in commands.iter().zip(&outputs) {
                assert_done_or_refused(command, output, &format!("{driver} {commands:?}"));
                match output.status {
                    0 => done += 1,
                    _ => refused += 1,
                }
            }
            settle(&site, &at);
        }
        did(&format!(
            "{driver}: {done} commands were done, {refused} refused"
        ));
        assert!(done > refused / 4 && refused > 0, "{done} {refused}");
        assert_content(&site, "a", &at);
        site.ok(&["drop", "a"]);
        assert_idle(&site);
        assert_eq!((site.entries(), site.leftovers()), (vec![], vec![]));
    }
}

fn words<'w>(command: &[&'w str], at: &'w str) -> Vec<&'w str> {
    let words = command.iter().copied();
    words
        .map(|word| if word == "AT" { at } else { word })
        .collect()
}

/// Done, not found or not mounted there, there already, in use: nothing else can be the matter.
#[track_caller]
fn assert_done_or_refused(command: &[&str], output: &Output, place: &str) {
    let expected: &[i32] = match command[0] {
        "check" | "list" => &[0],
        "umount" => &[0, 2, 3, 5],
        _ => &[0, 3, 4, 5],
    };
    assert!(
        expected.contains(&output.status),
        "{command:?} of {place}: {output:?}"
    );
    let lines = output.stderr.lines().count();
    assert!(output.status == 0 || lines == 1, "{command:?}: {output:?}");
}

/// Back to an idle volume `a` alone, whichever of the commands won. Each has a file system that is clean.
fn settle(site: &Site, at: &Path) {
    // Refused where there is nothing to be undone.
    for back in [
        &["umount", "a", at.to_str().unwrap()][..],
        &["umount", "c", at.to_str().unwrap()],
        &["detach", "a"],
        &["detach", "c"],
        &["rename", "c", "a"],
    ] {
        let output = site.run(back);
        assert!(
            [0, 2, 3, 5].contains(&output.status),
            "{back:?}: {output:?}"
        );
    }
    assert_idle(site);
    site.ok(&["check"]);
    let list = site.json(&["list"]);
    let volumes: &Vec<Value> = list["volumes"].as_array().unwrap();
    assert!(volumes.iter().any(|volume| volume["name"] == "a"), "{list}");
    for volume in volumes {
        let name = volume["name"].as_str().unwrap();
        let device = site.json(&["attach", name, "--ro"]);
        let device = device["attachment"]["device"].as_str().unwrap();
        assert_eq!(
            run_status("e2fsck", &["-fn", device]).unwrap(),
            Some(0),
            "{name}"
        );
        site.ok(&["detach", name]);
        if name != "a" {
            site.ok(&["drop", name]);
        }
    }
    assert!(site.leftovers().is_empty(), "{:?}", site.leftovers());
}
