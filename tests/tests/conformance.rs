// SPDX-License-Identifier: MIT OR Apache-2.0
//! One list of behaviours, run for every driver on every kind of location that matters to it.
//!
//! To add a driver, add a line to `drivers!` below. What a driver cannot do it has to refuse as
//! `Unsupported` with the reason that its capability gives: each behaviour looks at both.

mod behaviours;

use behaviours::Subject;
use mosaic_tests::requires_time;

/// The one kind of location that a quick run tries each driver on.
const IN_QUICK: [&str; 5] = [
    "loop_on_xfs",
    "ploop_on_xfs",
    "plain_on_ext4",
    "btrfs_with_simple_quotas",
    "dmthin",
];

macro_rules! behaviours {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                if let Some(subject) = subject() {
                    behaviours::$name(&subject);
                    subject.site.assert_idle();
                }
            }
        )*
    };
}

macro_rules! drivers {
    ($($module:ident: $driver:literal on $fs:literal, $config:literal;)*) => {
        $(
            mod $module {
                use super::*;

                fn subject() -> Option<Subject> {
                    let chosen = IN_QUICK.contains(&stringify!($module)) || requires_time();
                    chosen.then(|| Subject::new($driver, $fs, $config))?
                }

                behaviours! {
                    root_new_makes_what_was_asked_for
                    root_an_existing_name_is_never_given_twice
                    root_what_is_missing_is_not_found
                    root_capabilities_say_what_the_verbs_do
                    root_a_clone_is_a_volume_of_its_own
                    root_rename_moves_the_volume_with_its_data
                    root_mounts_are_what_the_options_say
                    root_umount_first_proves_its_target
                    root_what_is_in_use_is_not_dropped
                    root_attach_shows_one_device_until_detach
                    root_sizes_change_as_asked
                    root_a_size_binds_or_is_said_not_to
                    root_reading_verbs_change_nothing
                    root_the_metadata_is_mounted_and_never_dropped
                    root_an_owner_without_root_can_do_the_rest
                }
            }
        )*
    };
}

drivers! {
    loop_on_xfs: "loop" on "xfs", "default_fs: ext4\n";
    loop_on_btrfs: "loop" on "btrfs", "default_fs: ext4\n";
    loop_on_ext4: "loop" on "ext4", "default_fs: ext4\n";
    ploop_on_xfs: "ploop" on "xfs", "default_fs: ext4\n";
    ploop_on_ext4: "ploop" on "ext4", "default_fs: ext4\nversion: 1\ncluster_size: 64K\n";
    plain_on_ext4: "plain" on "ext4", "";
    plain_on_xfs: "plain" on "xfs", "";
    plain_on_ext4_with_quota: "plain" on "ext4+prjquota", "";
    plain_on_xfs_with_quota: "plain" on "xfs+prjquota", "";
    btrfs_without_quotas: "btrfs" on "btrfs", "";
    btrfs_with_simple_quotas: "btrfs" on "btrfs+simple", "";
    dmthin: "dmthin" on "pool", "default_fs: ext4\n";
    btrfs_with_full_quotas: "btrfs" on "btrfs+full", "";
}
