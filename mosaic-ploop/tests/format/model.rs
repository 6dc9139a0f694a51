// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any sequence of operations against a plain disk in memory.

use std::collections::BTreeMap;

use mosaic_ploop::format::Error;
use mosaic_ploop::format::disk::{Deletion, Disk, Kind};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::header::Version;
use mosaic_ploop::format::units::{DiskOffset, Sectors};
use mosaic_tests::{is_long, is_quick, left_out};
use proptest::prelude::*;

use crate::disk::{CLUSTER, KINDS, MemDisk, assert_clean, read, read_top, small};

/// Clusters that a disk has at most.
const MOST: u64 = 40;

/// Something done to the open disk.
#[derive(Debug, Clone)]
pub enum Access {
    Write { at: u64, bytes: u64, byte: u8 },
    Zero { at: u64, bytes: u64 },
    Discard { at: u64, bytes: u64 },
    Flush,
}

/// Something done to a disk. Numbers pick among what is there.
#[derive(Debug, Clone)]
pub enum Change {
    Open(Vec<Access>),
    Snapshot,
    Switch {
        to: usize,
        keep: bool,
    },
    Delete {
        shot: usize,
    },
    Grow {
        clusters: u64,
    },
    Shrink {
        clusters: u64,
    },
    Compact,
    Convert(Version),
    /// The files beneath the top get other names, as those that a clone shares have.
    Clone,
}

/// A disk, and what it should hold.
pub struct Pair {
    pub disk: MemDisk,
    pub top: Vec<u8>,
    pub snapshots: BTreeMap<Guid, Vec<u8>>,
    /// What clones share: name and content.
    clones: Vec<(String, Vec<u8>)>,
    names: u8,
}

impl Pair {
    pub fn new(kind: Kind) -> Self {
        let disk = small(kind);
        let top = read_top(&disk);
        Self {
            disk,
            top,
            snapshots: BTreeMap::new(),
            clones: Vec::new(),
            names: 0,
        }
    }

    /// Does it to both.
    pub fn change(&mut self, change: &Change) {
        match change {
            Change::Open(accesses) => self.open(accesses),
            Change::Snapshot => {
                let name = self.name();
                if self.accept(|disk| disk.snapshot(name)).is_some() {
                    self.snapshots.insert(name, self.top.clone());
                }
            }
            Change::Switch { to, keep } => self.switch(*to, *keep),
            Change::Delete { shot } => self.delete(*shot),
            Change::Grow { clusters } => {
                let size = self.top.len() as u64 + clusters * CLUSTER;
                if size <= MOST * CLUSTER {
                    let size = size - 512;
                    if self.accept(|disk| disk.grow(Sectors(size / 512))).is_some() {
                        let whole = size.next_multiple_of(CLUSTER);
                        self.top.resize(usize::try_from(whole).unwrap(), 0);
                    }
                }
            }
            Change::Shrink { clusters } => {
                let clusters = (*clusters).min(self.top.len() as u64 / CLUSTER);
                let size = Sectors(clusters * 64);
                if self.accept(|disk| disk.shrink(size)).is_some() {
                    let bytes = usize::try_from(size.bytes()).unwrap();
                    self.top.truncate(bytes);
                }
            }
            Change::Compact => drop(self.accept(|disk| disk.compact().map(drop))),
            Change::Convert(version) => drop(self.accept(|disk| disk.convert(*version))),
            Change::Clone => self.clone_lower(),
        }
    }

    /// Compares both.
    pub fn compare(&mut self) {
        assert!(read_top(&self.disk) == self.top, "the disk");
        let glance = self.disk.glance().unwrap();
        assert_eq!(glance.size().bytes(), self.top.len() as u64);
        // Across clusters, and the end.
        let last = self.top.len() as u64 - 700;
        for at in [0, last.min(CLUSTER - 300), last] {
            let mut seen = [0xee; 700];
            glance.read(&mut seen, DiskOffset(at)).unwrap();
            assert!(seen == self.top[range(at, 700)], "a glance at {at}");
        }
        let past = glance.read(&mut [0; 2], DiskOffset(self.top.len() as u64 - 1));
        assert!(matches!(past, Err(Error::Range { .. })));
        let shots = self.disk.descriptor().shots().iter();
        let mut kept: Vec<_> = shots
            .filter(|shot| shot.temporary.is_none() && shot.guid != Guid::TOP)
            .map(|shot| shot.guid)
            .collect();
        kept.sort();
        assert!(kept.iter().eq(self.snapshots.keys()), "the snapshots");
        for (guid, data) in &self.snapshots {
            assert!(read(&self.disk, *guid) == *data, "snapshot {guid}");
        }
        for (name, content) in &self.clones {
            assert!(
                self.disk.folder().bytes(name) == *content,
                "{name} was changed"
            );
        }
        if self.clones.is_empty() {
            assert_clean(&mut self.disk);
        }
        let report = self.disk.check(None).unwrap();
        assert!(report.is_clean(), "{report:?}");
    }

    /// Does something that may be refused, which then changes nothing.
    fn accept<T>(&mut self, work: impl FnOnce(&mut MemDisk) -> Result<T, Error>) -> Option<T> {
        match work(&mut self.disk) {
            Ok(done) => Some(done),
            Err(
                Error::Refused(_) | Error::Shared { .. } | Error::Resize { .. } | Error::Size(_),
            ) => None,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn open(&mut self, accesses: &[Access]) {
        let mut chain = match self.disk.write() {
            Err(Error::Shared { .. }) => return,
            other => other.unwrap(),
        };
        let size = self.top.len() as u64;
        for access in accesses {
            let within = |at: u64, bytes: u64| {
                let at = at % size;
                (at, bytes.min(size - at))
            };
            match access {
                Access::Write { at, bytes, byte } => {
                    let (at, bytes) = within(*at, *bytes);
                    let place = range(at, bytes);
                    self.top[place.clone()].fill(*byte);
                    let (data, at) = (&self.top[place], DiskOffset(at));
                    // Half of them in place where that can be.
                    let is_done = byte % 2 == 0 && chain.write_in_place(data, at).unwrap();
                    if !is_done {
                        chain.write(data, at).unwrap();
                    }
                }
                Access::Zero { at, bytes } => {
                    let (at, bytes) = within(*at, *bytes);
                    self.top[range(at, bytes)].fill(0);
                    chain.write_zeroes(DiskOffset(at), bytes).unwrap();
                }
                Access::Discard { at, bytes } => {
                    let (at, bytes) = within(*at, *bytes);
                    chain.discard(DiskOffset(at), bytes).unwrap();
                    let mut now = vec![0; self.top.len()];
                    chain.read(&mut now, DiskOffset(0)).unwrap();
                    if chain.top().delta().is_some() {
                        assert_discarded(&self.top, &now, at, bytes);
                    } else {
                        self.top[range(at, bytes)].fill(0);
                        assert!(now == self.top, "a discard of a raw disk");
                    }
                    self.top = now;
                }
                Access::Flush => {
                    if !chain.flush_in_place().unwrap() {
                        chain.flush().unwrap();
                    }
                }
            }
        }
        chain.close().unwrap();
        // From the file, and not from what is in memory.
        self.disk = Disk::open(self.disk.folder().clone()).unwrap();
    }

    fn switch(&mut self, to: usize, keep: bool) {
        let Some(to) = self.pick(to) else { return };
        let keep = keep.then(|| self.name());
        if self.accept(|disk| disk.switch(to, keep)).is_some() {
            let old = std::mem::replace(&mut self.top, self.snapshots[&to].clone());
            if let Some(keep) = keep {
                self.snapshots.insert(keep, old);
            }
        }
    }

    fn delete(&mut self, shot: usize) {
        let guid = if shot == 0 {
            Guid::TOP
        } else {
            let Some(guid) = self.pick(shot) else { return };
            guid
        };
        let Some(deletion) = self.accept(|disk| disk.delete(guid)) else {
            return;
        };
        match guid {
            Guid::TOP => {
                // Not always the one beneath it before: that may have waited for its deletion.
                let descriptor = self.disk.descriptor();
                let mut known = self.snapshots.keys().copied();
                let below = known.find(|guid| descriptor.shot(*guid).is_none());
                self.top = self.snapshots.remove(&below.unwrap()).unwrap();
            }
            guid => drop(self.snapshots.remove(&guid)),
        }
        if deletion == Deletion::Waits {
            assert!(
                self.disk
                    .descriptor()
                    .shot(guid)
                    .unwrap()
                    .temporary
                    .is_some()
            );
        }
    }

    fn clone_lower(&mut self) {
        let descriptor = self.disk.descriptor();
        let mut chain = descriptor.chain(Guid::TOP);
        chain.pop();
        for guid in chain {
            let name = format!("clone{}", self.clones.len());
            let file = descriptor.file(guid).unwrap();
            self.disk.folder().link(file, &name);
            self.clones.push((name, self.disk.folder().bytes(file)));
        }
    }

    fn pick(&self, number: usize) -> Option<Guid> {
        let count = self.snapshots.len();
        let number = number.checked_rem(count)?;
        self.snapshots.keys().nth(number).copied()
    }

    fn name(&mut self) -> Guid {
        self.names += 1;
        crate::disk::guid(self.names)
    }
}

/// After a discard the whole clusters in it read as zeros or as they did, and all else as it did.
fn assert_discarded(before: &[u8], after: &[u8], at: u64, bytes: u64) {
    let size = usize::try_from(CLUSTER).unwrap();
    let clusters = before.chunks(size).zip(after.chunks(size)).zip(0..);
    for ((before, after), number) in clusters {
        let start = number * CLUSTER;
        let is_whole = at <= start && start + before.len() as u64 <= at + bytes;
        let is_zero = after.iter().all(|byte| *byte == 0);
        assert!(before == after || is_whole && is_zero, "cluster {number}");
    }
}

fn range(at: u64, bytes: u64) -> std::ops::Range<usize> {
    usize::try_from(at).unwrap()..usize::try_from(at + bytes).unwrap()
}

/// Mostly some bytes anywhere, sometimes whole clusters.
fn place() -> impl Strategy<Value = (u64, u64)> {
    prop_oneof![
        (0..MOST * CLUSTER, 1..2 * CLUSTER),
        (0..MOST, 1..5_u64).prop_map(|(at, count)| (at * CLUSTER, count * CLUSTER)),
    ]
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![
        4 => (place(), any::<u8>())
            .prop_map(|((at, bytes), byte)| Access::Write { at, bytes, byte }),
        1 => place().prop_map(|(at, bytes)| Access::Zero { at, bytes }),
        1 => place().prop_map(|(at, bytes)| Access::Discard { at, bytes }),
        1 => Just(Access::Flush),
    ]
}

/// Any change.
pub fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => prop::collection::vec(access(), 1..6).prop_map(Change::Open),
        3 => Just(Change::Snapshot),
        2 => (0..8_usize, any::<bool>()).prop_map(|(to, keep)| Change::Switch { to, keep }),
        3 => (0..8_usize).prop_map(|shot| Change::Delete { shot }),
        1 => (1..12_u64).prop_map(|clusters| Change::Grow { clusters }),
        1 => (1..MOST).prop_map(|clusters| Change::Shrink { clusters }),
        1 => Just(Change::Compact),
        1 => prop_oneof![Just(Version::V1), Just(Version::V2)].prop_map(Change::Convert),
        1 => Just(Change::Clone),
    ]
}

/// What makes a tree of snapshots and takes it down.
fn change_of_tree() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => prop::collection::vec(access(), 1..3).prop_map(Change::Open),
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
        run(kind, &changes);
    }

    #[test]
    fn a_tree_of_snapshots_holds_what_was_taken(
        kind in kind(),
        changes in prop::collection::vec(change_of_tree(), 10..50),
    ) {
        run(kind, &changes);
    }
}

fn run(kind: Kind, changes: &[Change]) {
    let mut pair = Pair::new(kind);
    for change in changes {
        pair.change(change);
        pair.compare();
    }
}
