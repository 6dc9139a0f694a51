// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes and locations in places where an admin may find them on a bad day.

use std::sync::Arc;
use std::time::Duration;

use mosaic_core::ErrorKind;
use mosaic_core::host_services::{Level, Services};
use mosaic_core::loader::{Beside, SearchPath};
use mosaic_core::mosaic::{DropOptions, Environment, Mosaic};
use mosaic_tests::{
    MountedFs, Site, mounted_size, requires_program, requires_root, run, run_status,
};

fn mount(args: &[&str]) {
    run("mount", args).unwrap();
}

/// Takes the topmost mount away when a test ends, however it ends.
struct Umount(String);

impl Drop for Umount {
    fn drop(&mut self) {
        let _ = run_status("umount", &[&self.0]);
    }
}

#[test]
fn root_a_volume_grows_itself_and_not_what_hides_its_mountpoint() {
    if !requires_root() || !requires_program("mkfs.xfs") {
        return;
    }
    // A file system that has room to grow is mounted over the volume.
    let other = MountedFs::new("xfs").unwrap();
    other.umount().unwrap();
    let device = other.device().to_str().unwrap().to_owned();
    run("mkfs.xfs", &["-q", "-f", "-d", "size=320m", &device]).unwrap();
    let site = Site::on("xfs", "loop", "default_fs: xfs").unwrap();
    let at = site.mountpoint("mnt");
    let path = at.to_str().unwrap().to_owned();
    site.ok(&["new", "fs", "v", "320M"]);
    site.ok(&["mount", "v", &path]);
    let size = || mounted_size(&at);
    let before = size();
    mount(&[&device, &path]);
    let hidden_by = Umount(path.clone());
    let others = size();

    let output = site.run(&["resize", "v", "400M"]);
    assert_eq!(output.status, 5, "{}", output.stderr);
    assert_eq!(size(), others, "another file system was grown");

    drop(hidden_by);
    assert_eq!(size(), before);
    site.ok(&["resize", "v", "400M"]);
    assert!(size() > before);
    site.ok(&["umount", "v", &path]);
}

#[test]
fn root_a_location_that_went_read_only_can_be_taken_down_and_looked_at() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    for driver in ["plain", "loop", "ploop"] {
        let site = Site::on("ext4", driver, "").unwrap();
        let location = site.fs().unwrap().path().to_str().unwrap().to_owned();
        let at = site.mountpoint("mnt");
        let path = at.to_str().unwrap();
        site.ok(&["new", "fs", "v", "64M"]);
        if driver == "plain" {
            site.ok(&["mount", "v", path]);
        }
        mount(&["-o", "remount,ro", &location]);
        if driver == "plain" {
            site.ok(&["umount", "v", path]);
        }
        site.ok(&["mount", "v", path, "-o", "ro"]);
        site.ok(&["umount", "v", path]);
        if driver != "plain" {
            site.ok(&["attach", "v", "--ro"]);
            site.ok(&["detach", "v"]);
        }
        site.ok(&["check"]);
        for verb in [
            vec!["mount", "v", path],
            vec!["new", "fs", "w", "64M"],
            vec!["rename", "v", "w"],
            vec!["drop", "v"],
        ] {
            let refused = site.run(&verb);
            assert!([6, 9].contains(&refused.status), "{}", refused.stderr);
            assert!(refused.stderr.contains("ead-only"), "{}", refused.stderr);
        }
        mount(&["-o", "remount,rw", &location]);
        assert_eq!(site.names(), ["v"]);
        site.assert_idle();
    }
}

/// A user who has asked to stop.
struct Stopping;

impl Services for Stopping {
    fn log(&self, _: Level, _: &str) {}
    fn progress(&self, _: u64, _: u64, _: &str) {}
    fn cancelled(&self) -> bool {
        true
    }
}

#[test]
fn who_asks_to_stop_before_the_commit_finds_everything_as_it_was() {
    let site = Site::in_folder("plain", "").unwrap();
    site.ok(&["new", "fs", "v", "1G", "-q"]);
    let trash = site.location().join(".mosaic/trash");
    std::fs::create_dir_all(trash.join("0123456789abcdef/left")).unwrap();
    let environment = Environment {
        config_dir: site.moctl().folder().to_owned(),
        search: SearchPath::new(
            vec![mosaic_tests::target_folder().unwrap()],
            Vec::new(),
            Beside::Program,
        ),
        lock_timeout: Duration::ZERO,
        services: Arc::new(Stopping),
    };
    let mosaic = Mosaic::open(&environment, "m".as_ref()).unwrap();
    let error = mosaic
        .drop_volume("v", &DropOptions::default())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{}", error.chain());
    std::fs::remove_dir_all(trash.join("0123456789abcdef")).unwrap();
    let error = mosaic.rename("v", "w").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{}", error.chain());
    assert_eq!(site.names(), ["v"]);
}
