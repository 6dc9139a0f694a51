// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every changing verb on a thin pool, where it does different things in different states too.

use super::verbs::LOOP;
use super::{Named, Scenario};

const DMTHIN: Scenario = Scenario {
    driver: "dmthin",
    fs: super::POOL,
    config: "default_fs: ext4\n",
    // Processors are emulated where pools are.
    asks: 2,
    least: 5,
    // What a quick run tries of this: src/simulated of the driver at each call, and the
    // power cuts of tests/pool_power here.
    in_quick: false,
    ..LOOP
};

/// What differs little from another scenario, where each call fails.
const LIKE_ANOTHER: Scenario = Scenario {
    asks: 0,
    fails: 6,
    ..DMTHIN
};

/// By name.
pub const SCENARIOS: &[Named] = &[
    (
        "dmthin new fs",
        Scenario {
            command: &["new", "fs", "a", "16M"],
            reset: &[&["drop", "a"]],
            ..DMTHIN
        },
    ),
    (
        "dmthin new disk",
        Scenario {
            command: &["new", "disk", "a", "1M"],
            reset: &[&["drop", "a"]],
            ..DMTHIN
        },
    ),
    (
        "dmthin clone",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["clone", "a", "b", "--size", "32M"],
            reset: &[&["drop", "b"]],
            ..DMTHIN
        },
    ),
    (
        "dmthin clone in use",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"], &["mount", "a", "AT"]],
            command: &["clone", "a", "b"],
            reset: &[&["drop", "b"]],
            ..DMTHIN
        },
    ),
    (
        "dmthin drop",
        Scenario {
            prepare: &[&["new", "disk", "a", "1M"]],
            command: &["drop", "a"],
            reset: &[&["new", "disk", "a", "1M"]],
            ..DMTHIN
        },
    ),
    (
        "dmthin rename",
        Scenario {
            prepare: &[&["new", "disk", "a", "1M"]],
            command: &["rename", "a", "b"],
            reset: &[&["rename", "b", "a"]],
            ..DMTHIN
        },
    ),
    (
        "dmthin attach",
        Scenario {
            prepare: &[&["new", "disk", "a", "1M"]],
            command: &["attach", "a"],
            reset: &[&["detach", "a"]],
            ..DMTHIN
        },
    ),
    (
        "dmthin detach",
        Scenario {
            prepare: &[&["new", "disk", "a", "1M"], &["attach", "a"]],
            command: &["detach", "a"],
            reset: &[&["attach", "a"]],
            ..DMTHIN
        },
    ),
    (
        "dmthin mount",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["mount", "a", "AT"],
            reset: &[&["umount", "a", "AT"]],
            ..DMTHIN
        },
    ),
    (
        "dmthin umount",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"], &["mount", "a", "AT"]],
            command: &["umount", "a", "AT"],
            reset: &[&["mount", "a", "AT"]],
            ..DMTHIN
        },
    ),
    (
        "dmthin grow in use",
        Scenario {
            prepare: &[&["new", "disk", "a", "1M"], &["attach", "a"]],
            command: &["resize", "a", "2M"],
            reset: &[
                &["detach", "a"],
                &["resize", "a", "1M", "--shrink"],
                &["attach", "a"],
            ],
            ..DMTHIN
        },
    ),
    (
        "dmthin shrink",
        Scenario {
            prepare: &[&["new", "disk", "a", "2M"]],
            command: &["resize", "a", "1M", "--shrink"],
            reset: &[&["resize", "a", "2M"]],
            ..DMTHIN
        },
    ),
    (
        "dmthin drop with discard",
        Scenario {
            config: "default_fs: ext4\ndiscard_on_drop: true\n",
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["drop", "a"],
            reset: &[&["new", "fs", "a", "16M"]],
            ..LIKE_ANOTHER
        },
    ),
    (
        "dmthin mount metadata",
        Scenario {
            command: &["mount", "-", "AT"],
            reset: &[&["umount", "-", "AT"]],
            ..LIKE_ANOTHER
        },
    ),
    (
        "dmthin umount metadata",
        Scenario {
            prepare: &[&["mount", "-", "AT"]],
            command: &["umount", "-", "AT"],
            reset: &[&["mount", "-", "AT"]],
            least: 2,
            ..LIKE_ANOTHER
        },
    ),
    (
        "dmthin grow idle",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["resize", "a", "32M"],
            reset: &[&["drop", "a"], &["new", "fs", "a", "16M"]],
            fails: 12,
            again: true,
            ..DMTHIN
        },
    ),
];
