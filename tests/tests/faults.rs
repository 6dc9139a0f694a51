// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lets one system call fail: the command fails and leaves nothing, or gets along without it.
//!
//! First each call of each changing verb in turn, as if the storage answered with an I/O error;
//! then the steps that matter one by one, where nothing at all may be left, not even for a sweep.
#![cfg(target_arch = "x86_64")]

mod scenario;

use mosaic_tests::{
    Action, Outcome, Site, SystemCall, Traced, Tracee, requires_program, requires_root,
};
use nix::libc;
use scenario::{Beginning, Stage, Start, all, scenarios};

/// include/uapi/linux/loop.h
const LOOP_CONFIGURE: u64 = 0x4c0a;
const LOOP_SET_CAPACITY: u64 = 0x4c07;
/// include/uapi/linux/fs.h: _IOW(0x94, 9, int)
const FICLONE: u64 = 0x4004_9409;

fn each_call_fails(name: &str) {
    for scenario in scenarios(name) {
        Stage::new(scenario).disturb_each(Action::Fail(libc::EIO));
    }
}

macro_rules! scenarios {
    ($($test:ident: $name:literal)*) => {
        $(
            #[test]
            fn $test() {
                each_call_fails($name);
            }
        )*

        #[test]
        fn every_scenario_has_its_test() {
            let named = [$($name),*];
            assert!(all().all(|(name, _)| named.contains(name)));
        }
    };
}

scenarios! {
    root_an_error_in_new_fs_leaves_before_or_after: "loop new fs"
    root_an_error_in_new_disk_leaves_before_or_after: "loop new disk"
    root_an_error_in_clone_leaves_before_or_after: "loop clone"
    root_an_error_in_drop_leaves_before_or_after: "loop drop"
    root_an_error_in_rename_leaves_before_or_after: "loop rename"
    root_an_error_in_mapped_rename_leaves_before_or_after: "loop rename mapped"
    root_an_error_in_attach_of_deltas_leaves_before_or_after: "ploop attach"
    root_an_error_in_detach_of_deltas_leaves_before_or_after: "ploop detach"
    root_an_error_in_mount_of_deltas_leaves_before_or_after: "ploop mount"
    root_an_error_in_umount_of_deltas_leaves_before_or_after: "ploop umount"
    root_an_error_in_clone_of_attached_deltas_leaves_before_or_after: "ploop clone attached"
    root_an_error_in_attach_leaves_before_or_after: "loop attach"
    root_an_error_in_detach_leaves_before_or_after: "loop detach"
    root_an_error_in_mount_leaves_before_or_after: "loop mount"
    root_an_error_in_umount_leaves_before_or_after: "loop umount"
    root_an_error_in_resize_leaves_before_or_after: "loop resize disk"
    root_an_error_in_new_folder_leaves_before_or_after: "plain new"
    root_an_error_in_drop_of_a_folder_leaves_before_or_after: "plain drop"
    root_an_error_in_rename_of_a_folder_leaves_before_or_after: "plain rename"
    root_an_error_in_mapped_rename_of_a_folder_leaves_before_or_after: "plain rename mapped"
    root_an_error_in_mount_of_a_folder_leaves_before_or_after: "plain mount"
    root_an_error_in_umount_of_a_folder_leaves_before_or_after: "plain umount"
    root_an_error_in_new_subvolume_leaves_before_or_after: "btrfs new"
    root_an_error_in_new_mapped_subvolume_leaves_before_or_after: "btrfs new mapped"
    root_an_error_in_snapshot_leaves_before_or_after: "btrfs clone"
    root_an_error_in_snapshot_with_a_size_leaves_before_or_after: "btrfs clone with a size"
    root_an_error_in_mapped_snapshot_leaves_before_or_after: "btrfs clone mapped"
    root_an_error_in_snapshot_of_nested_ones_leaves_before_or_after: "btrfs clone nested"
    root_an_error_in_drop_of_a_subvolume_leaves_before_or_after: "btrfs drop"
    root_an_error_in_drop_of_nested_ones_leaves_before_or_after: "btrfs drop nested"
    root_an_error_in_rename_of_a_subvolume_leaves_before_or_after: "btrfs rename"
    root_an_error_in_resize_of_a_subvolume_leaves_before_or_after: "btrfs resize"
    root_an_error_in_mount_of_a_subvolume_leaves_before_or_after: "btrfs mount"
    root_an_error_in_umount_of_a_subvolume_leaves_before_or_after: "btrfs umount"
    root_an_error_in_new_fs_in_a_pool_leaves_before_or_after: "dmthin new fs"
    root_an_error_in_new_disk_in_a_pool_leaves_before_or_after: "dmthin new disk"
    root_an_error_in_clone_in_a_pool_leaves_before_or_after: "dmthin clone"
    root_an_error_in_clone_of_a_thin_device_in_use_leaves_before_or_after: "dmthin clone in use"
    root_an_error_in_drop_from_a_pool_leaves_before_or_after: "dmthin drop"
    root_an_error_in_rename_in_a_pool_leaves_before_or_after: "dmthin rename"
    root_an_error_in_attach_of_a_thin_device_leaves_before_or_after: "dmthin attach"
    root_an_error_in_detach_of_a_thin_device_leaves_before_or_after: "dmthin detach"
    root_an_error_in_mount_of_a_thin_device_leaves_before_or_after: "dmthin mount"
    root_an_error_in_umount_of_a_thin_device_leaves_before_or_after: "dmthin umount"
    root_an_error_in_growth_of_a_thin_device_in_use_leaves_before_or_after: "dmthin grow in use"
    root_an_error_in_shrink_of_a_thin_device_leaves_before_or_after: "dmthin shrink"
    root_an_error_in_drop_from_a_pool_with_discard_leaves_before_or_after: "dmthin drop with discard"
    root_an_error_in_mount_of_a_pools_metadata_leaves_before_or_after: "dmthin mount metadata"
    root_an_error_in_umount_of_a_pools_metadata_leaves_before_or_after: "dmthin umount metadata"
    root_an_error_in_growth_of_an_idle_thin_device_leaves_before_or_after: "dmthin grow idle"
    root_an_error_in_new_fs_on_ploop_leaves_before_or_after: "ploop new fs"
    root_an_error_in_new_mapped_disk_on_ploop_leaves_before_or_after: "ploop new disk mapped"
    root_an_error_in_clone_of_a_ploop_disk_leaves_before_or_after: "ploop clone disk"
    root_an_error_in_clone_of_a_ploop_fs_leaves_before_or_after: "ploop clone fs"
    root_an_error_in_drop_of_a_ploop_disk_leaves_before_or_after: "ploop drop"
    root_an_error_in_mapped_rename_of_a_ploop_disk_leaves_before_or_after: "ploop rename mapped"
    root_an_error_in_resize_of_a_ploop_disk_leaves_before_or_after: "ploop resize disk"
    root_an_error_in_growth_of_a_ploop_disk_in_use_leaves_before_or_after: "ploop grow in use"
    root_an_error_in_growth_of_a_partition_leaves_before_or_after: "ploop grow partition"
    root_an_error_in_shrinking_of_a_partition_leaves_before_or_after: "ploop shrink partition"
    root_an_error_in_clone_of_a_partition_leaves_before_or_after: "ploop clone partition"
    root_an_error_in_growth_of_a_partition_in_use_leaves_before_or_after: "ploop grow partition in use"
}

#[test]
fn root_an_error_in_init_of_a_pool_leaves_it_to_the_next() {
    if let Some(start) = Start::new() {
        start.disturb_init(Action::Fail(libc::EIO), Beginning::Blank);
    }
}

#[test]
fn root_an_error_in_init_by_force_leaves_it_to_the_next() {
    if let Some(start) = Start::new() {
        start.disturb_init(Action::Fail(libc::EIO), Beginning::Full);
    }
}

#[test]
fn root_an_error_in_init_of_an_adopted_pool_leaves_it_to_the_next() {
    if let Some(start) = Start::new() {
        start.disturb_init(Action::Fail(libc::EIO), Beginning::Adopted);
    }
}

#[test]
fn root_an_error_in_repair_of_a_pool_leaves_it_to_the_next() {
    if let Some(start) = Start::new() {
        start.disturb_repair(Action::Fail(libc::EIO));
    }
}

#[test]
fn root_an_error_in_activation_of_a_pool_leaves_it_to_the_next_command() {
    if let Some(start) = Start::new() {
        start.disturb_activation(Action::Fail(libc::EIO));
    }
}

/// A loop mosaic with the volume `a`, and room for a mountpoint.
fn site() -> (Site, String) {
    let site = Site::on("xfs", "loop", "default_fs: ext4\n").unwrap();
    site.ok(&["new", "fs", "a", "16M"]);
    let at = site.mountpoint("at").to_str().unwrap().to_owned();
    (site, at)
}

/// Fails the first call that matches; nothing may be left and the message has to be one line.
#[track_caller]
fn fails_cleanly(
    site: &Site,
    words: &[&str],
    errno: i32,
    matches: impl FnMut(&SystemCall) -> bool,
) -> Traced {
    let before = site.state();
    let traced = Tracee::new(&site.command(words))
        .follow_children()
        .fail(0, errno, matches)
        .unwrap();
    assert_eq!(traced.failed, 1, "no such call: {traced:?}");
    assert!(
        matches!(traced.outcome, Outcome::Exited(1..)),
        "{words:?} did not fail: {traced:?}"
    );
    assert_eq!(traced.stderr.lines().count(), 1, "{}", traced.stderr);
    assert!(traced.stderr.starts_with("moctl: "), "{}", traced.stderr);
    site.assert_idle();
    assert_eq!(site.state(), before, "{words:?}: {traced:?}");
    assert!(
        site.leftovers().is_empty(),
        "{words:?}: {:?}",
        site.leftovers()
    );
    traced
}

fn ready() -> bool {
    requires_root() && requires_program("mkfs.ext4") && requires_program("mkfs.xfs")
}

/// A child that is about to become another program; the exec itself, not the search in PATH.
fn is_exec_of_child(call: &SystemCall) -> bool {
    call.is_child && call.number == libc::SYS_execve
}

#[test]
fn root_a_mkfs_that_cannot_start_leaves_nothing() {
    if !ready() {
        return;
    }
    let (site, _) = site();
    let traced = fails_cleanly(
        &site,
        &["new", "fs", "b", "16M"],
        libc::EACCES,
        is_exec_of_child,
    );
    assert!(traced.stderr.contains("mkfs.ext4"), "{}", traced.stderr);
}

#[test]
fn root_a_mkfs_that_fails_half_way_leaves_nothing_and_is_quoted() {
    if !ready() {
        return;
    }
    let (site, _) = site();
    // All of them: where pwrite fails mkfs tries write.
    let is_write = |call: &SystemCall| {
        let to_file = call.number == libc::SYS_write && call.args[0] > 2;
        call.is_child && (call.number == libc::SYS_pwrite64 || to_file)
    };
    let before = site.state();
    let traced = Tracee::new(&site.command(&["new", "fs", "b", "16M"]))
        .follow_children()
        .run(|call| match is_write(call) {
            true => Action::Fail(libc::EIO),
            false => Action::Continue,
        })
        .unwrap();
    assert_eq!(traced.outcome, Outcome::Exited(1), "{traced:?}");
    assert!(traced.stderr.contains("mkfs.ext4"), "{}", traced.stderr);
    assert_eq!(traced.stderr.lines().count(), 1, "{}", traced.stderr);
    assert_eq!(site.state(), before);
    assert_eq!(site.entries(), ["a"]);
    assert!(site.leftovers().is_empty());
}

#[test]
fn root_a_full_location_says_so() {
    if !ready() {
        return;
    }
    let (site, _) = site();
    for number in [libc::SYS_linkat, libc::SYS_fsync, libc::SYS_fsetxattr] {
        let traced = Tracee::new(&site.command(&["new", "disk", "b", "16M"]))
            .run(|call| match call.number == number {
                true => Action::Fail(libc::ENOSPC),
                false => Action::Continue,
            })
            .unwrap();
        assert_eq!(traced.outcome, Outcome::Exited(7), "{}", traced.stderr);
        assert!(traced.stderr.contains("No space left"), "{}", traced.stderr);
        assert_eq!(site.names(), ["a"]);
    }
}

#[test]
fn root_a_clone_that_fails_at_any_step_leaves_nothing() {
    if !ready() {
        return;
    }
    let (site, _) = site();
    let clone = ["clone", "a", "b"];
    fails_cleanly(&site, &clone, libc::EIO, |call| call.is_ioctl(FICLONE));
    fails_cleanly(&site, &clone, libc::ENOENT, is_exec_of_child);
    fails_cleanly(&site, &clone, libc::EIO, |call| {
        !call.is_child && call.number == libc::SYS_linkat
    });
}

#[test]
fn root_an_attach_that_fails_leaves_no_device() {
    if !ready() {
        return;
    }
    let (site, _) = site();
    let traced = fails_cleanly(&site, &["attach", "a"], libc::EIO, |call| {
        call.is_ioctl(LOOP_CONFIGURE)
    });
    assert!(traced.stderr.contains("/dev/loop"), "{}", traced.stderr);
}

#[test]
fn root_a_mount_that_fails_at_any_step_leaves_no_device_and_no_mount() {
    if !ready() {
        return;
    }
    let (site, at) = site();
    let mount = ["mount", "a", at.as_str()];
    fails_cleanly(&site, &mount, libc::EIO, |call| {
        call.is_ioctl(LOOP_CONFIGURE)
    });
    for number in [
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_move_mount,
    ] {
        let call = |call: &SystemCall| call.number == number;
        fails_cleanly(&site, &mount, libc::EPERM, call);
    }
}

#[test]
fn root_an_attached_volume_that_could_not_grow_can_grow_later() {
    if !ready() {
        return;
    }
    let (site, _) = site();
    site.ok(&["new", "disk", "d", "1M"]);
    site.ok(&["attach", "d"]);
    let traced = Tracee::new(&site.command(&["resize", "d", "2M"]))
        .fail(0, libc::EIO, |call| call.is_ioctl(LOOP_SET_CAPACITY))
        .unwrap();
    assert_eq!((traced.failed, traced.outcome), (1, Outcome::Exited(1)));
    // Not "unchanged": the device still has the old size.
    let said = site.ok(&["resize", "d", "2M"]);
    assert!(!said.contains("unchanged"), "{said}");
    let device = site.loop_devices();
    let size =
        mosaic_tests::stdout_of("blockdev", &["--getsize64".as_ref(), device[0].as_os_str()]);
    assert_eq!(size.unwrap().trim(), "2097152");
    site.ok(&["detach", "d"]);
}

#[test]
fn root_a_size_binds_or_new_fails_whatever_cannot_be_looked_at() {
    if !requires_root() || !requires_program("mkfs.btrfs") {
        return;
    }
    let site = Site::on("btrfs+simple", "btrfs", "").unwrap();
    let words = ["new", "fs", "a", "16M"];
    let looks = |call: &SystemCall| call.number == libc::SYS_statx;
    for nth in 0.. {
        let tracee = Tracee::new(&site.command(&words));
        let traced = tracee.fail(nth, libc::EIO, looks).unwrap();
        if traced.outcome == Outcome::Exited(0) {
            let size = &site.json(&["info", "a"])["volume"]["size"];
            assert_eq!(*size, 16 << 20, "look {nth}: {traced:?}");
            site.ok(&["drop", "a"]);
        }
        assert_eq!(site.names(), [""; 0], "look {nth}: {traced:?}");
        if traced.failed == 0 {
            assert!(nth > 0);
            break;
        }
    }
}

/// Number of a btrfs ioctl in include/uapi/linux/btrfs.h.
fn is_btrfs(call: &SystemCall, number: u64) -> bool {
    let is_ours = call.args[1] >> 8 & 0xff == 0x94 && call.args[1] & 0xff == number;
    call.number == libc::SYS_ioctl && is_ours
}

#[test]
fn root_a_step_on_btrfs_that_fails_leaves_nothing() {
    const SNAP_CREATE_V2: u64 = 23;
    const SUBVOL_CREATE_V2: u64 = 24;
    const QGROUP_LIMIT: u64 = 43;
    const SNAP_DESTROY_V2: u64 = 63;
    if !requires_root() || !requires_program("mkfs.btrfs") {
        return;
    }
    let map = "volumeMap: ^\\(.\\)\\(.*\\)$ \\1/\\1\\2\n";
    let site = Site::on("btrfs+full", "btrfs", map).unwrap();
    for volume in ["a", "n"] {
        site.ok(&["new", "fs", volume, "16M"]);
    }
    site.subvolume("n/n/within");
    site.subvolume("n/n/within/deeper");
    let ioctl = |number: u64| move |call: &SystemCall| is_btrfs(call, number);
    let label = |call: &SystemCall| call.number == libc::SYS_fsetxattr;
    let rename = |call: &SystemCall| call.number == libc::SYS_renameat2;
    let new = ["new", "fs", "b", "16M"];
    fails_cleanly(&site, &new, libc::EIO, ioctl(SUBVOL_CREATE_V2));
    fails_cleanly(&site, &new, libc::ENOSPC, label);
    fails_cleanly(&site, &new, libc::EIO, rename);
    for source in ["a", "n"] {
        let clone = ["clone", source, "b", "--size", "32M"];
        fails_cleanly(&site, &clone, libc::EIO, ioctl(SNAP_CREATE_V2));
        fails_cleanly(&site, &clone, libc::EIO, ioctl(QGROUP_LIMIT));
        fails_cleanly(&site, &clone, libc::EDQUOT, label);
        fails_cleanly(&site, &clone, libc::EIO, rename);
    }
    for nth in 1..3 {
        let mut seen = 0;
        fails_cleanly(&site, &["clone", "n", "b"], libc::EIO, |call| {
            seen += usize::from(is_btrfs(call, SNAP_CREATE_V2));
            is_btrfs(call, SNAP_CREATE_V2) && seen == nth + 1
        });
    }
    fails_cleanly(&site, &["drop", "a"], libc::EIO, ioctl(SNAP_DESTROY_V2));
    fails_cleanly(&site, &["drop", "n"], libc::EIO, rename);
    fails_cleanly(&site, &["rename", "a", "b"], libc::EIO, rename);
    fails_cleanly(
        &site,
        &["resize", "a", "32M"],
        libc::EIO,
        ioctl(QGROUP_LIMIT),
    );
    let mut paths: Vec<_> = site.subvolumes().into_iter().map(|s| s.path).collect();
    paths.sort();
    let expected = ["a/a", "n/n", "n/n/within", "n/n/within/deeper"];
    assert_eq!(paths, expected.map(std::path::PathBuf::from));
    assert_eq!(site.entries(), ["a", "n"]);
    site.assert_sound();
}
