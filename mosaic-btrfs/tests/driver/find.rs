// SPDX-License-Identifier: MIT OR Apache-2.0
//! One volume, looked at: what is one, what is none, and what is known of it.

use std::collections::HashMap;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use crate::common::{MIB, Quotas, enable, fact, site, site_with, volume};
use mosaic_btrfs::quota::{self, Account, Mode};
use mosaic_btrfs::{Btrfs, ioctl};
use mosaic_core::host_services::Silent;
use mosaic_core::volume::MountSource;
use mosaic_core::{Bytes, Driver, ErrorKind, Host, Settings};
use mosaic_tests::{MountedFs, Scratch, requires_program, requires_root, run, stdout_of};

/// What `btrfs subvolume show` says, by its words.
fn shown(path: &Path) -> HashMap<String, String> {
    let words = ["subvolume", "show", path.to_str().unwrap()];
    let text = stdout_of("btrfs", &words).unwrap();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

/// What `btrfs qgroup show --raw` says: usage, exclusive usage and limit by subvolume id.
fn qgroups(path: &Path) -> HashMap<String, [String; 3]> {
    let words = [
        "qgroup",
        "show",
        "--raw",
        "--sync",
        "-r",
        path.to_str().unwrap(),
    ];
    let text = stdout_of("btrfs", &words).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("0/"));
    lines
        .map(|line| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let id = words[0].trim_start_matches("0/").to_owned();
            let limit = words
                .iter()
                .skip(3)
                .find(|w| w.parse::<u64>().is_ok() || *w == "none");
            (
                id,
                [words[1].clone(), words[2].clone(), limit.unwrap().clone()],
            )
        })
        .collect()
}

#[test]
fn root_a_location_elsewhere_is_refused_with_what_it_is() {
    if !requires_root() {
        return;
    }
    for fs in ["ext4", "xfs"] {
        if !requires_program(&format!("mkfs.{fs}")) {
            continue;
        }
        let mounted = MountedFs::new(fs).unwrap();
        let refused = Btrfs::open(
            Host::new(std::sync::Arc::new(Silent)),
            &Settings::new(mounted.path()),
        );
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let expected = format!("location {:?} is on {fs}, not btrfs", mounted.path());
        assert_eq!(error.chain(), expected);
    }
    let gone = Scratch::new("btrfs-gone").unwrap().path().join("nothing");
    let error =
        Btrfs::open(Host::new(std::sync::Arc::new(Silent)), &Settings::new(gone)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn root_only_a_subvolume_is_a_volume() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.subvolume("vol");
    site.subvolume("vol/nested");
    site.snapshot("vol", "snap", false);
    assert_eq!(site.found("vol").stored, "vol");
    assert!(site.find("nothing").unwrap().is_none());
    assert!(site.find("nothing/at/all").unwrap().is_none());
    // What a snapshot has in the place of a nested subvolume is an empty directory.
    fs::create_dir(site.at("folder")).unwrap();
    for plain in ["folder", "snap/nested"] {
        let error = site.find(plain).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists);
        let says = error.chain();
        assert!(says.contains("exists, but is not a subvolume"), "{says}");
    }
    fs::write(site.at("file"), "x").unwrap();
    std::os::unix::fs::symlink("vol", site.at("link")).unwrap();
    for name in ["file", "link"] {
        assert_eq!(site.find(name).unwrap_err().kind(), ErrorKind::Exists);
        let source = site.driver.mount_source(Some(&volume(name)), false);
        assert_eq!(source.unwrap_err().kind(), ErrorKind::Exists);
    }
    let error = site.driver.volume(&volume("nothing")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// A mount over a volume, or over a folder above it, shows something else.
#[test]
fn root_what_a_mount_covers_is_busy() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.subvolume("vol");
    site.subvolume("other");
    fs::create_dir(site.at("folder")).unwrap();
    site.subvolume("folder/deep");
    let at = |name: &str| site.at(name).to_str().unwrap().to_owned();
    run("mount", &["-t", "tmpfs", "none", &at("vol")]).unwrap();
    // Another subvolume of the very same file system: inode and device are right.
    run("mount", &["--bind", &at("other"), &at("folder")]).unwrap();
    for name in ["vol", "folder/deep", "folder/missing"] {
        let error = site.find(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{name}: {}", error.chain());
        let source = site.driver.mount_source(Some(&volume(name)), false);
        assert_eq!(source.unwrap_err().kind(), ErrorKind::Busy);
    }
    for name in ["vol", "folder"] {
        run("umount", &[&site.at(name)]).unwrap();
    }
    assert!(site.find("vol").unwrap().is_some());
    assert!(site.find("folder/deep").unwrap().is_some());
    assert!(site.find("folder/missing").unwrap().is_none());
    // A mount of the volume itself hides nothing.
    run("mount", &["--bind", &at("vol"), &at("vol")]).unwrap();
    assert_eq!(site.found("vol").notes.len(), 1);
    run("mount", &["-t", "tmpfs", "none", &at("vol")]).unwrap();
    assert_eq!(site.find("vol").unwrap_err().kind(), ErrorKind::Busy);
    run("umount", &[&site.at("vol")]).unwrap();
    run("umount", &[&site.at("vol")]).unwrap();
    run("mount", &["--bind", &at("other"), &at("vol")]).unwrap();
    assert_eq!(site.find("vol").unwrap_err().kind(), ErrorKind::Busy);
    run("umount", &[&site.at("vol")]).unwrap();
}

#[test]
fn root_facts_are_those_that_btrfs_shows() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.subvolume("vol");
    site.subvolume("vol/nested");
    fs::create_dir(site.at("vol/folder")).unwrap();
    site.subvolume("vol/folder/nested");
    site.snapshot("vol", "snap", true);
    site.commit();
    for name in ["vol", "snap"] {
        let (found, shown) = (site.found(name), shown(&site.at(name)));
        for (key, fact_name) in [
            ("Subvolume ID", "id"),
            ("Generation", "generation"),
            ("UUID", "uuid"),
            ("Parent UUID", "parent uuid"),
            ("Received UUID", "received uuid"),
        ] {
            let expected = Some(shown[key].as_str()).filter(|value| *value != "-");
            assert_eq!(fact(&found, fact_name), expected, "{name}: {key}");
        }
        let created = shown["Creation time"].as_str();
        let utc = stdout_of("date", &["-u", "-d", created, "+%FT%TZ"]).unwrap();
        assert_eq!(fact(&found, "created"), Some(utc.trim_end()));
        assert_eq!(found.read_only, shown["Flags"] == "readonly");
    }
    assert_eq!(fact(&site.found("vol"), "nested"), Some("2"));
    assert_eq!(fact(&site.found("snap"), "nested"), None);
}

#[test]
fn root_sizes_are_those_of_the_qgroup() {
    for quotas in [Quotas::Simple, Quotas::Full] {
        let Some(site) = site(quotas) else {
            return;
        };
        let id = site.subvolume("limited");
        ioctl::limit(site.dir(), id, Some(64 * MIB)).unwrap();
        site.subvolume("free");
        site.write("limited/file", 5 * MIB);
        site.commit();
        let mode = quota::mode(site.dir().as_fd()).unwrap();
        let expected = match quotas {
            Quotas::Simple => Mode::Simple,
            _ => Mode::Full {
                inconsistent: false,
            },
        };
        assert_eq!(mode, expected);
        let dir = site.dir();
        let all = quota::accounts(dir.as_fd()).unwrap();
        for name in ["limited", "free"] {
            let found = site.found(name);
            let id = fact(&found, "id").unwrap();
            let [used, exclusive, limit] = &qgroups(&site.path)[id];
            let size = found
                .size
                .map_or("none".to_owned(), |size| size.0.to_string());
            assert_eq!(&size, limit, "{name} {quotas:?}");
            assert_eq!(&found.used.unwrap().0.to_string(), used);
            assert_eq!(&found.exclusive.unwrap().0.to_string(), exclusive);
            // Both ways to ask agree.
            let id = id.parse().unwrap();
            assert_eq!(quota::account(dir.as_fd(), id).unwrap(), all.of(id));
        }
        let found = site.found("limited");
        assert_eq!(found.size, Some(Bytes(64 * MIB)));
        assert!(found.used.unwrap().0 >= 5 * MIB);
        assert_eq!(
            quota::account(dir.as_fd(), 99_999).unwrap(),
            Account::default()
        );
        assert_eq!(
            found.notes.is_empty(),
            quotas == Quotas::Full,
            "{:?}",
            found.notes
        );
    }
}

#[test]
fn root_without_quotas_nothing_is_known_and_that_is_said() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    let dir = site.dir();
    site.subvolume("vol");
    assert_eq!(quota::mode(dir.as_fd()).unwrap(), Mode::Off);
    assert!(quota::accounts(dir.as_fd()).unwrap().usages().is_empty());
    let found = site.found("vol");
    assert_eq!(
        (found.size, found.used, found.exclusive),
        (None, None, None)
    );
    assert!(
        found.notes[0].starts_with("size is not enforced: quotas are off"),
        "{:?}",
        found.notes
    );
    assert!(found.notes[0].contains("init --quota simple"));
    // Switched on, but not to be used.
    enable(&site.fs, Quotas::Full);
    ioctl::limit(&dir, site.id("vol"), Some(MIB)).unwrap();
    let off = site.driver_at(&site.path, |settings| settings.set("quota", "off"));
    let found = off.find(&volume("vol")).unwrap().unwrap();
    assert_eq!((found.size, found.used), (None, None));
    assert_eq!(
        found.notes,
        ["size is not enforced: the config says quota: off"]
    );
    assert_eq!(site.found("vol").size, Some(Bytes(MIB)));
}

#[test]
fn root_the_source_of_a_mount_is_the_subvolume() {
    let Some(site) = site_with(Quotas::Off, |s| s.layout_fs = Some("meta/fs".into())) else {
        return;
    };
    site.subvolume("vol");
    let source = |name: Option<&str>| {
        let name = name.map(volume);
        match site.driver.mount_source(name.as_ref(), false)? {
            MountSource::Directory(dir) => Ok(rustix::fs::fstat(dir).unwrap().st_dev),
            MountSource::Device { path, .. } => panic!("{path:?} is a device"),
        }
    };
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    assert_eq!(source(Some("vol")).unwrap(), device(&site.at("vol")));
    assert_eq!(
        source(Some("x")).map_err(|e: mosaic_core::Error| e.kind()),
        Err(ErrorKind::NotFound)
    );
    assert_eq!(source(None).map_err(|e| e.kind()), Err(ErrorKind::NotFound));
    fs::create_dir_all(site.at("meta/fs")).unwrap();
    assert_eq!(source(None).unwrap(), device(&site.path));
}
