// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every changing verb on ploop.

use super::verbs::{LOOP, MAP};
use super::{Named, Scenario};

const PLOOP: Scenario = Scenario {
    driver: "ploop",
    in_quick: false,
    ..LOOP
};

/// Without reflink, and with small clusters.
const PLOOP_ON_EXT4: Scenario = Scenario {
    fs: "ext4",
    config: "default_fs: ext4\ncluster_size: 32K\n",
    asks: 20,
    ..PLOOP
};

/// A disk with data in each of its 32 clusters. Its table has one; that of a disk of 512 MiB has three,
/// and takes the place of the first two with data.
const FILLED: &[&[&str]] = &[&["new", "disk", "a", "1M"], &["fill", "a"]];

/// File systems on the partition of `ploop init`.
const PARTITIONED: Scenario = Scenario {
    config: "default_fs: ext4\ncluster_size: 32K\npartition: gpt\n",
    fails: 40,
    ..PLOOP_ON_EXT4
};

/// By name.
pub const SCENARIOS: &[Named] = &[
    (
        "ploop attach",
        Scenario {
            prepare: &[&["new", "disk", "a", "8M"]],
            command: &["attach", "a"],
            reset: &[&["detach", "a"]],
            ..PLOOP
        },
    ),
    (
        "ploop detach",
        Scenario {
            prepare: &[&["new", "disk", "a", "8M"], &["attach", "a"]],
            command: &["detach", "a"],
            reset: &[&["attach", "a"]],
            ..PLOOP
        },
    ),
    (
        "ploop mount",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["mount", "a", "AT"],
            reset: &[&["umount", "a", "AT"]],
            ..PLOOP
        },
    ),
    (
        "ploop umount",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"], &["mount", "a", "AT"]],
            command: &["umount", "a", "AT"],
            reset: &[&["mount", "a", "AT"]],
            ..PLOOP
        },
    ),
    (
        "ploop clone attached",
        Scenario {
            in_quick: true,
            prepare: &[&["new", "disk", "a", "8M"], &["attach", "a"]],
            command: &["clone", "a", "b"],
            reset: &[&["drop", "b"]],
            ..PLOOP
        },
    ),
    (
        "ploop new fs",
        Scenario {
            in_quick: true,
            command: &["new", "fs", "a", "16M"],
            reset: &[&["drop", "a"]],
            ..PLOOP_ON_EXT4
        },
    ),
    (
        "ploop new disk mapped",
        Scenario {
            config: MAP,
            command: &["new", "disk", "a", "1M"],
            reset: &[&["drop", "a"]],
            ..PLOOP_ON_EXT4
        },
    ),
    (
        "ploop clone disk",
        Scenario {
            prepare: FILLED,
            command: &["clone", "a", "b", "--size", "64M"],
            // So that the source has no snapshot yet.
            reset: &[
                &["drop", "b"],
                &["drop", "a"],
                &["new", "disk", "a", "1M"],
                &["fill", "a"],
            ],
            ..PLOOP_ON_EXT4
        },
    ),
    (
        "ploop clone fs",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["clone", "a", "b", "--size", "32M"],
            reset: &[&["drop", "b"]],
            ..PLOOP
        },
    ),
    (
        "ploop drop",
        Scenario {
            prepare: &[&["new", "disk", "a", "1M"]],
            command: &["drop", "a"],
            reset: &[&["new", "disk", "a", "1M"]],
            ..PLOOP_ON_EXT4
        },
    ),
    (
        "ploop rename mapped",
        Scenario {
            config: MAP,
            prepare: &[&["new", "disk", "a", "1M"]],
            command: &["rename", "a", "b"],
            reset: &[&["rename", "b", "a"]],
            ..PLOOP_ON_EXT4
        },
    ),
    (
        "ploop resize disk",
        Scenario {
            prepare: FILLED,
            command: &["resize", "a", "512M"],
            reset: &[&["drop", "a"], &["new", "disk", "a", "1M"], &["fill", "a"]],
            ..PLOOP_ON_EXT4
        },
    ),
    (
        "ploop grow in use",
        Scenario {
            prepare: &[
                &["new", "disk", "a", "1M"],
                &["attach", "a"],
                &["fill", "a"],
            ],
            command: &["resize", "a", "512M"],
            // Not made smaller: its table would keep the place.
            reset: &[
                &["detach", "a"],
                &["drop", "a"],
                &["new", "disk", "a", "1M"],
                &["attach", "a"],
                &["fill", "a"],
            ],
            ..PLOOP_ON_EXT4
        },
    ),
    (
        "ploop grow partition",
        Scenario {
            prepare: &[&["new", "fs", "a", "8M"]],
            command: &["resize", "a", "24M"],
            reset: &[&["drop", "a"], &["new", "fs", "a", "8M"]],
            again: true,
            ..PARTITIONED
        },
    ),
    (
        "ploop shrink partition",
        Scenario {
            prepare: &[&["new", "fs", "a", "24M"]],
            command: &["resize", "a", "8M", "--shrink"],
            reset: &[&["drop", "a"], &["new", "fs", "a", "24M"]],
            ..PARTITIONED
        },
    ),
    (
        "ploop clone partition",
        Scenario {
            prepare: &[&["new", "fs", "a", "8M"]],
            command: &["clone", "a", "b", "--size", "24M"],
            reset: &[&["drop", "b"]],
            ..PARTITIONED
        },
    ),
    (
        "ploop grow partition in use",
        Scenario {
            config: "default_fs: xfs\npartition: gpt\n",
            prepare: &[&["new", "fs", "a", "320M"], &["mount", "a", "AT"]],
            command: &["resize", "a", "400M"],
            reset: &[
                &["umount", "a", "AT"],
                &["drop", "a"],
                &["new", "fs", "a", "320M"],
                &["mount", "a", "AT"],
            ],
            again: true,
            ..PARTITIONED
        },
    ),
];
