// SPDX-License-Identifier: MIT OR Apache-2.0
//! All volumes: which ones there are, the same as one by one, whoever asks, whatever happens
//! meanwhile.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::common::{ALL_QUOTAS, MIB, Quotas, fact, open, site, site_with, volume};
use mosaic_btrfs::{Btrfs, inventory, ioctl};
use mosaic_core::volume::Volume;
use mosaic_core::{Driver, label};
use mosaic_tests::{requires_program, requires_root, run, stdout_of};

const USER: u32 = 54321;

fn listed(driver: &Btrfs) -> BTreeMap<String, Volume> {
    let volumes = driver.list().unwrap();
    let count = volumes.len();
    let by_name: BTreeMap<_, _> = volumes.into_iter().map(|v| (v.stored.clone(), v)).collect();
    assert_eq!(by_name.len(), count, "no volume twice");
    by_name
}

fn names(driver: &Btrfs) -> Vec<String> {
    listed(driver).into_keys().collect()
}

#[test]
fn root_volumes_are_the_subvolumes_right_in_the_location() {
    let Some(site) = site_with(Quotas::Off, |s| s.layout_fs = Some("meta/fs".into())) else {
        return;
    };
    fs::create_dir_all(site.at(".mosaic/tmp")).unwrap();
    fs::create_dir_all(site.at("folder")).unwrap();
    for name in [
        "a",
        "größe",
        "a/nested",
        "folder/deep",
        ".mosaic/tmp/x",
        ".mosaicx",
        "meta",
        "meta/fs",
        "-n",
        "new\nline",
        "lost+found",
    ] {
        site.subvolume(name);
    }
    let bytes = site.path.join(OsStr::from_bytes(b"\xff"));
    ioctl::create(site.dir().as_fd(), b"\xff", None).unwrap();
    assert!(bytes.is_dir());
    fs::write(site.at("file"), "x").unwrap();
    // One that is elsewhere in the file system, under the name of a volume.
    let elsewhere = site.fs.path().join("a");
    run(
        "btrfs",
        &["subvolume", "create", elsewhere.to_str().unwrap()],
    )
    .unwrap();
    assert_eq!(names(&site.driver), ["a", "größe"]);
    // The location can be a subvolume, or the whole file system.
    let within = site.driver_at(&site.at("a"), |_| {});
    assert_eq!(names(&within), ["nested"]);
    let top = site.driver_at(site.fs.path(), |_| {});
    assert_eq!(names(&top), ["a"]);
    // One that is dropped goes at once, before the commit that makes it so for good.
    ioctl::destroy(site.dir().as_fd(), "größe").unwrap();
    assert_eq!(names(&site.driver), ["a"]);
}

#[test]
fn root_volumes_of_a_map_are_in_folders_of_their_depth() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    for folder in ["1", "2/deeper", ".mosaic"] {
        fs::create_dir_all(site.at(folder)).unwrap();
    }
    // A folder can be a subvolume of its own.
    for name in [
        "3",
        "3/c",
        "1/a",
        "1/a/nested",
        "2/b",
        "2/deeper/d",
        "flat",
        "1/meta",
        ".mosaic/x",
    ] {
        site.subvolume(name);
    }
    label::set_name(
        open(&site.at("1/a")),
        &mosaic_core::VolumeName::with_stored("1a", "1/a").unwrap(),
    )
    .unwrap();
    let driver = site.driver_at(&site.path, |settings| {
        settings.depth = 2;
        settings.mapped = true;
        settings.layout_fs = Some("1/meta".into());
    });
    let volumes = listed(&driver);
    assert_eq!(volumes.keys().collect::<Vec<_>>(), ["1/a", "2/b", "3/c"]);
    assert_eq!(volumes["1/a"].user.as_deref(), Some("1a"));
    // What a mount covers is not in the location for the time being.
    let at = site.at("3");
    run("mount", &["-t", "tmpfs", "none", at.to_str().unwrap()]).unwrap();
    assert_eq!(names(&driver), ["1/a", "2/b"]);
    run("umount", &[&at]).unwrap();
}

#[test]
fn root_the_list_says_what_a_look_at_each_one_says() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else {
            return;
        };
        site.subvolume("vol");
        site.subvolume("vol/nested");
        site.write("vol/file", 3 * MIB);
        if quotas != Quotas::Off {
            ioctl::limit(site.dir(), site.id("vol"), Some(64 * MIB)).unwrap();
        }
        site.snapshot("vol", "snap", true);
        site.snapshot("snap", "snap of snap", false);
        // Its origin is no volume.
        site.snapshot("vol/nested", "stranger", false);
        site.write("snap of snap/file", MIB);
        site.commit();
        let volumes = listed(&site.driver);
        assert_eq!(volumes.len(), 4);
        for (name, volume) in &volumes {
            let mut found = site.found(name);
            // What holds for all is said of one.
            let of_all = found.notes.split_off(volume.notes.len());
            assert_eq!(of_all.len(), usize::from(quotas != Quotas::Full));
            assert_eq!(&found, volume, "{quotas:?}");
            assert_eq!(volume.used.is_some(), quotas != Quotas::Off);
        }
        let origin = |name: &str| volumes[name].origin.as_deref();
        assert_eq!(origin("vol"), None);
        assert_eq!(origin("snap"), Some("vol"));
        assert_eq!(origin("snap of snap"), Some("snap"));
        assert_eq!(origin("stranger"), None);
        assert!(fact(&volumes["stranger"], "parent uuid").is_some());
        assert!(volumes["snap"].read_only && !volumes["vol"].read_only);
    }
}

/// Ids and paths as `btrfs subvolume list` has them.
#[test]
fn root_one_that_is_not_committed_yet_is_listed_as_it_is() {
    for quotas in [Quotas::Simple, Quotas::Full] {
        let Some(site) = site(quotas) else {
            return;
        };
        let limit = ioctl::Inherit {
            limit: Some(64 * MIB),
            groups: Vec::new(),
        };
        ioctl::create(site.dir().as_fd(), "new", Some(&limit)).unwrap();
        let listed = site.driver.list().unwrap();
        let mut found = site.found("new");
        found.notes.clear();
        assert_eq!(listed, [found]);
        assert_eq!(listed[0].size.map(|size| size.0), Some(64 * MIB));
    }
}

#[test]
fn root_no_subvolume_is_missed() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    let dir = site.dir();
    for number in 0..700 {
        ioctl::create(dir.as_fd(), format!("v{number}"), None).unwrap();
    }
    site.subvolume("v3/nested");
    site.commit();
    let volumes = listed(&site.driver);
    let text = stdout_of(
        "btrfs",
        &["subvolume", "list", site.fs.path().to_str().unwrap()],
    )
    .unwrap();
    let ids: BTreeMap<&str, &str> = text
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[8].trim_start_matches("ct/"), words[1])
        })
        .collect();
    assert_eq!(volumes.len(), 700);
    for (name, volume) in &volumes {
        assert_eq!(fact(volume, "id"), Some(ids[name.as_str()]), "{name}");
    }
    assert_eq!(ids.len(), 701);
    assert_eq!(inventory::subvolumes(dir.as_fd()).unwrap().len(), 701);
}

#[test]
fn root_an_origin_in_a_folder_has_its_name() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    fs::create_dir_all(site.at("1/2")).unwrap();
    site.subvolume("s");
    fs::create_dir(site.at("s/2")).unwrap();
    for (from, to) in [("1/2/a", "1/2/b"), ("s/2/c", "1/2/d")] {
        site.subvolume(from);
        site.snapshot(from, to, false);
    }
    // Not at the depth of a volume, and outside of the location.
    site.snapshot("s", "1/2/e", false);
    let outside = site.fs.path().join("outside");
    run("btrfs", &["subvolume", "create", outside.to_str().unwrap()]).unwrap();
    let to = site.at("1/2/f");
    run(
        "btrfs",
        &[
            "subvolume",
            "snapshot",
            outside.to_str().unwrap(),
            to.to_str().unwrap(),
        ],
    )
    .unwrap();
    let driver = site.driver_at(&site.path, |settings| settings.depth = 3);
    for (name, origin) in [
        ("1/2/b", Some("1/2/a")),
        ("1/2/d", Some("s/2/c")),
        ("1/2/e", None),
        ("1/2/f", None),
    ] {
        let found = driver.find(&volume(name)).unwrap().unwrap();
        assert_eq!(found.origin.as_deref(), origin, "{name}");
        assert_eq!(listed(&driver)[name].origin.as_deref(), origin, "{name}");
    }
}

/// The kernel writes the new place of a subvolume after it has taken the old one away.
#[test]
fn root_a_volume_that_is_renamed_meanwhile_is_listed_once() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    for folder in ["1", "2"] {
        fs::create_dir(site.at(folder)).unwrap();
        for number in 0..100 {
            site.subvolume(&format!("{folder}/v{number}"));
        }
    }
    site.subvolume("1/x");
    let driver = site.driver_at(&site.path, |settings| settings.depth = 2);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Also to a folder that comes and goes.
            while !over.load(Ordering::Relaxed) {
                fs::create_dir(site.at("3")).unwrap();
                for pair in ["1/x", "2/x", "2/y", "3/y", "1/x"].windows(2) {
                    fs::rename(site.at(pair[0]), site.at(pair[1])).unwrap();
                }
                fs::remove_dir(site.at("3")).unwrap();
            }
        });
        let looked = std::panic::catch_unwind(|| {
            for _ in 0..400 {
                let names = names(&driver);
                let moving = names
                    .iter()
                    .filter(|n| n.ends_with('x') || n.ends_with('y'));
                assert_eq!((moving.count(), names.len()), (1, 201));
            }
        });
        over.store(true, Ordering::Relaxed);
        looked.unwrap();
    });
}

#[test]
fn root_volumes_that_come_and_go_meanwhile_are_no_error() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else {
            return;
        };
        site.subvolume("stays");
        let dir = site.dir();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for _ in 0..50 {
                        ioctl::create(dir.as_fd(), "comes", None).unwrap();
                        ioctl::destroy(dir.as_fd(), "comes").unwrap();
                    }
                    site.commit();
                }
            });
            let looked = std::panic::catch_unwind(|| {
                for _ in 0..200 {
                    assert!(names(&site.driver).contains(&"stays".to_owned()));
                    site.find("comes").unwrap();
                }
            });
            over.store(true, Ordering::Relaxed);
            looked.unwrap();
        });
    }
}

/// What `list` and `info` of another user say, beside root's.
#[test]
fn root_no_privilege_is_needed_to_look() {
    if !requires_root() || !requires_program("mkfs.btrfs") {
        return;
    }
    for quotas in ALL_QUOTAS {
        let site = mosaic_tests::Site::of_user_on(USER, "btrfs", "btrfs", "").unwrap();
        let mounted = site.fs().unwrap();
        crate::common::enable(mounted, quotas);
        let root = {
            let mut settings = mosaic_core::Settings::new(site.location());
            settings.depth = 1;
            Btrfs::open(
                mosaic_core::Host::new(std::sync::Arc::new(mosaic_core::host_services::Silent)),
                &settings,
            )
            .unwrap()
        };
        let dir = open(site.location());
        let own = |name: &str| {
            let at = site.location().join(name);
            chown(&at, Some(USER), Some(USER)).unwrap();
            at
        };
        ioctl::create(dir.as_fd(), "mine", None).unwrap();
        ioctl::create(dir.as_fd(), "others", None).unwrap();
        let mine = own("mine");
        ioctl::snapshot(dir.as_fd(), "clone", open(&mine).as_fd(), true, None).unwrap();
        fs::set_permissions(
            site.location().join("others"),
            fs::Permissions::from_mode(0o700),
        )
        .unwrap();
        fs::create_dir(site.location().join("folder")).unwrap();
        mosaic_btrfs::commit::everything(dir.as_fd()).unwrap();

        let expected = listed(&root);
        let seen = site.json(&["list"]);
        let seen = seen["volumes"].as_array().unwrap();
        assert_eq!(seen.len(), 3, "{seen:?}");
        for volume in seen {
            let name = volume["name"].as_str().unwrap();
            let by_root = &expected[name];
            if name == "others" {
                let note = volume["notes"][0].as_str().unwrap();
                assert!(note.contains("cannot open its directory"), "{note}");
                continue;
            }
            for (key, value) in &by_root.facts {
                assert_eq!(
                    volume["facts"][key].as_str(),
                    Some(value.as_str()),
                    "{name}"
                );
            }
            let used = by_root.used.map(|used| used.0);
            assert_eq!(volume["used"].as_u64(), used, "{name} {quotas:?}");
            assert_eq!(volume["origin"].as_str(), by_root.origin.as_deref());
        }
        let info = site.json(&["info", "mine"]);
        assert_eq!(
            info["volume"]["used"].as_u64(),
            expected["mine"].used.map(|u| u.0)
        );
    }
}
