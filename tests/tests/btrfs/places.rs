// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a location can be: anywhere on a btrfs, however that is mounted.

use std::fs;
use std::path::{Path, PathBuf};

use mosaic_tests::{
    Moctl, MountedFs, Output, requires_program, requires_root, run, run_status, subvolumes, word,
};

use crate::{KINDS, ready};

/// A btrfs with a subvolume and folders, and a `moctl` of its own.
struct Ground {
    moctl: Moctl,
    fs: MountedFs,
}

impl Ground {
    fn new(kind: &str) -> Option<Self> {
        if !ready() {
            return None;
        }
        let fs = MountedFs::new(kind).unwrap();
        fs::create_dir(fs.path().join("folder")).unwrap();
        for path in ["subvolume", "folder/subvolume"] {
            run(
                "btrfs",
                &["subvolume", "create", word(&fs.path().join(path))],
            )
            .unwrap();
        }
        fs::create_dir(fs.path().join("subvolume/folder")).unwrap();
        let moctl = Moctl::new().unwrap();
        Some(Self { moctl, fs })
    }

    /// At most the plain folder of this ground is found to be no volume.
    fn check(&self, mosaic: &str) {
        let said = self.moctl.run(&[mosaic, "check"]);
        let is_known = |line: &str| line.contains("no faults") || line.contains("\"folder\"");
        assert!(said.stdout.lines().all(is_known), "{said:?}");
        assert!(said.stderr.lines().all(is_known), "{said:?}");
    }

    /// The whole life of volumes at a location.
    fn live(&self, location: &Path, place: &str) {
        let m = &self.moctl;
        m.mosaic("m", "btrfs", location, "").unwrap();
        let names = || {
            let list = m.json(&["m", "list"]);
            let names = list["volumes"].as_array().unwrap().iter();
            names
                .map(|v| v["name"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let others = names();
        let with = |more: &[&str]| {
            let mut all = others.clone();
            all.extend(more.iter().map(|name| (*name).to_owned()));
            all.sort();
            all
        };
        m.ok(&["m", "new", "fs", "v", "8M"]);
        fs::write(location.join("v/file"), "x").unwrap();
        run(
            "btrfs",
            &["subvolume", "create", word(&location.join("v/within"))],
        )
        .unwrap();
        m.ok(&["m", "clone", "v", "w"]);
        m.ok(&["m", "rename", "w", "x"]);
        assert_eq!(names(), with(&["v", "x"]), "{place}");
        assert_eq!(
            m.json(&["m", "info", "x"])["volume"]["origin"],
            "v",
            "{place}"
        );
        let at = m.make_folder(&format!("at-{place}")).unwrap();
        m.ok(&["m", "mount", "x", word(&at)]);
        assert_eq!(fs::read_to_string(at.join("file")).unwrap(), "x", "{place}");
        m.expect(5, &["m", "drop", "x"]);
        m.ok(&["m", "umount", "x", word(&at)]);
        assert!(location.join("x/within").is_dir(), "{place}");
        self.check("m");
        m.ok(&["m", "drop", "v"]);
        m.ok(&["m", "drop", "--wait", "x"]);
        assert_eq!(names(), others, "{place}");
    }
}

#[test]
fn root_a_location_is_the_top_a_folder_or_a_subvolume() {
    for kind in KINDS {
        let Some(ground) = Ground::new(kind) else {
            return;
        };
        let top = ground.fs.path().to_owned();
        let before = subvolumes(&top).unwrap().len();
        for (place, path) in [
            ("top", PathBuf::new()),
            ("folder", "folder".into()),
            ("subvolume", "subvolume".into()),
            ("subvolume-in-a-folder", "folder/subvolume".into()),
            ("folder-in-a-subvolume", "subvolume/folder".into()),
        ] {
            ground.live(&top.join(path), place);
        }
        assert_eq!(subvolumes(&top).unwrap().len(), before, "{kind}");
        ground.fs.check().unwrap();
    }
}

#[test]
fn root_a_location_is_reached_by_any_mount() {
    let Some(ground) = Ground::new("btrfs+simple") else {
        return;
    };
    let device = word(ground.fs.device()).to_owned();
    let by_subvolume = ground.moctl.make_folder("by-subvolume").unwrap();
    run(
        "mount",
        &["-o", "subvol=/subvolume", &device, word(&by_subvolume)],
    )
    .unwrap();
    ground.live(&by_subvolume, "by-subvolume");
    ground.live(&by_subvolume.join("folder"), "folder-by-subvolume");
    let bound = ground.moctl.make_folder("bound").unwrap();
    let folder = ground.fs.path().join("folder");
    run("mount", &["--bind", word(&folder), word(&bound)]).unwrap();
    ground.live(&bound, "bound");
    // One location by two ways: what is mounted by one is in use by the other.
    let m = &ground.moctl;
    m.mosaic("direct", "btrfs", &folder, "").unwrap();
    m.ok(&["direct", "new", "fs", "v", "8M"]);
    let at = m.make_folder("at").unwrap();
    m.ok(&["direct", "mount", "v", word(&at)]);
    m.mosaic("bound", "btrfs", &bound, "").unwrap();
    let refused = m.expect(5, &["bound", "drop", "v"]);
    assert!(refused.stderr.contains(word(&at)), "{}", refused.stderr);
    m.ok(&["bound", "umount", "v", word(&at)]);
    m.ok(&["bound", "drop", "v"]);
    for path in [by_subvolume, bound] {
        run("umount", &[&path]).unwrap();
    }
    ground.fs.check().unwrap();
}

fn refused_as_read_only(output: &Output) {
    assert_ne!(output.status, 0, "{output:?}");
    assert!(output.stderr.contains("read-only"), "{}", output.stderr);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
}

#[test]
fn root_a_read_only_location_can_be_looked_at() {
    let Some(ground) = Ground::new("btrfs+full") else {
        return;
    };
    let m = &ground.moctl;
    let top = word(ground.fs.path()).to_owned();
    m.mosaic("m", "btrfs", ground.fs.path(), "").unwrap();
    m.ok(&["m", "new", "fs", "v", "8M"]);
    // A mount of it, and the whole file system.
    let bound = m.make_folder("bound").unwrap();
    run("mount", &["--bind", "-o", "ro", &top, word(&bound)]).unwrap();
    m.mosaic("bound", "btrfs", &bound, "").unwrap();
    for (mosaic, whole) in [("bound", false), ("m", true)] {
        if whole {
            run("mount", &["-o", "remount,ro", &top]).unwrap();
        }
        let before = m.json(&[mosaic, "list"]);
        for words in [
            &["new", "fs", "w", "8M"][..],
            &["clone", "v", "w"],
            &["rename", "v", "w"],
            &["resize", "v", "16M"],
            &["drop", "v"],
        ] {
            refused_as_read_only(&m.run(&[&[mosaic], words].concat()));
        }
        assert_eq!(m.json(&[mosaic, "list"]), before);
        ground.check(mosaic);
        m.ok(&[mosaic, "info"]);
        let at = m.make_folder(&format!("at-{mosaic}")).unwrap();
        refused_as_read_only(&m.run(&[mosaic, "mount", "v", word(&at)]));
        m.ok(&[mosaic, "mount", "v", word(&at), "-o", "ro"]);
        assert!(fs::write(at.join("file"), "x").is_err());
        m.ok(&[mosaic, "umount", "v", word(&at)]);
    }
    run("mount", &["-o", "remount,rw", &top]).unwrap();
    run("umount", &[&bound]).unwrap();
    m.ok(&["m", "drop", "v"]);
    ground.fs.check().unwrap();
}

#[test]
fn root_what_is_not_on_btrfs_is_refused_with_what_it_is() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let other = MountedFs::new("ext4").unwrap();
    let moctl = Moctl::new().unwrap();
    moctl.mosaic("m", "btrfs", other.path(), "").unwrap();
    for words in [
        &["list"][..],
        &["info"],
        &["new", "fs", "v", "8M"],
        &["init"],
        &["check"],
    ] {
        let refused = moctl.run(&[&["m"], words].concat());
        assert_eq!(refused.status, 6, "{words:?}: {}", refused.stderr);
        assert!(
            refused.stderr.contains("ext4"),
            "{words:?}: {}",
            refused.stderr
        );
    }
    assert_eq!(
        run_status("test", &["-e", word(&other.path().join(".mosaic"))]).unwrap(),
        Some(1)
    );
    moctl
        .mosaic("m", "btrfs", other.path(), "default_fs: ext4\n")
        .unwrap();
    let refused = moctl.expect(8, &["m", "list"]);
    assert!(refused.stderr.contains("m.mos:3"), "{}", refused.stderr);
}
