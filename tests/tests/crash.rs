// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kills `moctl`, with everything that it runs, at every system call of every changing verb.
//!
//! Calls that leave nothing when the process dies (reads, memory, signals) are passed over: killed
//! before or after one, the storage and the kernel look the same. `--long` takes them too.
#![cfg(target_arch = "x86_64")]

mod scenario;
#[path = "crash/writer.rs"]
mod writer;

use mosaic_tests::{
    Action, Outcome, Quota, Site, Tracee, is_quick, left_out, quota, requires_program,
    requires_root, run,
};
use scenario::{Beginning, Scenario, Stage, Start, all, chosen, scenarios};

/// The scenarios of all these names, for a test that does one after the other: it says which of them
/// it leaves out, and does the rest.
fn scenarios_among(names: &[&str]) -> Vec<Scenario> {
    let one = |name: &&str| {
        let has_time = || {
            if is_quick() {
                left_out(name);
            }
            !is_quick()
        };
        chosen(name, has_time)
    };
    names.iter().flat_map(one).collect()
}

fn killed_anywhere(name: &str) {
    for scenario in scenarios(name) {
        Stage::new(scenario).disturb_each(Action::KillAfter);
    }
}

macro_rules! scenarios {
    ($($test:ident: $name:literal)*) => {
        $(
            #[test]
            fn $test() {
                killed_anywhere($name);
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
    root_killed_new_fs_is_before_or_after: "loop new fs"
    root_killed_new_disk_is_before_or_after: "loop new disk"
    root_killed_clone_is_before_or_after: "loop clone"
    root_killed_drop_is_before_or_after: "loop drop"
    root_killed_rename_is_before_or_after: "loop rename"
    root_killed_mapped_rename_is_before_or_after: "loop rename mapped"
    root_killed_attach_is_before_or_after: "loop attach"
    root_killed_detach_is_before_or_after: "loop detach"
    root_killed_mount_is_before_or_after: "loop mount"
    root_killed_umount_is_before_or_after: "loop umount"
    root_killed_resize_is_before_or_after: "loop resize disk"
    root_killed_attach_of_deltas_is_before_or_after: "ploop attach"
    root_killed_detach_of_deltas_is_before_or_after: "ploop detach"
    root_killed_mount_of_deltas_is_before_or_after: "ploop mount"
    root_killed_umount_of_deltas_is_before_or_after: "ploop umount"
    root_killed_clone_of_attached_deltas_is_before_or_after: "ploop clone attached"
    root_killed_new_folder_is_before_or_after: "plain new"
    root_killed_drop_of_a_folder_is_before_or_after: "plain drop"
    root_killed_rename_of_a_folder_is_before_or_after: "plain rename"
    root_killed_mapped_rename_of_a_folder_is_before_or_after: "plain rename mapped"
    root_killed_mount_of_a_folder_is_before_or_after: "plain mount"
    root_killed_umount_of_a_folder_is_before_or_after: "plain umount"
    root_killed_new_subvolume_is_before_or_after: "btrfs new"
    root_killed_new_mapped_subvolume_is_before_or_after: "btrfs new mapped"
    root_killed_snapshot_is_before_or_after: "btrfs clone"
    root_killed_snapshot_with_a_size_is_before_or_after: "btrfs clone with a size"
    root_killed_mapped_snapshot_is_before_or_after: "btrfs clone mapped"
    root_killed_snapshot_of_nested_ones_is_before_or_after: "btrfs clone nested"
    root_killed_drop_of_a_subvolume_is_before_or_after: "btrfs drop"
    root_killed_drop_of_nested_ones_is_before_or_after: "btrfs drop nested"
    root_killed_rename_of_a_subvolume_is_before_or_after: "btrfs rename"
    root_killed_resize_of_a_subvolume_is_before_or_after: "btrfs resize"
    root_killed_mount_of_a_subvolume_is_before_or_after: "btrfs mount"
    root_killed_umount_of_a_subvolume_is_before_or_after: "btrfs umount"
    root_killed_new_fs_in_a_pool_is_before_or_after: "dmthin new fs"
    root_killed_new_disk_in_a_pool_is_before_or_after: "dmthin new disk"
    root_killed_clone_in_a_pool_is_before_or_after: "dmthin clone"
    root_killed_clone_of_a_thin_device_in_use_is_before_or_after: "dmthin clone in use"
    root_killed_drop_from_a_pool_is_before_or_after: "dmthin drop"
    root_killed_rename_in_a_pool_is_before_or_after: "dmthin rename"
    root_killed_attach_of_a_thin_device_is_before_or_after: "dmthin attach"
    root_killed_detach_of_a_thin_device_is_before_or_after: "dmthin detach"
    root_killed_mount_of_a_thin_device_is_before_or_after: "dmthin mount"
    root_killed_umount_of_a_thin_device_is_before_or_after: "dmthin umount"
    root_killed_growth_of_a_thin_device_in_use_is_before_or_after: "dmthin grow in use"
    root_killed_shrink_of_a_thin_device_is_before_or_after: "dmthin shrink"
    root_killed_drop_from_a_pool_with_discard_is_before_or_after: "dmthin drop with discard"
    root_killed_mount_of_a_pools_metadata_is_before_or_after: "dmthin mount metadata"
    root_killed_umount_of_a_pools_metadata_is_before_or_after: "dmthin umount metadata"
    root_killed_growth_of_an_idle_thin_device_is_before_or_after: "dmthin grow idle"
    root_killed_new_fs_on_ploop_is_before_or_after: "ploop new fs"
    root_killed_new_mapped_disk_on_ploop_is_before_or_after: "ploop new disk mapped"
    root_killed_clone_of_a_ploop_disk_is_before_or_after: "ploop clone disk"
    root_killed_clone_of_a_ploop_fs_is_before_or_after: "ploop clone fs"
    root_killed_drop_of_a_ploop_disk_is_before_or_after: "ploop drop"
    root_killed_mapped_rename_of_a_ploop_disk_is_before_or_after: "ploop rename mapped"
    root_killed_resize_of_a_ploop_disk_is_before_or_after: "ploop resize disk"
    root_killed_growth_of_a_ploop_disk_in_use_is_before_or_after: "ploop grow in use"
    root_killed_growth_of_a_partition_is_before_or_after: "ploop grow partition"
    root_killed_shrinking_of_a_partition_is_before_or_after: "ploop shrink partition"
    root_killed_clone_of_a_partition_is_before_or_after: "ploop clone partition"
    root_killed_growth_of_a_partition_in_use_is_before_or_after: "ploop grow partition in use"
}

#[test]
fn root_killed_init_of_a_pool_is_finished_by_the_next() {
    if let Some(start) = Start::new() {
        start.disturb_init(Action::KillAfter, Beginning::Blank);
    }
}

#[test]
fn root_killed_init_by_force_is_finished_by_the_next() {
    if let Some(start) = Start::new() {
        start.disturb_init(Action::KillAfter, Beginning::Full);
    }
}

#[test]
fn root_killed_init_of_an_adopted_pool_is_finished_by_the_next() {
    if let Some(start) = Start::new() {
        start.disturb_init(Action::KillAfter, Beginning::Adopted);
    }
}

#[test]
fn root_killed_repair_of_a_pool_is_finished_by_the_next() {
    if let Some(start) = Start::new() {
        start.disturb_repair(Action::KillAfter);
    }
}

#[test]
fn root_killed_activation_of_a_pool_is_finished_by_the_next_command() {
    if let Some(start) = Start::new() {
        start.disturb_activation(Action::KillAfter);
    }
}

/// The verbs that promise to be durable.
#[test]
fn root_killed_in_a_power_cut_a_btrfs_is_before_or_after() {
    let names = [
        "btrfs new mapped",
        "btrfs clone nested",
        "btrfs drop nested",
        "btrfs rename",
    ];
    for scenario in scenarios_among(&names) {
        let cuts_power = true;
        let scenario = Scenario {
            cuts_power,
            ..scenario
        };
        Stage::new(scenario).disturb_each(Action::KillAfter);
    }
}

#[test]
fn root_killed_init_has_switched_quotas_on_or_not_and_can_be_repeated() {
    if !requires_root() || !requires_program("mkfs.btrfs") {
        return;
    }
    let site = Site::on("btrfs", "btrfs", "").unwrap();
    let top = site.fs().unwrap().path();
    let fresh = top.join("fresh");
    site.moctl().mosaic("fresh", "btrfs", &fresh, "").unwrap();
    let words = ["fresh", "init", "--quota", "simple"];
    for at in 0.. {
        let mut point = 0;
        let tracee = Tracee::new(&site.moctl().command(&words));
        let traced = tracee.run(|call| {
            point += usize::from(!call.leaves_nothing());
            match point == at + 1 && !call.leaves_nothing() {
                true => Action::KillAfter,
                false => Action::Continue,
            }
        });
        let traced = traced.unwrap();
        let found = quota(top).unwrap();
        assert!([None, Some(Quota::Simple)].contains(&found), "{traced:?}");
        let again = site.moctl().run(&words);
        // What was killed at its end had done it all.
        assert!([0, 4].contains(&again.status), "{traced:?}: {again:?}");
        assert_eq!(quota(top).unwrap(), Some(Quota::Simple), "{traced:?}");
        assert!(fresh.is_dir());
        if traced.outcome == Outcome::Exited(0) {
            assert!(at > 1);
            break;
        }
        run("btrfs", &["quota".as_ref(), "disable".as_ref(), top]).unwrap();
        std::fs::remove_dir_all(&fresh).unwrap();
    }
    site.assert_sound();
}
