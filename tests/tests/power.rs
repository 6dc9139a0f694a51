// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a command that ended with 0 has made survives a power cut.
//!
//! `MountedFs::cut_power` says how it is cut, and its tests that the cut bites.

#[path = "power/broken.rs"]
mod broken;
#[path = "power/synced.rs"]
mod synced;

use std::fs;
use std::path::Path;

use mosaic_tests::{Site, requires_program, requires_root, run_status};

const FILE_SYSTEMS: [&str; 2] = ["ext4", "xfs"];

fn ready() -> bool {
    requires_root()
        && requires_program("mkfs.ext4")
        && requires_program("mkfs.xfs")
        && requires_program("xfs_io")
}

fn each(config: &str, driver: &str, story: impl Fn(&Site, &dyn Fn())) {
    for name in FILE_SYSTEMS {
        let site = Site::on(name, driver, config).unwrap();
        story(&site, &|| site.fs().unwrap().cut_power().unwrap());
        assert!(
            site.leftovers().is_empty(),
            "{name}: {:?}",
            site.leftovers()
        );
        let said = site.ok(&["check"]);
        assert!(!said.contains("wrong"), "{name}: {said}");
    }
}

#[test]
fn root_a_new_image_survives_whole_and_labelled() {
    if !ready() {
        return;
    }
    each("default_fs: ext4\n", "loop", |site, cut| {
        site.ok(&["new", "fs", "a", "16M"]);
        cut();
        let state = site.state();
        assert_eq!(
            (&state[0]["name"], &state[0]["fs"]),
            (&"a".into(), &"ext4".into())
        );
        let image = site.location().join("a");
        assert_eq!(
            run_status("e2fsck", &[Path::new("-fn"), &image]).unwrap(),
            Some(0)
        );
        site.ok(&["new", "disk", "d", "1M"]);
        cut();
        assert_eq!(site.state()[1]["kind"], "disk");
    });
}

#[test]
fn root_a_new_image_under_new_parents_survives() {
    if !ready() {
        return;
    }
    let map = "volumeMap: ^\\(.\\)\\(.\\)\\(.*\\)$ \\1/\\2/\\1\\2\\3\n";
    each(map, "loop", |site, cut| {
        site.ok(&["new", "disk", "123", "1M"]);
        cut();
        assert_eq!(site.names(), ["123"]);
    });
    each(map, "ploop", |site, cut| {
        site.ok(&["new", "disk", "123", "1M"]);
        cut();
        assert_eq!(site.names(), ["123"]);
    });
    each(map, "plain", |site, cut| {
        site.ok(&["new", "fs", "123", "1M"]);
        cut();
        assert_eq!(site.names(), ["123"]);
    });
}

#[test]
fn root_ploop_disks_and_their_clones_survive() {
    if !ready() {
        return;
    }
    each("default_fs: ext4\n", "ploop", |site, cut| {
        let size = |name: &str| site.json(&["info", name])["volume"]["size"].as_u64();
        site.ok(&["new", "fs", "a", "16M"]);
        cut();
        site.ok(&["check"]);
        site.ok(&["clone", "a", "b", "--size", "32M"]);
        cut();
        site.ok(&["check"]);
        assert_eq!(site.names(), ["a", "b"]);
        for name in ["a", "b"] {
            let device = site.json(&["attach", name]);
            let device = device["attachment"]["device"].as_str().unwrap().to_owned();
            assert_eq!(run_status("e2fsck", &["-fn", &device]).unwrap(), Some(0));
            site.ok(&["detach", name]);
        }
        site.ok(&["new", "disk", "d", "1M"]);
        site.ok(&["resize", "d", "512M"]);
        cut();
        assert_eq!((size("b"), size("d")), (Some(32 << 20), Some(512 << 20)));
        site.ok(&["resize", "d", "2M", "--shrink"]);
        cut();
        assert_eq!(size("d"), Some(2 << 20));
        site.ok(&["drop", "a"]);
        site.ok(&["rename", "b", "c"]);
        cut();
        assert_eq!(site.names(), ["c", "d"]);
        site.ok(&["check"]);
    });
}

#[test]
fn root_drop_rename_and_resize_survive() {
    if !ready() {
        return;
    }
    each("", "loop", |site, cut| {
        for name in ["a", "b", "c"] {
            site.ok(&["new", "disk", name, "1M"]);
        }
        site.ok(&["drop", "a"]);
        cut();
        assert_eq!(site.names(), ["b", "c"]);
        site.ok(&["rename", "b", "d"]);
        cut();
        assert_eq!(site.names(), ["c", "d"]);
        site.ok(&["resize", "c", "3M"]);
        cut();
        assert_eq!(site.json(&["info", "c"])["volume"]["size"], 3 << 20);
    });
}

#[test]
fn root_folders_survive_new_rename_and_drop() {
    if !ready() {
        return;
    }
    each("", "plain", |site, cut| {
        site.ok(&["new", "fs", "a", "1M"]);
        cut();
        assert_eq!(site.names(), ["a"]);
        site.ok(&["rename", "a", "b"]);
        cut();
        assert_eq!(site.names(), ["b"]);
        site.ok(&["drop", "b"]);
        cut();
        assert_eq!(site.names(), [""; 0]);
        // What the drop moved aside may be back in the trash; the next command sweeps it.
        site.ok(&["new", "fs", "c", "1M"]);
    });
}

#[test]
fn root_a_clone_of_a_mounted_volume_survives_with_all_that_was_written() {
    if !ready() {
        return;
    }
    let site = Site::on("xfs", "loop", "default_fs: ext4\n").unwrap();
    site.ok(&["new", "fs", "a", "32M"]);
    let at = site.mountpoint("at");
    let path = at.to_str().unwrap();
    site.ok(&["mount", "a", path]);
    let text = "0123456789abcdef".repeat(1 << 14);
    fs::write(at.join("file"), &text).unwrap();
    site.ok(&["clone", "a", "b"]);
    site.ok(&["umount", "a", path]);
    site.assert_idle();
    site.fs().unwrap().cut_power().unwrap();
    let image = site.location().join("b");
    assert_eq!(
        run_status("e2fsck", &[Path::new("-fn"), &image]).unwrap(),
        Some(0)
    );
    site.ok(&["mount", "b", path]);
    assert!(fs::read_to_string(at.join("file")).unwrap() == text);
    site.ok(&["umount", "b", path]);
    site.assert_idle();
}
