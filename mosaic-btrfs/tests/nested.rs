// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes with subvolumes in them, whatever a tenant has made of that.

mod common;

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::drops::scratch;
use common::{MIB, Quotas, Site, open, site};
use mosaic_btrfs::{ioctl, nested};
use mosaic_core::{Driver, ErrorKind, Place};
use mosaic_tests::{is_quick, left_out};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// From now on this program has few descriptors.
fn few_descriptors() {
    let current = Some(128);
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
}

fn open_in(above: &File, name: impl rustix::path::Arg) -> File {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::openat(above, name, flags, Mode::empty())
        .unwrap()
        .into()
}

/// Subvolumes in each other, each in a folder of the one before: no path of a hundred is short
/// enough for any call.
fn make_deep(top: &Path, levels: u32) {
    let mut here = open(top);
    let folder = "d".repeat(200);
    for _ in 0..levels {
        fs::mkdirat(&here, &*folder, Mode::RWXU).unwrap();
        here = open_in(&here, &*folder);
        Site::subvolume_in(&here, b"n\xff\n");
        here = open_in(&here, &b"n\xff\n"[..]);
    }
}

#[test]
fn root_subvolumes_however_deep_go_too() {
    few_descriptors();
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    site.subvolume("v");
    make_deep(&site.at("v"), 100);
    let dropped = site.take_away("v").unwrap();
    assert_eq!(dropped.pending.len(), 101);
    assert!(!site.at("v").exists());
    site.empty_trash().unwrap();
    site.ends_clear();
}

#[test]
fn root_a_thousand_subvolumes_behind_a_closed_folder_go_too() {
    few_descriptors();
    let Some(site) = site(Quotas::Full) else {
        return;
    };
    let many = if is_quick() { 100 } else { 1000 };
    if is_quick() {
        left_out("900 of 1,000 subvolumes");
    }
    site.subvolume("v");
    std::fs::create_dir(site.at("v/closed")).unwrap();
    let closed = open(&site.at("v/closed"));
    for number in 0..many {
        Site::subvolume_in(&closed, format!("n{number}"));
    }
    fs::fchmod(&closed, Mode::empty()).unwrap();
    std::mem::drop(closed);
    let dropped = site.drop_volume("v").unwrap();
    assert_eq!(dropped.pending.len(), many + 1);
    site.ends_clear();
}

#[test]
fn root_read_only_ones_with_others_in_them_go_too() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    let names = ["v", "v/a", "v/a/b", "v/a/b/c", "v/d", "v/e"];
    for name in names {
        site.subvolume(name);
    }
    for name in ["v/a/b/c", "v/a/b", "v/a", "v/d", "v"] {
        site.set_read_only(name, true);
    }
    site.drop_volume("v").unwrap();
    site.ends_clear();
}

#[test]
fn root_what_is_found_is_what_is_there() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    let v = site.subvolume("v");
    std::fs::create_dir_all(site.at("v/x/y")).unwrap();
    let (a, b) = (site.subvolume("v/x/a"), site.subvolume("v/x/y/b"));
    let c = site.subvolume("v/x/a/c");
    site.subvolume("other");
    let found = nested::within(site.dir().as_fd(), v).unwrap();
    let pairs: Vec<_> = found.iter().map(|n| (n.above, n.id)).collect();
    assert_eq!(pairs, [(v, a), (v, b), (a, c)]);
    assert_eq!(found[1].place.name, b"b");
    assert_eq!(nested::within(site.dir().as_fd(), c).unwrap(), []);
    // Each only in its turn, and only where it stands.
    assert_eq!(found[0].destroy(site.dir().as_fd()), Err(Errno::NOTEMPTY));
    std::fs::rename(site.at("v/x/y/b"), site.at("kept")).unwrap();
    std::fs::create_dir(site.at("v/x/y/b")).unwrap();
    assert_eq!(found[1].destroy(site.dir().as_fd()), Ok(()));
    assert_eq!(site.id("kept"), b);
    assert!(site.at("v/x/y/b").is_dir());
}

#[test]
fn root_without_the_right_to_open_by_number_they_are_emptied() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    for name in ["v", "v/a", "v/a/b", "v/c"] {
        site.subvolume(name);
        site.write(&format!("{name}/file"), 1);
    }
    site.set_read_only("v/a/b", true);
    site.set_read_only("v/a", true);
    std::thread::scope(|scope| {
        // Each thread has its own.
        let dropped = scope.spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective.remove(CapabilitySet::DAC_READ_SEARCH);
            set_capabilities(None, sets).unwrap();
            let opened = ioctl::open_directory(site.dir(), 5, 256);
            assert_eq!(opened.unwrap_err(), Errno::PERM);
            site.drop_volume("v").unwrap();
        });
        dropped.join().unwrap();
    });
    site.ends_clear();
}

#[test]
fn root_what_is_made_meanwhile_goes_too() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.subvolume("v");
    site.subvolume("v/nested");
    let (top, inner) = (open(&site.at("v")), open(&site.at("v/nested")));
    site.take_away("v").unwrap();
    Site::subvolume_in(&top, "late");
    Site::subvolume_in(&inner, "later");
    std::mem::drop((top, inner));
    site.empty_trash().unwrap();
    site.ends_clear();
}

#[test]
fn root_a_used_up_quota_does_not_keep_them() {
    for quotas in [Quotas::Simple, Quotas::Full] {
        let Some(site) = site(quotas) else { return };
        site.subvolume("v");
        site.subvolume("v/nested");
        site.subvolume("v/nested/deep");
        for (name, size) in [("v", 8 * MIB), ("v/nested", 4 * MIB)] {
            ioctl::limit(site.dir(), site.id(name), Some(size)).unwrap();
            let file = File::create(site.at(name).join("file")).unwrap();
            let block = vec![1; 64 << 10];
            let mut blocks = (0..1024).map(|at| file.write_all_at(&block, at << 16));
            assert!(blocks.any(|written| written.is_err()));
            let _ = file.sync_all();
            // Less than it takes, as after a resize by other hands.
            ioctl::limit(site.dir(), site.id(name), Some(64 * MIB)).unwrap();
            site.set_read_only(name, name != "v");
            ioctl::limit(site.dir(), site.id(name), Some(MIB)).unwrap();
        }
        site.commit();
        let made = ioctl::create(open(&site.at("v")).as_fd(), "more", None);
        assert_eq!(made, Err(Errno::DQUOT), "{quotas:?}");
        site.drop_volume("v").unwrap();
        site.ends_clear();
    }
}

#[test]
fn root_somebody_who_does_not_stop_ends_in_an_error() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.subvolume("v");
    site.subvolume("v/nested");
    let top = open(&site.at("v"));
    site.take_away("v").unwrap();
    let stop = AtomicBool::new(false);
    let emptied = std::thread::scope(|scope| {
        for worker in 0..2 {
            let (stop, top) = (&stop, &top);
            scope.spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    // Once the subvolume is gone nothing can be made in it.
                    let _ = ioctl::create(top.as_fd(), format!("{worker}-{number}"), None);
                }
            });
        }
        let emptied = site.driver.remove_leftover(Place::Trash, &scratch());
        stop.store(true, Ordering::Relaxed);
        emptied
    });
    if let Err(error) = emptied {
        assert_eq!(error.kind(), ErrorKind::Busy, "{}", error.chain());
        site.empty_trash().unwrap();
    }
    std::mem::drop(top);
    site.ends_clear();
}
