// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel says of its quotas, wherever it is asked.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread;

use crate::common::{ALL_QUOTAS, MIB, Quotas, Site, site, volume};
use mosaic_btrfs::ioctl;
use mosaic_btrfs::quota::{self, Account, Mode};
use mosaic_core::Driver;
use mosaic_core::volume::Volume;
use mosaic_tests::run;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::chroot;

/// As [`asked`], by a thread that has the site for its root, and so no sysfs. (A mount namespace of its
/// own would hold a copy of what other tests have mounted.)
fn without_sysfs(site: &Site, id: u64) -> (Mode, Account, Volume) {
    let dir = site.dir();
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // This thread's root alone.
            unshare(CloneFlags::CLONE_FS).unwrap();
            chroot(&site.path).unwrap();
            assert!(!Path::new("/sys").exists());
            asked_by(site, dir.as_fd(), id)
        });
        thread.join().unwrap()
    })
}

fn asked(site: &Site, id: u64) -> (Mode, Account, Volume) {
    asked_by(site, site.dir().as_fd(), id)
}

fn asked_by(site: &Site, dir: BorrowedFd<'_>, id: u64) -> (Mode, Account, Volume) {
    let found = site.driver.find(&volume("vol")).unwrap().unwrap();
    let account = quota::account(dir, id).unwrap();
    (quota::mode(dir).unwrap(), account, found)
}

#[test]
fn root_without_sysfs_the_tree_says_the_same() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else {
            return;
        };
        let id = site.subvolume("vol");
        site.write("vol/file", 3 * MIB);
        if quotas != Quotas::Off {
            ioctl::limit(site.dir(), id, Some(64 * MIB)).unwrap();
        }
        site.commit();
        let expected = asked(&site, id);
        assert_eq!(expected.1.limit.is_some(), quotas != Quotas::Off);
        assert_eq!(without_sysfs(&site, id), expected);
    }
}

#[test]
fn root_numbers_that_the_kernel_calls_wrong_are_not_shown() {
    let Some(site) = site(Quotas::Full) else {
        return;
    };
    let id = site.subvolume("vol");
    site.write("vol/file", 3 * MIB);
    site.snapshot("vol", "clone", false);
    site.commit();
    assert!(site.found("vol").used.is_some());
    // A group whose sum cannot be told from what its members count.
    let at = site.path.to_str().unwrap();
    run("btrfs", &["qgroup", "create", "1/7", at]).unwrap();
    let member = format!("0/{id}");
    run(
        "btrfs",
        &["qgroup", "assign", "--no-rescan", &member, "1/7", at],
    )
    .unwrap();
    let inconsistent = Mode::Full { inconsistent: true };
    assert_eq!(asked(&site, id).0, inconsistent);
    site.commit();
    assert_eq!(without_sysfs(&site, id).0, inconsistent);
    let found = site.found("vol");
    assert_eq!((found.used, found.exclusive), (None, None));
    assert!(
        found.notes[0].contains("btrfs quota rescan"),
        "{:?}",
        found.notes
    );
    let listed = site.driver.list().unwrap();
    assert!(listed.iter().all(|volume| volume.used.is_none()));
    run("btrfs", &["quota", "rescan", "-w", at]).unwrap();
    let found = site.found("vol");
    assert!(found.used.is_some() && found.notes.is_empty(), "{found:?}");
}

/// The note on simple quotas is true.
#[test]
fn root_simple_quotas_count_for_who_wrote() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    site.subvolume("vol");
    site.write("vol/file", 3 * MIB);
    site.snapshot("vol", "clone", false);
    site.commit();
    let (vol, clone) = (site.found("vol"), site.found("clone"));
    assert!(vol.used.unwrap().0 >= 3 * MIB);
    assert!(clone.used.unwrap().0 < MIB);
    assert!(clone.notes[0].contains("not what it shares with its origin"));
    // In a group of higher level, which is of no subvolume, nothing is taken for one.
    let at = site.path.to_str().unwrap();
    run("btrfs", &["qgroup", "create", "1/300", at]).unwrap();
    site.commit();
    let accounts = quota::accounts(site.dir().as_fd()).unwrap();
    let ids: Vec<u64> = accounts.usages().iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [5, site.id("vol"), site.id("clone")]);
}
