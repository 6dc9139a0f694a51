// SPDX-License-Identifier: MIT OR Apache-2.0
//! New volumes: their limit, their mode, their label, their cost.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use common::changes::{as_owner, fill, mapped};
use common::{ALL_QUOTAS, MIB, Quotas, site, site_with, volume};
use mosaic_core::volume::{NewKind, NewVolume};
use mosaic_core::{Bytes, Driver, ErrorKind, ScratchName, label};
use mosaic_tests::{requires_program, run};
use rustix::fs::Mode;
use rustix::io::Errno;

fn mode(path: &Path) -> u32 {
    let found = std::fs::metadata(path).unwrap();
    found.permissions().mode() & 0o7777
}

#[test]
fn root_a_new_volume_is_a_subvolume_with_a_limit_that_binds() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else { return };
        site.new_volume("a", 8 * MIB).unwrap();
        let said = site.said.take().join("\n");
        let found = site.found("a");
        let stopped = fill(&site.at("a/file"), 16 * MIB);
        match quotas {
            Quotas::Off => {
                assert!(said.starts_with("size is not enforced: quotas are off"));
                assert_eq!((found.size, stopped), (None, None));
            }
            _ => {
                assert_eq!(said, "");
                assert_eq!(found.size, Some(Bytes(8 * MIB)));
                assert_eq!(stopped, Some(Errno::DQUOT), "{quotas:?}");
            }
        }
        assert_eq!(site.leftovers(), [""; 0]);
    }
}

#[test]
fn root_a_new_volume_costs_one_commit() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else { return };
        assert_eq!(site.commits(|| site.new_volume("a", MIB).unwrap()), 1);
        assert_eq!(site.commits(|| site.new_volume("b", MIB).unwrap()), 1);
        // The folder of half-made things is made once, and synced by itself.
        site.new_named(&mapped("user", "c"), MIB).unwrap();
        let labelled = || site.new_named(&mapped("other", "1/d"), MIB).unwrap();
        assert_eq!(site.commits(labelled), 1, "{quotas:?}");
    }
}

#[test]
fn root_a_new_volume_is_its_owners_alone_whatever_the_umask() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    let volume = |name: &str| site.at(name);
    // Of the process: another thread would see a change of it.
    let before = rustix::process::umask(Mode::empty());
    let (watch, changed) = (AtomicBool::new(true), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while watch.load(Ordering::Relaxed) {
                let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
                if !status.contains("Umask:\t0000") {
                    changed.store(true, Ordering::Relaxed);
                }
            }
        });
        site.new_volume("a", MIB).unwrap();
        site.new_volume("folder/b", MIB).unwrap();
        site.new_named(&mapped("user", "c"), MIB).unwrap();
        watch.store(false, Ordering::Relaxed);
    });
    let during = rustix::process::umask(before);
    assert_eq!(during, Mode::empty());
    assert!(!changed.load(Ordering::Relaxed));
    for name in ["a", "folder/b", "c"] {
        assert_eq!(mode(&volume(name)), 0o700, "{name}");
    }
    // A folder above is as mkdir makes it.
    assert_eq!(mode(&volume("folder")), 0o755);
}

/// Without privilege, and where no thread can be made: that user has as many processes as allowed.
#[test]
fn root_an_owner_makes_volumes_also_without_a_thread_to_do_it() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    site.give_to_owner();
    let new = |name: &str| as_owner(|| site.new_volume(name, 8 * MIB)).unwrap();
    new("1/a");
    assert_eq!(site.leftovers(), [""; 0]);
    let before = getrlimit(Resource::Nproc);
    let none = Rlimit {
        current: Some(0),
        maximum: before.maximum,
    };
    // Root, whom the other tests run as, is not bound by it.
    setrlimit(Resource::Nproc, none).unwrap();
    let done = std::panic::catch_unwind(|| new("1/b"));
    setrlimit(Resource::Nproc, before).unwrap();
    done.unwrap();
    assert!(site.at(".mosaic/tmp").is_dir());
    for name in ["1/a", "1/b"] {
        assert_eq!(mode(&site.at(name)), 0o700);
        assert_eq!(site.found(name).size, Some(Bytes(8 * MIB)));
    }
    assert_eq!(site.leftovers(), [""; 0]);
}

#[test]
fn root_a_default_acl_lets_nobody_into_a_new_volume() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    if !requires_program("setfacl") {
        return;
    }
    let at = site.path.to_str().unwrap();
    run("setfacl", &["-d", "-m", "user:1000:rwx,other::rwx", at]).unwrap();
    run("chmod", &["755", at]).unwrap();
    site.fs.let_others_in().unwrap();
    site.new_volume("a", MIB).unwrap();
    site.new_volume("folder/b", MIB).unwrap();
    site.new_named(&mapped("user", "c"), MIB).unwrap();
    for name in ["a", "folder/b", "c"] {
        assert_eq!(mode(&site.at(name)), 0o700, "{name}");
        let mut list = Command::new("ls");
        let looked = list.arg(site.at(name)).uid(1000).gid(1000).output();
        assert!(!looked.unwrap().status.success(), "{name}");
    }
}

#[test]
fn root_a_name_that_the_map_changed_stays_with_the_volume() {
    let Some(site) = site_with(Quotas::Simple, |settings| settings.mapped = true) else {
        return;
    };
    site.new_named(&mapped("user", "1/user"), MIB).unwrap();
    let found = site.found("1/user");
    assert_eq!(found.user.as_deref(), Some("user"));
    assert_eq!(found.size, Some(Bytes(MIB)));
    site.new_volume("plain", MIB).unwrap();
    let plain = site.driver.volume(&volume("plain")).unwrap();
    assert_eq!(label::name(plain.dir()).unwrap(), None);
    assert_eq!(site.leftovers(), [""; 0]);
}

#[test]
fn root_what_is_there_is_never_replaced() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    std::fs::create_dir(site.at("folder")).unwrap();
    std::fs::write(site.at("file"), "x").unwrap();
    site.new_volume("a", MIB).unwrap();
    let id = site.id("a");
    for name in ["folder", "file", "a"] {
        for name in [volume(name), mapped("user", name)] {
            let error = site.new_named(&name, MIB).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Exists, "{}", error.chain());
        }
    }
    let error = site.new_volume("file/b", MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "{}", error.chain());
    assert_eq!(site.id("a"), id);
    assert_eq!(site.entries(), ["a", "file", "folder"]);
    assert_eq!(site.leftovers(), [""; 0]);
}

#[test]
fn root_a_disk_is_refused_with_the_reason() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    let new = NewVolume {
        kind: NewKind::Disk,
        size: Bytes(MIB),
        scratch: ScratchName::from_random(1),
    };
    let error = site.driver.create(&volume("a"), &new).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.chain().contains("types dmthin and loop"),
        "{}",
        error.chain()
    );
}

#[test]
fn root_a_size_that_has_to_bind_is_refused_where_it_cannot() {
    let required = |settings: &mut mosaic_core::Settings| settings.set("quota", "required");
    let Some(site) = site_with(Quotas::Off, required) else {
        return;
    };
    let error = site.new_volume("folder/a", MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.chain().contains("init --quota simple"),
        "{}",
        error.chain()
    );
    assert_eq!(site.entries(), [""; 0]);
    let off = |settings: &mut mosaic_core::Settings| settings.set("quota", "off");
    let Some(site) = site_with(Quotas::Full, off) else {
        return;
    };
    site.new_volume("a", MIB).unwrap();
    let said = site.said.take();
    assert_eq!(
        said,
        ["size is not enforced: the config says quota: off"],
        "{said:?}"
    );
    assert_eq!(fill(&site.at("a/file"), 4 * MIB), None);
}

#[test]
fn root_a_size_has_room_for_a_file() {
    for quotas in [Quotas::Simple, Quotas::Full] {
        let Some(site) = site(quotas) else { return };
        let error = site.new_volume("a", 128 << 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.chain().contains("256 KiB"), "{}", error.chain());
        for name in [volume("a"), mapped("user", "b")] {
            site.new_named(&name, 256 << 10).unwrap();
            let folder = site.at(name.stored()).join("folder");
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("file"), "x").unwrap();
        }
    }
}

#[test]
fn root_a_volume_joins_the_groups_of_its_place() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    site.btrfs(&["qgroup", "create", "1/7"], "");
    let place = format!("0/{}", site.id(""));
    site.btrfs(&["qgroup", "assign", &place, "1/7"], "");
    site.btrfs(&["qgroup", "limit", "16m", "1/7"], "");
    site.new_volume("a", 64 * MIB).unwrap();
    site.clone_volume("a", "b", None).unwrap();
    site.clone_volume("a", "c", Some(128 * MIB)).unwrap();
    // Together they have what the group has.
    assert_eq!(fill(&site.at("a/file"), 8 * MIB), None);
    assert_eq!(fill(&site.at("b/file"), 6 * MIB), None);
    assert_eq!(fill(&site.at("c/file"), 8 * MIB), Some(Errno::DQUOT));
}
