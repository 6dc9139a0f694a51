// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands that run at the same time: exactly one wins, the others say clearly why they did not.

#[path = "race/checks.rs"]
mod checks;
#[path = "race/disks.rs"]
mod disks;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mosaic_tests::{Output, Site, is_quick, left_out, requires_program, requires_root};

fn rounds(all: usize, sample: usize) -> usize {
    if is_quick() {
        left_out(&format!("{} of {all} rounds", all - sample));
        return sample;
    }
    all
}

/// Each driver, what it makes without a program, and a fresh mosaic of it.
fn each_driver() -> impl Iterator<Item = (&'static str, &'static str, Site)> {
    let kinds = [
        ("plain", "fs"),
        ("loop", "disk"),
        ("ploop", "disk"),
        ("btrfs", "fs"),
    ];
    kinds.into_iter().filter_map(|(driver, kind)| {
        if driver != "btrfs" {
            return Some((driver, kind, Site::in_folder(driver, "").unwrap()));
        }
        let ready = requires_root() && requires_program("mkfs.btrfs");
        ready.then(|| (driver, kind, Site::on("btrfs+simple", driver, "").unwrap()))
    })
}

#[track_caller]
fn assert_one_winner(outputs: &[Output], losers_status: i32, losers_say: &str) {
    let winners = outputs.iter().filter(|o| o.status == 0).count();
    assert_eq!(winners, 1, "{outputs:?}");
    for output in outputs.iter().filter(|o| o.status != 0) {
        assert_eq!(output.status, losers_status, "{outputs:?}");
        assert!(output.stderr.contains(losers_say), "{}", output.stderr);
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    }
}

#[test]
fn root_four_parallel_attach_make_one_device_and_three_clear_refusals() {
    if !requires_root() {
        return;
    }
    let site = Site::in_folder("loop", "").unwrap();
    site.ok(&["new", "disk", "a", "8M"]);
    for round in 0..rounds(100, 10) {
        let outputs = site.run_at_once(&[
            vec!["attach", "a"],
            vec!["attach", "a"],
            vec!["attach", "a"],
            vec!["attach", "a"],
        ]);
        let devices = site.loop_devices();
        assert_eq!(devices.len(), 1, "round {round}: {outputs:?}");
        let device = devices[0].to_str().unwrap();
        assert_one_winner(&outputs, 5, device);
        let winner = outputs.iter().find(|o| o.status == 0).unwrap();
        assert_eq!(winner.stdout, format!("Device: {device}\n"));
        site.ok(&["detach", "a"]);
        assert!(site.loop_devices().is_empty(), "round {round}");
    }
}

#[test]
fn four_parallel_new_of_one_name_make_one_volume() {
    for (driver, kind, site) in each_driver() {
        let sizes = ["1M", "2M", "3M", "4M"];
        // On btrfs each of them waits for a commit.
        let most = if driver == "btrfs" { 10 } else { 50 };
        for _ in 0..rounds(most, 5) {
            let commands = sizes.map(|size| vec!["new", kind, "a", size]);
            let outputs = site.run_at_once(&commands);
            assert_one_winner(&outputs, 4, "\"a\"");
            assert_eq!(site.entries(), ["a"]);
            if driver != "plain" {
                let winner = outputs.iter().position(|o| o.status == 0).unwrap() as u64;
                assert_eq!(
                    site.json(&["info", "a"])["volume"]["size"],
                    (winner + 1) << 20
                );
            }
            site.ok(&["drop", "a"]);
        }
        assert!(site.leftovers().is_empty());
    }
}

#[test]
fn four_parallel_drop_of_one_volume_drop_it_once() {
    for (_, kind, site) in each_driver() {
        for _ in 0..rounds(25, 3) {
            site.ok(&["new", kind, "a", "1M"]);
            let outputs = site.run_at_once(&[
                vec!["drop", "a"],
                vec!["drop", "a"],
                vec!["drop", "a"],
                vec!["drop", "a"],
            ]);
            assert_one_winner(&outputs, 3, "\"a\"");
            assert_eq!(site.entries(), [""; 0]);
        }
    }
}

#[test]
fn neighbours_under_one_mapped_parent_never_fail_each_other() {
    let map = "volumeMap: ^\\([0-9]\\)\\([0-9]*\\)$ \\1/\\1\\2\n";
    let rounds = rounds(40, 8);
    for (driver, kind) in [("plain", "fs"), ("loop", "disk")] {
        let site = Site::in_folder(driver, map).unwrap();
        thread::scope(|scope| {
            for name in ["11", "12", "13"] {
                let site = &site;
                scope.spawn(move || {
                    for _ in 0..rounds {
                        site.ok(&["new", kind, name, "1M"]);
                        site.ok(&["drop", name]);
                    }
                });
            }
        });
        assert_eq!(site.names(), [""; 0], "{driver}");
        assert_eq!(
            site.entries(),
            [""; 0],
            "{driver}: the parent goes with its last volume"
        );
    }
}

#[test]
fn root_mount_and_drop_at_once_leave_a_mounted_volume_or_none() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let site = Site::in_folder("loop", "default_fs: ext4\n").unwrap();
    let at = site.mountpoint("at");
    let at = at.to_str().unwrap();
    for _ in 0..rounds(30, 4) {
        site.ok(&["new", "fs", "a", "16M"]);
        let outputs = site.run_at_once(&[vec!["mount", "a", at], vec!["drop", "a"]]);
        let (mount, drop) = (&outputs[0], &outputs[1]);
        match (mount.status, drop.status) {
            (0, 5) => {
                site.ok(&["umount", "a", at]);
                site.ok(&["drop", "a"]);
            }
            (3 | 5, 0) => {}
            _ => panic!("{outputs:?}"),
        }
        assert_eq!(site.entries(), [""; 0]);
        site.assert_idle();
    }
}

#[test]
fn a_lock_that_is_not_had_in_time_is_busy_and_names_its_holder() {
    let site = Site::in_folder("loop", "").unwrap();
    site.ok(&["new", "disk", "a", "1M"]);
    let lock = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(site.location().join(".mosaic/lock"))
        .unwrap();
    let whole = nix::libc::flock {
        l_type: i16::try_from(nix::libc::F_WRLCK).unwrap(),
        l_whence: i16::try_from(nix::libc::SEEK_SET).unwrap(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&lock, nix::fcntl::FcntlArg::F_OFD_SETLK(&whole)).unwrap();
    let start = std::time::Instant::now();
    let output = site.expect(5, &["--lock-timeout", "0.2", "drop", "a"]);
    assert!(start.elapsed().as_secs() < 5);
    let pid = std::process::id().to_string();
    assert!(output.stderr.contains(&pid), "{}", output.stderr);
    // Reading verbs take no lock.
    assert_eq!(site.names(), ["a"]);
    drop(lock);
    site.ok(&["drop", "a"]);
}

#[test]
fn a_lock_on_a_tenants_own_tree_keeps_nobody_from_dropping_it() {
    let site = Site::in_folder("plain", "").unwrap();
    site.ok(&["new", "fs", "a", "1M"]);
    let tree = std::fs::File::open(site.location().join("a")).unwrap();
    tree.lock().unwrap();
    site.ok(&["--lock-timeout", "1", "rename", "a", "b"]);
    site.ok(&["--lock-timeout", "1", "drop", "b"]);
    drop(tree);
}

/// Has every device of the site open for a moment, as a scan does, so that it goes a bit later.
fn hold_devices_for_moments(site: &Site, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for device in site.loop_devices() {
            let handle = std::fs::File::open(device);
            thread::sleep(Duration::from_millis(20));
            drop(handle);
        }
    }
}

#[test]
fn root_a_resize_right_after_another_does_not_meet_its_device() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let site = Site::in_folder("loop", "default_fs: ext4\n").unwrap();
    site.ok(&["new", "fs", "a", "16M"]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let scan = scope.spawn(|| hold_devices_for_moments(&site, &stop));
        let outcome = std::panic::catch_unwind(|| {
            for _ in 0..rounds(10, 3) {
                site.ok(&["resize", "a", "32M"]);
                site.ok(&["resize", "--shrink", "a", "16M"]);
            }
        });
        stop.store(true, Ordering::Relaxed);
        scan.join().unwrap();
        outcome.unwrap();
    });
    site.assert_idle();
}
