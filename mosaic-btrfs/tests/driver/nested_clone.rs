// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clones of volumes with subvolumes in them: all of these, or no clone.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::common::changes::{StopAtEnd, as_owner, fill, fill_to_the_brim, mapped};
use crate::common::{ALL_QUOTAS, MIB, Quotas, Site, open, site, volume};
use mosaic_btrfs::{Btrfs, ioctl, quota};
use mosaic_core::volume::CloneOptions;
use mosaic_core::{Driver, ErrorKind, Host, Level, Result, ScratchName, Services, Settings};
use mosaic_tests::run;
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, statat};
use rustix::io::Errno;

/// Inode of an empty directory where a snapshot's source has a subvolume.
const STUB: u64 = 2;

/// Makes a subvolume by any name, with a file in it.
fn subvolume(path: &Path) {
    let (above, name) = (path.parent().unwrap(), path.file_name().unwrap());
    ioctl::create(open(above).as_fd(), name.as_bytes(), None).unwrap();
    fs::write(path.join("file"), name.as_bytes()).unwrap();
}

/// All that is beneath a path: what it is, its time and, of a file, what is in it.
fn tree(path: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let is = fs::symlink_metadata(&path).unwrap();
            let content = match is.is_file() {
                true => fs::read(&path).unwrap(),
                false => Vec::new(),
            };
            let kind = match is.ino() {
                256 => format!(
                    "subvolume, read-only: {}",
                    ioctl::is_read_only(open(&path)).unwrap()
                ),
                STUB => "stub".to_owned(),
                number => format!("inode {number}"),
            };
            // A stub has the time at which it is looked at.
            let time = if is.ino() == STUB { 0 } else { is.mtime_nsec() };
            found.push((
                path.clone(),
                format!("{kind}, {:o}, {time}, {content:?}", is.mode()),
            ));
            if is.is_dir() {
                folders.push(path);
            }
        }
    }
    let relative =
        |(found, what): (PathBuf, String)| (found.strip_prefix(path).unwrap().to_owned(), what);
    let mut found: Vec<_> = found.into_iter().map(relative).collect();
    found.sort();
    found
}

fn limit(site: &Site, name: &str) -> Option<u64> {
    let account = quota::account(site.dir().as_fd(), site.id(name)).unwrap();
    account.limit.map(|limit| limit / MIB)
}

/// A volume `a` with all that there can be in one.
fn fill_volume(site: &Site) {
    site.new_volume("a", 512 * MIB).unwrap();
    let a = site.at("a");
    fs::create_dir_all(a.join("folder/deep")).unwrap();
    subvolume(&a.join("one"));
    subvolume(&a.join("folder/deep/two"));
    // Within each other.
    subvolume(&a.join("one/within"));
    fs::create_dir(a.join("one/within/folder")).unwrap();
    subvolume(&a.join("one/within/folder/deepest"));
    // Read-only ones, one of them with another one in it.
    subvolume(&a.join("sealed"));
    ioctl::set_read_only(open(&a.join("sealed")), true).unwrap();
    subvolume(&a.join("outer"));
    subvolume(&a.join("outer/inner"));
    subvolume(&a.join("outer/inner/innermost"));
    for name in ["outer/inner", "outer"] {
        ioctl::set_read_only(open(&a.join(name)), true).unwrap();
    }
    // A stub of its own.
    subvolume(&a.join("source"));
    subvolume(&a.join("source/nested"));
    site.snapshot("a/source", "a/with-stub", false);
    // Names as only a tenant gives them.
    for name in [
        &b"\xff\xfe"[..],
        b"with\nline",
        b"-rf *",
        b".mosaic",
        &[b'x'; 255],
    ] {
        fs::create_dir(a.join("folder").join(OsStr::from_bytes(name))).unwrap();
        let within = a.join("folder").join(OsStr::from_bytes(name));
        subvolume(&within.join(OsStr::from_bytes(name)));
    }
}

#[test]
fn root_all_within_a_volume_is_in_its_clone() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else { return };
        fill_volume(&site);
        site.commit();
        let before = tree(&site.at("a"));
        assert_eq!(before.iter().filter(|e| e.1.starts_with("sub")).count(), 16);
        assert_eq!(before.iter().filter(|e| e.1.starts_with("stub")).count(), 1);
        for name in [volume("1/b"), mapped("user", "c")] {
            site.clone_named(&volume("a"), &name, None).unwrap();
            let clone = tree(&site.at(name.stored()));
            for (was, is) in before.iter().zip(&clone) {
                assert_eq!(was, is);
            }
            assert_eq!(clone.len(), before.len());
        }
        assert_eq!(tree(&site.at("a")), before);
        // Each goes its own way.
        fs::write(site.at("1/b/one/within/file"), "b").unwrap();
        assert_eq!(fs::read(site.at("a/one/within/file")).unwrap(), b"within");
        assert_eq!(site.leftovers(), [""; 0]);
    }
}

#[test]
fn root_a_subvolume_within_keeps_its_limit() {
    for quotas in [Quotas::Simple, Quotas::Full] {
        let Some(site) = site(quotas) else { return };
        site.new_volume("a", 64 * MIB).unwrap();
        for (name, limit) in [("a/one", 8), ("a/one/two", 16), ("a/free", 0)] {
            site.subvolume(name);
            site.subvolume(&format!("{name}/sealed"));
            let sealed = open(&site.at(name).join("sealed"));
            ioctl::set_read_only(sealed, true).unwrap();
            let limit = (limit > 0).then_some(limit * MIB);
            ioctl::limit(site.dir(), site.id(name), limit).unwrap();
        }
        // With as much in it as it may have: with full quotas its snapshot may then not even be changed.
        fill_to_the_brim(&site.at("a/one"));
        site.clone_volume("a", "b", Some(128 * MIB)).unwrap();
        for (name, wanted) in [
            ("b", Some(128)),
            ("b/one", Some(8)),
            ("b/one/two", Some(16)),
            ("b/free", None),
            ("a", Some(64)),
            ("a/one", Some(8)),
        ] {
            assert_eq!(limit(&site, name), wanted, "{quotas:?} {name}");
        }
        let stopped = fill(&site.at("b/one/more"), 16 * MIB);
        assert_eq!(stopped, Some(Errno::DQUOT));
        // None of that counts for the volume, and this is said.
        let free = fill(&site.at("b/free/file"), 160 * MIB);
        assert_eq!(free, None);
        let notes = site.found("b").notes.join("\n");
        assert!(notes.contains("within it, each of which counts for itself"));
    }
}

/// Its own, one for each within, and that of the rename.
#[test]
fn root_each_subvolume_within_costs_a_commit() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    site.new_volume("a", 64 * MIB).unwrap();
    site.new_named(&mapped("user", "b"), 64 * MIB).unwrap();
    for number in 0..5 {
        site.subvolume(&format!("a/{number}"));
    }
    let cost = site.commits(|| site.clone_volume("a", "c", None).unwrap());
    assert_eq!(cost, 7);
}

/// Nothing is left of a clone that cannot be whole, nor of the folders above it.
fn assert_refused(site: &Site, cloned: Result<()>, kind: ErrorKind, word: &str) {
    let error = cloned.unwrap_err();
    assert_eq!(error.kind(), kind, "{}", error.chain());
    assert!(error.chain().contains(word), "{}", error.chain());
    assert_eq!(site.entries(), ["a"]);
    assert_eq!(site.leftovers(), [""; 0]);
}

#[test]
fn root_what_is_mounted_over_a_subvolume_does_not_hide_it() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.give_to_owner();
    fill_volume(&site);
    let before = tree(&site.at("a"));
    let (over, folder) = (site.at("a/one"), site.at("a/folder"));
    for path in [&over, &folder] {
        run("mount", &["-t", "tmpfs", "none", path.to_str().unwrap()]).unwrap();
    }
    let cloned = site.clone_volume("a", "b", None);
    // By path there is no way around it.
    std::os::unix::fs::chown(site.at("a"), Some(1000), Some(1000)).unwrap();
    let refused = as_owner(|| site.clone_volume("a", "1/c", None)).unwrap_err();
    for path in [&over, &folder] {
        run("umount", &[path]).unwrap();
    }
    cloned.unwrap();
    assert_eq!(tree(&site.at("b")), before);
    assert_eq!(refused.kind(), ErrorKind::Busy, "{}", refused.chain());
    site.sweep();
}

#[test]
fn root_a_path_that_is_too_long_for_a_call_is_no_obstacle() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.new_volume("a", MIB).unwrap();
    let name = "n".repeat(255);
    let bottom = |volume: &str, make: bool| {
        let mut at = open(&site.at(volume));
        for _ in 0..20 {
            if make {
                mkdirat(&at, &name, Mode::RWXU).unwrap();
            }
            at = openat(&at, &name, OFlags::DIRECTORY, Mode::empty())
                .unwrap()
                .into();
        }
        at
    };
    let source = bottom("a", true);
    for name in ["one", "two"] {
        ioctl::create(source.as_fd(), name, None).unwrap();
    }
    site.clone_volume("a", "b", None).unwrap();
    let copy = bottom("b", false);
    for name in ["one", "two"] {
        let found = statat(&copy, name, AtFlags::empty()).unwrap();
        assert_eq!(found.st_ino, 256, "{name}");
    }
}

#[test]
fn root_a_quota_that_is_used_up_in_the_middle_leaves_nothing() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    site.new_volume("a", 64 * MIB).unwrap();
    for number in 0..64 {
        site.subvolume(&format!("a/{number}"));
    }
    site.btrfs(&["qgroup", "create", "1/7"], "");
    let place = format!("0/{}", site.id(""));
    site.btrfs(&["qgroup", "assign", &place, "1/7"], "");
    site.btrfs(&["qgroup", "limit", "1m", "1/7"], "");
    let error = site.clone_volume("a", "1/b", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(
        error
            .chain()
            .contains("the quota of the subvolume that location")
    );
    assert_eq!(site.entries(), ["a"]);
    // The kernel removes no subvolume either where there is no quota left.
    site.btrfs(&["qgroup", "limit", "none", "1/7"], "");
    site.sweep();
    site.clone_volume("a", "1/b", None).unwrap();
}

#[test]
fn root_an_owner_clones_what_is_theirs_alone() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    site.give_to_owner();
    // Mounted with user_subvol_rm_allowed, so that an owner can undo.
    let mounted = site.fs.path().to_str().unwrap().to_owned();
    run("mount", &["-o", "remount,user_subvol_rm_allowed", &mounted]).unwrap();
    as_owner(|| {
        site.new_volume("a", 64 * MIB).unwrap();
        for name in ["a/one", "a/one/two"] {
            ioctl::create(open(&site.path).as_fd(), "x", None).unwrap();
            fs::rename(site.at("x"), site.at(name)).unwrap();
            fs::write(site.at(name).join("file"), name).unwrap();
        }
        site.clone_volume("a", "b", None).unwrap();
        assert_eq!(fs::read(site.at("b/one/two/file")).unwrap(), b"a/one/two");
    });
    assert_eq!(limit(&site, "b"), Some(64));
    assert_eq!(fs::metadata(site.at("b/one/two")).unwrap().uid(), 1000);
    site.btrfs(&["subvolume", "delete", "--commit-after"], "b/one/two");
    site.btrfs(&["subvolume", "delete", "--commit-after"], "b/one");
    site.btrfs(&["subvolume", "delete", "--commit-after"], "b");
    // Somebody else's, in which there is nothing to be seen.
    subvolume(&site.at("a/one/foreign"));
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(site.at("a/one/foreign"), closed).unwrap();
    let cloned = as_owner(|| site.clone_volume("a", "1/b", None));
    assert_refused(&site, cloned, ErrorKind::Permission, "one/foreign");
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(site.at("a/one/foreign"), open).unwrap();
    let cloned = as_owner(|| site.clone_volume("a", "1/b", None));
    assert_refused(&site, cloned, ErrorKind::Permission, "CAP_FOWNER");
}

/// Runs what a tenant does, again and again, while clones are taken; gives how many were refused.
fn meanwhile(
    site: &Site,
    tenant: impl Fn(u32) + Sync,
    turns: u32,
    mut check: impl FnMut(&str),
) -> u32 {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 0;
            while !stop.load(Ordering::Relaxed) {
                tenant(turn);
                turn += 1;
            }
        });
        let _stop = StopAtEnd(&stop);
        let mut refused = 0;
        for turn in 0..turns {
            let name = format!("clone-{turn}");
            match site.clone_volume("a", &name, None) {
                Ok(()) => check(&name),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Busy, "{}", error.chain());
                    assert!(!site.at(&name).exists());
                    refused += 1;
                }
            }
            assert_eq!(site.leftovers(), [""; 0]);
        }
        refused
    })
}

#[test]
fn root_a_subvolume_that_is_moved_meanwhile_is_in_the_clone_once() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.new_volume("a", MIB).unwrap();
    let a = site.at("a");
    for folder in ["x", "y", "x/folder"] {
        fs::create_dir(a.join(folder)).unwrap();
    }
    subvolume(&a.join("x/folder/nested"));
    subvolume(&a.join("x/folder/nested/deeper"));
    let to_and_fro = |turn: u32| {
        let (from, to) = match turn % 4 {
            0 => ("x/folder", "y/folder"),
            1 => ("y/folder/nested", "y/folder/other"),
            2 => ("y/folder/other", "y/folder/nested"),
            _ => ("y/folder", "x/folder"),
        };
        fs::rename(a.join(from), a.join(to)).unwrap();
        std::thread::yield_now();
    };
    let refused = meanwhile(&site, to_and_fro, 20, |clone| {
        let found = tree(&site.at(clone));
        let of_kind = |kind: &str| found.iter().filter(|e| e.1.starts_with(kind)).count();
        assert_eq!(of_kind("subvolume"), 2, "{found:?}");
        assert_eq!(of_kind("stub"), 0, "{found:?}");
        assert_eq!(found.iter().filter(|e| e.0.ends_with("file")).count(), 2);
    });
    assert!(refused < 20, "not one clone");
}

#[test]
fn root_subvolumes_that_come_and_go_do_no_harm() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.new_volume("a", MIB).unwrap();
    let a = site.at("a");
    subvolume(&a.join("stays"));
    // Always there under one of two names; whichever is there is whole.
    subvolume(&a.join("0"));
    let renew = |turn: u32| {
        subvolume(&a.join("new"));
        fs::rename(a.join("new"), a.join((turn + 1).to_string())).unwrap();
        ioctl::destroy(open(&a).as_fd(), turn.to_string()).unwrap();
    };
    meanwhile(&site, renew, 10, |clone| {
        let names = fs::read_dir(site.at(clone)).unwrap();
        let names: Vec<_> = names.map(|e| e.unwrap().file_name()).collect();
        assert!(names.contains(&"stays".into()));
        let whole = |name: &&std::ffi::OsString| site.at(clone).join(name).join("file").exists();
        assert!(names.iter().filter(whole).count() >= 2, "{names:?}");
    });
}

/// The first look finds none, so that the snapshot is made at the clone's name.
#[test]
fn root_a_subvolume_that_is_made_meanwhile_is_not_missed() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.new_volume("a", MIB).unwrap();
    let a = site.at("a");
    let one_by_one = |_: u32| {
        subvolume(&a.join("new"));
        // Only what is in the volume after the subvolume was filled.
        fs::write(a.join("after"), "x").unwrap();
        fs::remove_file(a.join("after")).unwrap();
        ioctl::destroy(open(&a).as_fd(), "new").unwrap();
    };
    meanwhile(&site, one_by_one, 15, |clone| {
        if site.at(clone).join("after").exists() {
            let nested = site.at(clone).join("new");
            assert_eq!(fs::metadata(&nested).unwrap().ino(), 256);
            assert_eq!(fs::read(nested.join("file")).unwrap(), b"new");
        }
    });
}

/// Asked to stop after so many looks.
struct StopAfter(AtomicU32);

impl Services for StopAfter {
    fn log(&self, _: Level, _: &str) {}
    fn progress(&self, _: u64, _: u64, _: &str) {}
    fn cancelled(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) == 0
    }
}

#[test]
fn root_a_clone_that_is_called_off_leaves_nothing() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    fill_volume(&site);
    let mut called_off = 0;
    for looks in 0.. {
        let host = Host::new(Arc::new(StopAfter(AtomicU32::new(looks))));
        let driver = Btrfs::open(host, &Settings::new(&site.path)).unwrap();
        let how = CloneOptions {
            size: None,
            scratch: ScratchName::from_random(1),
        };
        match driver.clone_volume(&volume("a"), &volume("1/b"), &how) {
            Ok(()) => break,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Interrupted, "{}", error.chain());
                assert_eq!(site.entries(), ["a"]);
                assert_eq!(site.leftovers(), [""; 0]);
                called_off += 1;
            }
        }
    }
    // Before each of its subvolumes.
    assert!(called_off > 16, "{called_off}");
}
