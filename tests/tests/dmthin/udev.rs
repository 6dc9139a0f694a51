// SPDX-License-Identifier: MIT OR Apache-2.0
//! Beside udev, which opens each device for a look; and without, where `/dev/mapper` tells nothing.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mosaic_tests::{Site, Udev, eventually, is_quick, requires, requires_vm, word};

use crate::{assert_sound, roomy_site};

/// What is done to volumes all the time, without a pause between.
fn story(site: &Site) {
    let at = site.mountpoint("story");
    let path = word(&at);
    for _ in 0..if is_quick() { 1 } else { 2 } {
        site.ok(&["new", "fs", "a", "16M"]);
        site.ok(&["mount", "a", path]);
        fs::write(at.join("file"), "kept").unwrap();
        site.ok(&["clone", "a", "b", "--size", "24M"]);
        site.ok(&["resize", "a", "32M"]);
        site.ok(&["umount", "a", path]);
        site.ok(&["attach", "a"]);
        site.ok(&["detach", "a"]);
        site.ok(&["attach", "a"]);
        site.ok(&["resize", "a", "40M"]);
        site.ok(&["mount", "a", path]);
        site.ok(&["umount", "a", path]);
        site.ok(&["detach", "a"]);
        site.ok(&["resize", "a", "16M", "--shrink"]);
        site.ok(&["drop", "a"]);
        site.ok(&["mount", "b", path]);
        assert_eq!(fs::read_to_string(at.join("file")).unwrap(), "kept");
        site.ok(&["umount", "b", path]);
        site.ok(&["drop", "b"]);
    }
    assert_sound(site);
}

#[test]
fn root_all_goes_on_beside_udev() {
    // A udev looks at all devices that there are, so it is started only where they are ours.
    if !requires_vm() || !requires(Udev::is_installed(), "the machine has no udev") {
        return;
    }
    let Some(site) = roomy_site() else { return };
    let udev = Udev::start().unwrap();
    // It is there, and makes the links that a volume is found by.
    site.ok(&["new", "disk", "a", "8M"]);
    let attached = site.json(&["attach", "a"])["attachment"]["device"].clone();
    let link = format!("/dev/mapper/{}-mosaic-1", site.pool().unwrap().name());
    let leads = || fs::canonicalize(&link).is_ok_and(|to| Some(word(&to)) == attached.as_str());
    assert!(eventually(leads), "{link} does not lead to {attached}");
    site.ok(&["detach", "a"]);
    udev.settle().unwrap();
    assert!(fs::symlink_metadata(&link).is_err(), "{link} is left");
    site.ok(&["drop", "a"]);
    story(&site);
}

/// Opens each new device of device mapper for a while, as udev does by its programs.
fn disturb(stop: &AtomicBool, opened: &AtomicUsize) {
    let mut seen = HashSet::new();
    while !stop.load(Ordering::Relaxed) {
        let devices: HashSet<PathBuf> = fs::read_dir("/dev")
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().starts_with("/dev/dm-"))
            .collect();
        let open: Vec<_> = devices
            .difference(&seen)
            .filter_map(|path| File::open(path).ok())
            .collect();
        opened.fetch_add(open.len(), Ordering::Relaxed);
        if !open.is_empty() {
            thread::sleep(Duration::from_millis(150));
        }
        seen = devices;
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn root_who_looks_at_each_device_for_a_while_is_waited_for() {
    let Some(site) = roomy_site() else { return };
    let (stop, opened) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| disturb(&stop, &opened));
        let told = thread::Builder::new().spawn_scoped(scope, || story(&site));
        let told = told.unwrap().join();
        stop.store(true, Ordering::Relaxed);
        told.unwrap();
    });
    let opened = opened.load(Ordering::Relaxed);
    assert!(opened > 4, "only {opened} devices were opened");
}

#[test]
fn root_who_keeps_a_device_open_is_named_after_a_while() {
    let Some(site) = roomy_site() else { return };
    site.ok(&["new", "disk", "a", "8M"]);
    let device = site.json(&["attach", "a"])["attachment"]["device"].clone();
    let device = device.as_str().unwrap();
    let mut holder = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::from(File::open(device).unwrap()))
        .spawn()
        .unwrap();
    let told = thread::scope(|scope| {
        let told = scope.spawn(|| {
            for words in [["detach", "a"], ["drop", "a"]] {
                let start = Instant::now();
                let said = site.expect(5, &words).stderr;
                assert!(start.elapsed() < Duration::from_secs(30), "{words:?}");
                for part in [device, &format!("pid {}", holder.id()), "sleep"] {
                    assert!(said.contains(part), "{said}");
                }
            }
        });
        told.join()
    });
    let _ = (holder.kill(), holder.wait());
    told.unwrap();
    site.ok(&["detach", "a"]);
    site.ok(&["drop", "a"]);
    assert_sound(&site);
}

/// Removes what was put in `/dev/mapper`.
struct Stale(PathBuf);

impl Stale {
    fn link(name: &str, to: &Path) -> Self {
        let path = Path::new("/dev/mapper").join(name);
        std::os::unix::fs::symlink(to, &path).unwrap();
        Self(path)
    }
}

impl Drop for Stale {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn root_stale_names_in_dev_mapper_are_not_followed() {
    // Where there is a udev it is the one who makes these names.
    if !requires_vm() {
        return;
    }
    let (Some(site), Some(other)) = (roomy_site(), roomy_site()) else {
        return;
    };
    let (pool, others) = (site.pool().unwrap(), other.pool().unwrap());
    site.ok(&["new", "disk", "ours", "8M"]);
    other.ok(&["new", "disk", "theirs", "8M"]);
    // No udev: nobody makes names, nobody takes them away, nobody needs them.
    let mapper = Path::new("/dev/mapper").join(pool.name());
    let config = format!("type: dmthin\nlocation: {}\n", mapper.display());
    site.moctl().config("path", &config).unwrap();
    assert!(!mapper.exists());
    let listed = site.moctl().ok(&["path", "list"]);
    assert!(listed.contains("ours"), "{listed}");
    // One that leads to another pool is not followed, be it as a location or as a device.
    let _stale = Stale::link(pool.name(), &others.device().unwrap());
    let _also = Stale::link(&format!("{}-mosaic-1", pool.name()), Path::new("/dev/null"));
    let listed = site.moctl().ok(&["path", "list"]);
    assert!(
        listed.contains("ours") && !listed.contains("theirs"),
        "{listed}"
    );
    site.ok(&["attach", "ours"]);
    site.ok(&["detach", "ours"]);
    let stale = format!("{}-stale", pool.name());
    let wrong = Stale::link(&stale, others.data().device());
    let config = format!(
        "type: dmthin\nlocation: {}-third\npool:\n  data: {}\n  metadata: {}\n",
        pool.name(),
        wrong.0.display(),
        pool.metadata_device().display()
    );
    site.moctl().config("third", &config).unwrap();
    let said = site.moctl().expect(2, &["third", "init"]).stderr;
    assert!(
        said.contains(&stale) && said.contains("stale: it leads"),
        "{said}"
    );
    assert_sound(&site);
    assert_sound(&other);
}
