// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locations in which others work too: `btrfs` at a shell, snapper, an admin who mounts things.

use std::fs;
use std::os::unix::fs::symlink;

use mosaic_tests::{run, word};

use crate::{on_each, site};

#[test]
fn root_what_is_no_subvolume_is_no_volume_and_is_left_alone() {
    on_each(&["btrfs"], "", |_, site| {
        site.ok(&["new", "fs", "a", "8M"]);
        fs::create_dir(site.location().join("folder")).unwrap();
        fs::write(site.location().join("folder/file"), "x").unwrap();
        fs::write(site.location().join("file"), "x").unwrap();
        symlink("a", site.location().join("link")).unwrap();
        assert_eq!(site.names(), ["a"]);
        let at = site.mountpoint("at");
        for name in ["folder", "file", "link"] {
            for words in [
                &["new", "fs", name, "8M"][..],
                &["clone", "a", name],
                &["rename", "a", name],
                &["info", name],
                &["drop", name],
                &["mount", name, word(&at)],
                &["clone", name, "b"],
                &["rename", name, "b"],
                &["resize", name, "8M"],
            ] {
                let refused = site.run(words);
                assert!([3, 4].contains(&refused.status), "{words:?}: {refused:?}");
                assert!(
                    refused.stderr.contains(name),
                    "{words:?}: {}",
                    refused.stderr
                );
            }
        }
        let refused = site.expect(4, &["new", "fs", "folder", "8M"]);
        let why = "exists, but is not a subvolume";
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
        assert_eq!(site.entries(), ["a", "file", "folder", "link"]);
        assert!(site.location().join("folder/file").exists());
    });
}

#[test]
fn root_what_btrfs_makes_renames_and_removes_is_seen_at_once() {
    on_each(
        &["btrfs", "btrfs+simple", "btrfs+full"],
        "",
        |kind, site| {
            site.ok(&["new", "fs", "a", "8M"]);
            site.subvolume("b");
            assert_eq!(site.names(), ["a", "b"], "{kind}");
            fs::rename(site.location().join("a"), site.location().join("c")).unwrap();
            assert_eq!(site.names(), ["b", "c"], "{kind}");
            run(
                "btrfs",
                &["subvolume", "delete", word(&site.location().join("b"))],
            )
            .unwrap();
            assert_eq!(site.names(), ["c"], "{kind}");
            site.expect(3, &["drop", "b"]);
            site.ok(&["clone", "c", "b"]);
            // The origin is known as long as it is there, by whatever name.
            let origin = || site.json(&["info", "b"])["volume"]["origin"].clone();
            assert_eq!(origin(), "c", "{kind}");
            fs::rename(site.location().join("c"), site.location().join("d")).unwrap();
            assert_eq!(origin(), "d", "{kind}");
            site.ok(&["drop", "d"]);
            assert!(origin().is_null(), "{kind}");
        },
    );
}

#[test]
fn root_snapshots_that_snapper_takes_are_within_their_volume() {
    on_each(&["btrfs"], "", |_, site| {
        site.ok(&["new", "fs", "a", "8M"]);
        // As `snapper create-config` and `snapper create` leave it.
        site.subvolume("a/.snapshots");
        for number in ["1", "2"] {
            let folder = format!("a/.snapshots/{number}");
            fs::create_dir(site.location().join(&folder)).unwrap();
            site.read_only_snapshot("a", &format!("{folder}/snapshot"));
        }
        assert_eq!(site.names(), ["a"]);
        site.ok(&["rename", "a", "b"]);
        site.ok(&["clone", "b", "c"]);
        assert_eq!(site.subvolumes().len(), 8);
        site.ok(&["drop", "b"]);
        assert_eq!(site.subvolumes().len(), 4);
        assert!(site.location().join("c/.snapshots/2/snapshot").is_dir());
    });
}

#[test]
fn root_a_snapshot_of_the_location_holds_no_volumes_of_it() {
    let Some(site) = site("btrfs", "") else {
        return;
    };
    // A location that is a subvolume, which snapper looks after.
    let top = site.fs().unwrap().path();
    let (home, copy) = (top.join("home"), top.join("home/.snapshots/1/snapshot"));
    run("btrfs", &["subvolume", "create", word(&home)]).unwrap();
    run(
        "btrfs",
        &["subvolume", "create", word(&home.join(".snapshots"))],
    )
    .unwrap();
    fs::create_dir(home.join(".snapshots/1")).unwrap();
    let m = site.moctl();
    m.mosaic("home", "btrfs", &home, "").unwrap();
    m.mosaic("copy", "btrfs", &copy, "").unwrap();
    m.ok(&["home", "new", "fs", "a", "8M"]);
    run(
        "btrfs",
        &["subvolume", "snapshot", word(&home), word(&copy)],
    )
    .unwrap();
    let names = |mosaic: &str| {
        let list = m.json(&[mosaic, "list"]);
        let names = list["volumes"].as_array().unwrap().iter();
        names
            .map(|v| v["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("home"), [".snapshots", "a"]);
    // Where subvolumes were in its origin a snapshot has what looks like empty directories.
    assert_eq!(names("copy"), [""; 0]);
    for words in [
        &["new", "fs", "a", "8M"][..],
        &["drop", "a"],
        &["clone", "a", "b"],
        &["mount", "a", word(&site.mountpoint("at"))],
    ] {
        let refused = m.run(&[&["copy"], words].concat());
        assert!([3, 4].contains(&refused.status), "{words:?}: {refused:?}");
    }
    m.ok(&["copy", "new", "fs", "b", "8M"]);
    assert_eq!(names("copy"), ["b"]);
    m.ok(&["home", "clone", "a", "b"]);
    m.ok(&["home", "drop", "a"]);
    assert_eq!(names("home"), [".snapshots", "b"]);
    site.fs().unwrap().check().unwrap();
}

#[test]
fn root_a_mount_over_a_volume_hides_it_from_every_verb() {
    on_each(&["btrfs"], "", |_, site| {
        site.ok(&["new", "fs", "a", "8M"]);
        site.ok(&["new", "fs", "b", "8M"]);
        fs::write(site.location().join("a/file"), "x").unwrap();
        let over = site.location().join("a");
        run("mount", &["-t", "tmpfs", "none", word(&over)]).unwrap();
        fs::write(over.join("others"), "x").unwrap();
        let at = site.mountpoint("at");
        for words in [
            &["drop", "a"][..],
            &["clone", "a", "c"],
            &["rename", "a", "c"],
            &["resize", "a", "16M"],
            &["mount", "a", word(&at)],
        ] {
            let refused = site.run(words);
            assert!([5, 6].contains(&refused.status), "{words:?}: {refused:?}");
        }
        let others = over.join("others").exists();
        run("umount", &[&over]).unwrap();
        assert!(others);
        assert_eq!(site.names(), ["a", "b"]);
        assert!(site.location().join("a/file").exists());
        // Another volume of the same file system over it is no better.
        run(
            "mount",
            &["--bind", word(&site.location().join("b")), word(&over)],
        )
        .unwrap();
        let refused = site.run(&["drop", "a"]);
        run("umount", &[&over]).unwrap();
        assert_eq!(refused.status, 5, "{}", refused.stderr);
        assert_eq!(site.names(), ["a", "b"]);
    });
}

#[test]
fn root_list_beside_btrfs_shows_whole_volumes() {
    let Some(site) = site("btrfs+simple", "") else {
        return;
    };
    site.ok(&["new", "fs", "a", "8M"]);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let path = |name: &str| site.location().join(name);
            for _ in 0..30 {
                site.subvolume("x");
                fs::rename(path("x"), path("y")).unwrap();
                run("btrfs", &["subvolume", "delete", word(&path("y"))]).unwrap();
            }
        });
        while !writer.is_finished() {
            let names = site.names();
            assert!(names.contains(&"a".to_owned()), "{names:?}");
            assert!(names.len() <= 3, "{names:?}");
            for name in ["x", "y"] {
                let output = site.run(&["info", name]);
                assert!([0, 3].contains(&output.status), "{output:?}");
            }
        }
        writer.join().unwrap();
    });
    site.assert_sound();
}
