// SPDX-License-Identifier: MIT OR Apache-2.0
//! A volume's file system grows with its storage, while it is mounted and written to; or neither
//! of them does.
//!
//! To grow a mounted ext4 needs `CAP_SYS_RESOURCE` (ext4_resize_begin in fs/ext4/resize.c, Linux
//! 6.1), which many containers lack: there these tests are left to the virtual machine.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use mosaic_tests::{
    Site, is_quick, left_out, mounted_size, requires, requires_program, requires_root,
    requires_time, run, run_status, write_until,
};
use rustix::thread::{CapabilitySet, capabilities};

fn ready() -> bool {
    requires_root()
        && requires_program("mkfs.ext4")
        && requires_program("setpriv")
        && requires(
            capabilities(None)
                .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_RESOURCE)),
            "growing a mounted ext4 needs CAP_SYS_RESOURCE",
        )
}

/// Drivers that show a volume by a loop device, and further lines of their config.
const DRIVERS: [(&str, &str); 3] = [("loop", ""), ("ploop", ""), ("ploop", "partition: gpt\n")];

fn site((driver, more): (&str, &str)) -> Site {
    Site::on("ext4", driver, &format!("default_fs: ext4\n{more}")).unwrap()
}

/// What e2fsck finds in an idle volume.
fn assert_clean(site: &Site, name: &str) {
    let said = site.json(&["attach", name, "--ro"]);
    let device = said["attachment"]["device"].as_str().unwrap();
    let checked = run_status("e2fsck", &["-f", "-n", device]).unwrap();
    assert_eq!(checked, Some(0), "{name}");
    site.ok(&["detach", name]);
}

#[test]
fn root_a_mounted_ext4_grows_while_it_is_written() {
    if !requires_time() || !ready() {
        return;
    }
    DRIVERS.into_iter().for_each(grows_while_it_is_written);
}

fn grows_while_it_is_written(driver: (&str, &str)) {
    let site = site(driver);
    site.ok(&["new", "fs", "a", "32M"]);
    let at = site.mountpoint("at");
    let path = at.to_str().unwrap();
    site.ok(&["mount", "a", path]);
    let before = mounted_size(&at);
    let stop = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&at.join("file"), &stop));
        for size in ["64M", "+64M", "256M"] {
            site.ok(&["resize", "a", size]);
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    assert!(rounds > 0);
    assert_eq!(site.json(&["info", "a"])["volume"]["size"], 256 << 20);
    let after = mounted_size(&at);
    assert!(before < 32 << 20 && after > 200 << 20, "{before} {after}");
    // The new room holds something.
    fs::write(at.join("large"), vec![7; 100 << 20]).unwrap();
    site.ok(&["umount", "a", path]);
    site.assert_idle();
    assert_clean(&site, "a");
}

#[test]
fn root_an_idle_ext4_grows_by_its_journal_too() {
    if !ready() {
        return;
    }
    if is_quick() {
        left_out("all drivers but loop");
    }
    let number = if is_quick() { 1 } else { DRIVERS.len() };
    DRIVERS.into_iter().take(number).for_each(grows_idle);
}

fn grows_idle(driver: (&str, &str)) {
    let site = site(driver);
    site.ok(&["new", "fs", "a", "32M"]);
    // resize2fs, cut short by a power cut, would leave a file system that is not clean.
    let said = site.expect(0, &["-v", "resize", "a", "64M"]).stderr;
    assert!(said.contains("EXT4_IOC_RESIZE_FS"), "{said}");
    assert!(!said.contains("resize2fs"), "{said}");
    site.assert_idle();
    let at = site.mountpoint("at");
    let path = at.to_str().unwrap();
    site.ok(&["mount", "a", path]);
    assert!(mounted_size(&at) > 50 << 20);
    site.ok(&["umount", "a", path]);
}

#[test]
fn root_who_may_not_grow_it_mounted_is_told_and_another_can() {
    if !ready() {
        return;
    }
    let site = site(DRIVERS[0]);
    site.ok(&["new", "fs", "a", "32M"]);
    let at = site.mountpoint("at");
    let path = at.to_str().unwrap();
    site.ok(&["mount", "a", path]);
    let before = mounted_size(&at);
    let without = ["--bounding-set=-sys_resource", "--inh-caps=-sys_resource"];
    let command = site.command(&["resize", "a", "64M"]);
    let mut refused = std::process::Command::new("setpriv");
    refused
        .args(without)
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => refused.env(name, value),
            None => refused.env_remove(name),
        };
    }
    let output = refused.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("CAP_SYS_RESOURCE"), "{said}");
    assert_eq!(mounted_size(&at), before);
    // Its image has grown already, which is not all.
    let done = site.json(&["resize", "a", "64M"]);
    assert_eq!(done["changed"], true, "{done}");
    assert!(mounted_size(&at) > before);
    run("umount", &[path]).unwrap();
    site.ok(&["check"]);
}

#[test]
fn root_a_volume_whose_file_system_cannot_be_read_keeps_its_size() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let site = Site::on("ext4", "loop", "").unwrap();
    site.ok(&["new", "fs", "v", "16M"]);
    let image = site.location().join("v");
    let blank = vec![0; 16 << 20];
    std::fs::write(&image, &blank).unwrap();
    site.expect(10, &["resize", "v", "32M"]);
    assert_eq!(std::fs::read(&image).unwrap(), blank);
}

#[test]
fn root_a_size_that_btrfs_is_not_grown_to_is_refused_before_its_storage_grows() {
    if !requires_root() || !requires_program("mkfs.btrfs") {
        return;
    }
    let site = Site::on("xfs", "loop", "default_fs: btrfs\n").unwrap();
    site.ok(&["new", "fs", "v", "128M"]);
    let image = site.location().join("v");
    let at = site.mountpoint("at");
    let path = at.to_str().unwrap();
    let refused = |args: &[&str]| {
        let said = site.expect(2, args).stderr;
        assert!(
            said.contains("200 MiB") && said.contains("256 MiB"),
            "{said}"
        );
        assert_eq!(fs::metadata(&image).unwrap().len(), 128 << 20);
    };
    refused(&["resize", "v", "200M"]);
    refused(&["clone", "v", "w", "--size", "200M"]);
    site.ok(&["mount", "v", path]);
    refused(&["resize", "v", "200M"]);
    assert_eq!(site.json(&["resize", "v", "128M"])["changed"], false);
    site.ok(&["resize", "v", "256M"]);
    assert_eq!(mounted_size(&at), 256 << 20);
    site.ok(&["umount", "v", path]);
    assert_eq!(site.names(), ["v"]);
    site.assert_idle();
}
