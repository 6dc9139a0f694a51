// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kills `moctl`, with everything that it runs, at every system call of every changing verb.
//!
//! Calls that leave nothing when the process dies (reads, memory, signals) are passed over: killed
//! before or after one, the storage and the kernel look the same. `--long` takes them too.
#![cfg(target_arch = "x86_64")]

mod scenario;

use mosaic_tests::{Action, requires_program, requires_root};
use scenario::{SCENARIOS, Stage};

fn killed_anywhere(name: &str) {
    if !requires_root() || !requires_program("mkfs.ext4") || !requires_program("mkfs.xfs") {
        return;
    }
    let (_, scenario) = SCENARIOS.into_iter().find(|(n, _)| *n == name).unwrap();
    Stage::new(scenario).disturb_each(Action::KillAfter);
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
            assert!(SCENARIOS.iter().all(|(name, _)| named.contains(name)));
        }
    };
}

scenarios! {
    root_killed_new_fs_is_before_or_after: "loop new fs"
    root_killed_new_disk_is_before_or_after: "loop new disk"
    root_killed_clone_is_before_or_after: "loop clone"
    root_killed_drop_is_before_or_after: "loop drop"
    root_killed_rename_is_before_or_after: "loop rename"
    root_killed_attach_is_before_or_after: "loop attach"
    root_killed_detach_is_before_or_after: "loop detach"
    root_killed_mount_is_before_or_after: "loop mount"
    root_killed_umount_is_before_or_after: "loop umount"
    root_killed_resize_is_before_or_after: "loop resize disk"
    root_killed_new_folder_is_before_or_after: "plain new"
    root_killed_drop_of_a_folder_is_before_or_after: "plain drop"
    root_killed_rename_of_a_folder_is_before_or_after: "plain rename"
    root_killed_mount_of_a_folder_is_before_or_after: "plain mount"
    root_killed_umount_of_a_folder_is_before_or_after: "plain umount"
}
