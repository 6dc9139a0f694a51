// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the driver takes for granted of the kernel, tried. Where one of these fails, the module
//! that it names has to be thought over.

use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};

use crate::common::changes::fill;
use crate::common::{ALL_QUOTAS, MIB, Quotas, Site, open, site};
use mosaic_btrfs::ioctl::{self, Inherit};
use mosaic_btrfs::search::{self, Key, QUOTA_TREE};
use mosaic_btrfs::subvolume::Subvolume;
use rustix::fs::{self as files, XattrFlags};
use rustix::io::Errno;

/// `BTRFS_QGROUP_RELATION_KEY` of include/uapi/linux/btrfs_tree.h.
const RELATION: u32 = linux_raw_sys::btrfs::BTRFS_QGROUP_RELATION_KEY;
const GROUP: u64 = 1 << 48;

fn limited(limit: u64) -> Inherit {
    Inherit {
        limit: Some(limit),
        groups: Vec::new(),
    }
}

/// The limit of a subvolume, from the quota tree of the last commit.
fn limit_of(site: &Site, name: &str) -> Option<u64> {
    site.commit();
    let id = site.id(name);
    let mut limit = None;
    let kind = linux_raw_sys::btrfs::BTRFS_QGROUP_LIMIT_KEY;
    let key = Key {
        object: 0,
        kind,
        offset: id,
    };
    search::each(site.dir().as_fd(), QUOTA_TREE, [key, key], |_, data| {
        limit = mosaic_btrfs::items::limit(data);
    })
    .unwrap();
    limit
}

/// The groups that a subvolume is in.
fn groups_of(site: &Site, name: &str) -> Vec<u64> {
    let mut groups = Vec::new();
    let keys = Key::all(site.id(name), RELATION);
    search::each(site.dir().as_fd(), QUOTA_TREE, keys, |key, _| {
        groups.push(key.offset);
    })
    .unwrap();
    groups
}

/// `create`: the limit binds the first writer.
#[test]
fn root_a_limit_holds_from_the_creating_transaction_on() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else { return };
        ioctl::create(site.dir().as_fd(), "a", Some(&limited(8 * MIB))).unwrap();
        let stopped = fill(&site.at("a/file"), 16 * MIB);
        match quotas {
            // Neither refused nor done.
            Quotas::Off => assert_eq!((stopped, limit_of(&site, "a")), (None, None)),
            _ => {
                assert_eq!(stopped, Some(Errno::DQUOT), "{quotas:?}");
                assert_eq!(limit_of(&site, "a"), Some(8 * MIB));
            }
        }
    }
}

/// `clone`: who sets a clone's limit.
#[test]
fn root_full_quotas_take_a_clones_limit_from_its_source() {
    for (quotas, given, left_out) in [
        (Quotas::Full, Some(8 * MIB), Some(8 * MIB)),
        (Quotas::Simple, Some(32 * MIB), None),
    ] {
        let Some(site) = site(quotas) else { return };
        let dir = site.dir();
        ioctl::create(dir.as_fd(), "a", Some(&limited(8 * MIB))).unwrap();
        let source = open(&site.at("a"));
        let inherit = limited(32 * MIB);
        ioctl::snapshot(dir.as_fd(), "b", source.as_fd(), false, Some(&inherit)).unwrap();
        ioctl::snapshot(dir.as_fd(), "c", source.as_fd(), false, None).unwrap();
        assert_eq!(limit_of(&site, "b"), given, "{quotas:?}");
        assert_eq!(limit_of(&site, "c"), left_out, "{quotas:?}");
    }
}

/// `limit`: what a limit costs a subvolume.
#[test]
fn root_simple_quotas_put_a_subvolume_into_the_groups_of_the_one_above() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    let dir = site.dir();
    site.btrfs(&["qgroup", "create", "1/0"], "");
    let place = format!("0/{}", site.id(""));
    site.btrfs(&["qgroup", "assign", &place, "1/0"], "");
    ioctl::create(dir.as_fd(), "a", None).unwrap();
    assert_eq!(groups_of(&site, "a"), [GROUP]);
    ioctl::create(dir.as_fd(), "b", Some(&limited(MIB))).unwrap();
    assert!(groups_of(&site, "b").is_empty());
    let mut inherit = limited(MIB);
    inherit.groups.push(GROUP);
    ioctl::create(dir.as_fd(), "c", Some(&inherit)).unwrap();
    assert_eq!(groups_of(&site, "c"), [GROUP]);
    let source = open(&site.at("a"));
    ioctl::snapshot(dir.as_fd(), "d", source.as_fd(), false, Some(&inherit)).unwrap();
    assert_eq!(groups_of(&site, "d"), [GROUP]);
    assert_eq!(limit_of(&site, "d"), Some(MIB));
}

/// `limit`: a clone outside of the group that its source is in makes full quotas count wrongly.
#[test]
fn root_full_quotas_stay_right_when_a_clone_joins_its_sources_group() {
    let Some(site) = site(Quotas::Full) else {
        return;
    };
    let dir = site.dir();
    let inconsistent = || {
        let mut flags = 0;
        let keys = Key::all(0, linux_raw_sys::btrfs::BTRFS_QGROUP_STATUS_KEY);
        search::each(dir.as_fd(), QUOTA_TREE, keys, |_, data| {
            flags = mosaic_btrfs::items::quota_flags(data).unwrap();
        })
        .unwrap();
        flags & u64::from(linux_raw_sys::btrfs::BTRFS_QGROUP_STATUS_FLAG_INCONSISTENT) != 0
    };
    site.btrfs(&["qgroup", "create", "1/0"], "");
    let inherit = Inherit {
        limit: None,
        groups: vec![GROUP],
    };
    ioctl::create(dir.as_fd(), "a", Some(&inherit)).unwrap();
    site.commit();
    assert!(!inconsistent());
    let source = open(&site.at("a"));
    ioctl::snapshot(dir.as_fd(), "b", source.as_fd(), false, Some(&inherit)).unwrap();
    assert_eq!(groups_of(&site, "b"), [GROUP]);
    site.commit();
    assert!(!inconsistent());
    ioctl::snapshot(dir.as_fd(), "c", source.as_fd(), false, None).unwrap();
    site.commit();
    assert!(inconsistent());
}

/// `commit`, `clone`: what commits by itself.
#[test]
fn root_only_a_snapshot_commits_by_itself() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else { return };
        let dir = site.dir();
        let changed = || {
            ioctl::create(dir.as_fd(), "a", None).unwrap();
            let a = open(&site.at("a"));
            files::fsetxattr(&a, "user.a", b"1", XattrFlags::empty()).unwrap();
            files::renameat(&dir, "a", &dir, "b").unwrap();
            files::mkdirat(&dir, "folder", files::Mode::RWXU).unwrap();
            if quotas != Quotas::Off {
                ioctl::limit(&dir, site.id("b"), Some(MIB)).unwrap();
            }
        };
        assert_eq!(site.commits(changed), 0, "{quotas:?}");
        let source = open(&site.at("b"));
        let snapshot = || ioctl::snapshot(dir.as_fd(), "c", source.as_fd(), false, None).unwrap();
        assert_eq!(site.commits(snapshot), 1, "{quotas:?}");
        let seal = || ioctl::set_read_only(open(&site.at("c")), true).unwrap();
        assert_eq!(site.commits(seal), 1, "{quotas:?}");
    }
}

/// `clone`: what a snapshot is of.
#[test]
fn root_a_snapshot_has_what_was_written_before_and_stubs() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    let dir = site.dir();
    site.subvolume("a");
    site.subvolume("a/nested");
    // Not on disk yet.
    std::fs::write(site.at("a/file"), vec![1; 3 << 20]).unwrap();
    let source = open(&site.at("a"));
    ioctl::snapshot(dir.as_fd(), "b", source.as_fd(), false, None).unwrap();
    assert_eq!(std::fs::read(site.at("b/file")).unwrap(), vec![1; 3 << 20]);
    let stub = std::fs::metadata(site.at("b/nested")).unwrap();
    assert_eq!(stub.ino(), 2);
    let copy = Subvolume::at(open(&site.at("b"))).unwrap().unwrap();
    assert_eq!(copy.children().unwrap(), []);
    std::fs::remove_dir(site.at("b/nested")).unwrap();
    assert!(site.at("a/nested").is_dir());
}

/// `clone`: a read-only source, such as a received one.
#[test]
fn root_a_writable_snapshot_was_not_received() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    let dir = site.dir();
    site.subvolume("a");
    site.snapshot("a", "ro", true);
    let source = open(&site.at("ro"));
    ioctl::snapshot(dir.as_fd(), "b", source.as_fd(), false, None).unwrap();
    ioctl::snapshot(dir.as_fd(), "c", source.as_fd(), true, None).unwrap();
    assert!(!ioctl::is_read_only(open(&site.at("b"))).unwrap());
    assert!(ioctl::is_read_only(open(&site.at("c"))).unwrap());
}

/// `rename`: what a read-only subvolume lets be done to itself.
#[test]
fn root_a_read_only_subvolume_stays_in_its_folder() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    let dir = site.dir();
    site.subvolume("a");
    site.snapshot("a", "ro", true);
    std::fs::create_dir(site.at("folder")).unwrap();
    let folder = open(&site.at("folder"));
    files::renameat(&dir, "ro", &dir, "other").unwrap();
    assert_eq!(
        files::renameat(&dir, "other", &folder, "ro"),
        Err(Errno::ROFS)
    );
    let ro = open(&site.at("other"));
    let set = files::fsetxattr(&ro, "user.a", b"1", XattrFlags::empty());
    assert_eq!(set, Err(Errno::ROFS));
}

/// `create`: the mode of a subvolume is the caller's umask and the folder's default ACL.
#[test]
fn root_a_private_umask_keeps_a_default_acl_out() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    let folder = site.at("folder");
    std::fs::DirBuilder::new()
        .mode(0o755)
        .create(&folder)
        .unwrap();
    mosaic_tests::run(
        "setfacl",
        &["-d", "-m", "user:1000:rwx", folder.to_str().unwrap()],
    )
    .unwrap();
    std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
        rustix::process::umask(files::Mode::from_raw_mode(0o077));
        ioctl::create(open(&folder).as_fd(), "a", None).unwrap();
        let mode = std::fs::metadata(folder.join("a")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o7777, 0o700);
    })
    .join()
    .unwrap();
}
