// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every changing verb, on every driver that works on files and folders.

use super::{Named, Scenario};

/// On files.
pub const LOOP: Scenario = Scenario {
    driver: "loop",
    fs: "xfs",
    config: "default_fs: ext4\n",
    prepare: &[],
    command: &[],
    reset: &[],
    asks: 100,
    fails: usize::MAX,
    least: 2,
    again: false,
    cuts_power: false,
    in_quick: true,
};

const PLAIN: Scenario = Scenario {
    driver: "plain",
    fs: "ext4",
    config: "",
    ..LOOP
};

const BTRFS: Scenario = Scenario {
    driver: "btrfs",
    fs: "btrfs",
    config: "",
    // There are many of these, and several looks at each state.
    asks: 10,
    ..LOOP
};

/// On a btrfs with simple quotas.
const SIMPLE: Scenario = Scenario {
    fs: "btrfs+simple",
    ..BTRFS
};

/// On a btrfs with full quotas.
const FULL: Scenario = Scenario {
    fs: "btrfs+full",
    ..BTRFS
};

/// Stored names are `a/a`: folders come and go with volumes, which carry their user's name.
pub const MAP: &str = "volumeMap: ^\\(.\\)\\(.*\\)$ \\1/\\1\\2\n";

/// The volume `a` with subvolumes in it, two deep, one of them read-only.
const NESTED: &[&[&str]] = &[
    &["new", "fs", "a", "16M"],
    &["btrfs", "subvolume", "create", "a/within"],
    &["btrfs", "subvolume", "create", "a/within/deeper"],
    &[
        "btrfs",
        "subvolume",
        "snapshot",
        "-r",
        "a/within/deeper",
        "a/kept",
    ],
];

/// By name.
pub const SCENARIOS: &[Named] = &[
    (
        "loop new fs",
        Scenario {
            command: &["new", "fs", "a", "16M"],
            reset: &[&["drop", "a"]],
            ..LOOP
        },
    ),
    (
        "loop new disk",
        Scenario {
            command: &["new", "disk", "a", "1M"],
            reset: &[&["drop", "a"]],
            in_quick: false,
            ..LOOP
        },
    ),
    (
        "loop clone",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["clone", "a", "b", "--size", "32M"],
            reset: &[&["drop", "b"]],
            ..LOOP
        },
    ),
    (
        "loop drop",
        Scenario {
            prepare: &[&["new", "disk", "a", "1M"]],
            command: &["drop", "a"],
            reset: &[&["new", "disk", "a", "1M"]],
            ..LOOP
        },
    ),
    (
        "loop rename",
        Scenario {
            prepare: &[&["new", "disk", "a", "1M"]],
            command: &["rename", "a", "b"],
            reset: &[&["rename", "b", "a"]],
            ..LOOP
        },
    ),
    (
        "loop attach",
        Scenario {
            prepare: &[&["new", "disk", "a", "1M"]],
            command: &["attach", "a"],
            reset: &[&["detach", "a"]],
            ..LOOP
        },
    ),
    (
        "loop detach",
        Scenario {
            prepare: &[&["new", "disk", "a", "1M"], &["attach", "a"]],
            command: &["detach", "a"],
            reset: &[&["attach", "a"]],
            ..LOOP
        },
    ),
    (
        "loop rename mapped",
        Scenario {
            config: MAP,
            prepare: &[&["new", "disk", "a", "1M"]],
            command: &["rename", "a", "b"],
            reset: &[&["rename", "b", "a"]],
            in_quick: false,
            ..LOOP
        },
    ),
    (
        "loop mount",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["mount", "a", "AT"],
            reset: &[&["umount", "a", "AT"]],
            ..LOOP
        },
    ),
    (
        "loop umount",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"], &["mount", "a", "AT"]],
            command: &["umount", "a", "AT"],
            reset: &[&["mount", "a", "AT"]],
            in_quick: false,
            ..LOOP
        },
    ),
    (
        "loop resize disk",
        Scenario {
            prepare: &[&["new", "disk", "a", "1M"], &["attach", "a"]],
            command: &["resize", "a", "2M"],
            reset: &[
                &["detach", "a"],
                &["resize", "a", "1M", "--shrink"],
                &["attach", "a"],
            ],
            ..LOOP
        },
    ),
    (
        "plain new",
        Scenario {
            command: &["new", "fs", "a", "1M"],
            reset: &[&["drop", "a"]],
            ..PLAIN
        },
    ),
    (
        "plain drop",
        Scenario {
            prepare: &[&["new", "fs", "a", "1M"]],
            command: &["drop", "a"],
            reset: &[&["new", "fs", "a", "1M"]],
            ..PLAIN
        },
    ),
    (
        "plain rename",
        Scenario {
            prepare: &[&["new", "fs", "a", "1M"]],
            command: &["rename", "a", "b"],
            reset: &[&["rename", "b", "a"]],
            in_quick: false,
            ..PLAIN
        },
    ),
    (
        "plain rename mapped",
        Scenario {
            config: MAP,
            prepare: &[&["new", "fs", "a", "1M"]],
            command: &["rename", "a", "b"],
            reset: &[&["rename", "b", "a"]],
            in_quick: false,
            ..PLAIN
        },
    ),
    (
        "plain mount",
        Scenario {
            prepare: &[&["new", "fs", "a", "1M"]],
            command: &["mount", "a", "AT"],
            reset: &[&["umount", "a", "AT"]],
            in_quick: false,
            ..PLAIN
        },
    ),
    (
        "plain umount",
        Scenario {
            prepare: &[&["new", "fs", "a", "1M"], &["mount", "a", "AT"]],
            command: &["umount", "a", "AT"],
            reset: &[&["mount", "a", "AT"]],
            in_quick: false,
            ..PLAIN
        },
    ),
    (
        "btrfs new",
        Scenario {
            command: &["new", "fs", "a", "16M"],
            reset: &[&["drop", "a"]],
            ..SIMPLE
        },
    ),
    (
        "btrfs new mapped",
        Scenario {
            config: MAP,
            command: &["new", "fs", "a", "16M"],
            reset: &[&["drop", "a"]],
            in_quick: false,
            ..FULL
        },
    ),
    (
        "btrfs clone",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["clone", "a", "b"],
            reset: &[&["drop", "b"]],
            ..BTRFS
        },
    ),
    (
        "btrfs clone with a size",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["clone", "a", "b", "--size", "32M"],
            reset: &[&["drop", "b"]],
            in_quick: false,
            ..FULL
        },
    ),
    (
        "btrfs clone mapped",
        Scenario {
            config: MAP,
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["clone", "a", "b"],
            reset: &[&["drop", "b"]],
            in_quick: false,
            ..SIMPLE
        },
    ),
    (
        "btrfs clone nested",
        Scenario {
            prepare: NESTED,
            command: &["clone", "a", "b"],
            reset: &[&["drop", "b"]],
            ..SIMPLE
        },
    ),
    (
        "btrfs drop",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["drop", "a"],
            reset: &[&["new", "fs", "a", "16M"]],
            in_quick: false,
            ..SIMPLE
        },
    ),
    (
        "btrfs drop nested",
        Scenario {
            prepare: NESTED,
            command: &["drop", "a"],
            reset: NESTED,
            ..FULL
        },
    ),
    (
        "btrfs rename",
        Scenario {
            config: MAP,
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["rename", "a", "b"],
            reset: &[&["rename", "b", "a"]],
            in_quick: false,
            ..FULL
        },
    ),
    (
        "btrfs resize",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["resize", "a", "32M"],
            reset: &[&["resize", "a", "16M", "--shrink"]],
            ..SIMPLE
        },
    ),
    (
        "btrfs mount",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["mount", "a", "AT"],
            reset: &[&["umount", "a", "AT"]],
            ..BTRFS
        },
    ),
    (
        "btrfs umount",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"], &["mount", "a", "AT"]],
            command: &["umount", "a", "AT"],
            reset: &[&["mount", "a", "AT"]],
            in_quick: false,
            ..BTRFS
        },
    ),
];
