// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any sequence of operations, drawn at random.

use mosaic_ploop::format::disk::Kind;
use mosaic_ploop::format::header::Version;
use mosaic_tests::{is_long, is_quick, left_out};
use proptest::prelude::*;

use super::{Access, Change, Pair};
use crate::disk::{CLUSTER, CLUSTERS, KINDS, V1, V2};

/// Clusters that a disk has at most.
const MOST: u64 = 40;
/// The same of a wide one. Its table begins with one cluster of the file and may have three.
const MOST_WIDE: u64 = 20_000;
/// Clusters of a wide disk at first.
const WIDE: u64 = 8170;
/// Clusters whose entries are at the borders of the table's pages of 4 KiB, and of its clusters.
const BORDERS: [u64; 8] = [0, 1007, 2031, 5103, 8169, 8175, 12_271, 16_367];

/// A disk with little in its table.
pub fn small(kind: Kind) -> Pair {
    Pair::new(kind, CLUSTERS, MOST)
}

/// Mostly some bytes anywhere, sometimes whole clusters.
fn place() -> impl Strategy<Value = (u64, u64)> {
    prop_oneof![
        (0..MOST * CLUSTER, 1..2 * CLUSTER),
        (0..MOST, 1..5_u64).prop_map(|(at, count)| (at * CLUSTER, count * CLUSTER)),
    ]
}

/// The same about the borders of a wide disk's table, and at its end.
fn wide_place() -> impl Strategy<Value = (u64, u64)> {
    let start = prop_oneof![
        5 => prop::sample::select(BORDERS.to_vec()).prop_map(|at| at * CLUSTER),
        1 => Just(u64::MAX - 3 * CLUSTER),
    ]
    .boxed();
    prop_oneof![
        (start.clone(), 0..2 * CLUSTER, 1..2 * CLUSTER)
            .prop_map(|(start, at, bytes)| (start + at, bytes)),
        (start, 0..3_u64, 1..3_u64)
            .prop_map(|(start, at, count)| (start + at * CLUSTER, count * CLUSTER)),
    ]
}

fn access(
    place: BoxedStrategy<(u64, u64)>,
    growth: impl Strategy<Value = u64> + 'static,
) -> impl Strategy<Value = Access> {
    prop_oneof![
        8 => (place.clone(), any::<u8>())
            .prop_map(|((at, bytes), byte)| Access::Write { at, bytes, byte }),
        2 => place.clone().prop_map(|(at, bytes)| Access::Zero { at, bytes }),
        2 => place.prop_map(|(at, bytes)| Access::Discard { at, bytes }),
        2 => Just(Access::Flush),
        1 => Just(Access::Snapshot),
        1 => growth.prop_map(|clusters| Access::Grow { clusters }),
    ]
}

/// Any change.
pub fn change() -> impl Strategy<Value = Change> {
    change_of(access(place().boxed(), 1..12_u64), 1..12_u64, 1..MOST)
}

/// Any change of a wide disk.
fn wide_change() -> impl Strategy<Value = Change> {
    let growth = || prop::sample::select(vec![1_u64, 5, 6, 7, 500, 4000, 8190, 11_000]);
    let size = prop::sample::select(BORDERS.to_vec()).prop_map(|border| border + 1);
    change_of(access(wide_place().boxed(), growth()), growth(), size)
}

fn change_of(
    access: impl Strategy<Value = Access> + 'static,
    growth: impl Strategy<Value = u64> + 'static,
    size: impl Strategy<Value = u64> + 'static,
) -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => prop::collection::vec(access, 1..6).prop_map(Change::Open),
        3 => Just(Change::Snapshot),
        2 => (0..8_usize, any::<bool>()).prop_map(|(to, keep)| Change::Switch { to, keep }),
        3 => (0..8_usize).prop_map(|shot| Change::Delete { shot }),
        1 => growth.prop_map(|clusters| Change::Grow { clusters }),
        1 => size.prop_map(|clusters| Change::Shrink { clusters }),
        1 => Just(Change::Compact),
        1 => prop_oneof![Just(Version::V1), Just(Version::V2)].prop_map(Change::Convert),
        1 => Just(Change::Clone),
        1 => Just(Change::Branch),
    ]
}

/// What makes a tree of snapshots and takes it down.
fn change_of_tree() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => prop::collection::vec(access(place().boxed(), 1..12_u64), 1..3).prop_map(Change::Open),
        4 => Just(Change::Snapshot),
        3 => (0..8_usize, any::<bool>()).prop_map(|(to, keep)| Change::Switch { to, keep }),
        6 => (0..8_usize).prop_map(|shot| Change::Delete { shot }),
        1 => Just(Change::Clone),
    ]
}

pub fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(KINDS.to_vec())
}

fn cases() -> u32 {
    if is_long() {
        return 4_000;
    }
    if is_quick() {
        left_out("all but 32 sequences");
        return 32;
    }
    128
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_disk_holds_what_a_plain_one_does(
        kind in kind(),
        changes in prop::collection::vec(change(), 1..30),
    ) {
        run(small(kind), &changes);
    }

    #[test]
    fn a_disk_with_a_wide_table_holds_what_a_plain_one_does(
        kind in prop::sample::select(vec![V1, V2]),
        changes in prop::collection::vec(wide_change(), 1..30),
    ) {
        run(Pair::new(kind, WIDE, MOST_WIDE), &changes);
    }

    #[test]
    fn a_tree_of_snapshots_holds_what_was_taken(
        kind in kind(),
        changes in prop::collection::vec(change_of_tree(), 10..50),
    ) {
        run(small(kind), &changes);
    }
}

fn run(mut pair: Pair, changes: &[Change]) {
    for change in changes {
        pair.change(change);
        pair.compare();
    }
}
