// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations against a plain disk in memory.

pub mod sequences;

use std::collections::BTreeMap;

use mosaic_ploop::format::Error;
use mosaic_ploop::format::disk::{Deletion, Disk, Kind};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::header::Version;
use mosaic_ploop::format::units::{ClusterSize, DiskOffset, Sectors};

use crate::disk::{CLUSTER, MemDisk, assert_clean, new, unclaimed};
use crate::storage::MemFolder;
use crate::view::Data;

/// Something done to the open disk.
#[derive(Debug, Clone)]
pub enum Access {
    Write { at: u64, bytes: u64, byte: u8 },
    Zero { at: u64, bytes: u64 },
    Discard { at: u64, bytes: u64 },
    Flush,
    Snapshot,
    Grow { clusters: u64 },
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
    /// A disk that goes on from this one in another folder.
    Branch,
}

/// A disk, and what it should hold.
pub struct Pair {
    pub disk: MemDisk,
    pub top: Data,
    pub snapshots: BTreeMap<Guid, Data>,
    /// What clones share: name and content.
    clones: Vec<(String, Vec<u8>)>,
    names: u8,
    /// Clusters that the disk has at most.
    most: u64,
}

impl Pair {
    /// A new disk of so many clusters, which never has more than `most`.
    pub fn new(kind: Kind, clusters: u64, most: u64) -> Self {
        let disk = new(kind, ClusterSize::MIN, clusters * CLUSTER);
        let mut top = Data::default();
        top.resize(clusters * CLUSTER);
        Self {
            disk,
            top,
            snapshots: BTreeMap::new(),
            clones: Vec::new(),
            names: 0,
            most,
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
                if let Some(size) = self.larger(*clusters)
                    && self.accept(|disk| disk.grow(size)).is_some()
                {
                    self.top.resize(size.bytes().next_multiple_of(CLUSTER));
                }
            }
            Change::Shrink { clusters } => {
                let clusters = (*clusters).min(self.top.bytes / CLUSTER);
                let size = Sectors(clusters * 64);
                if self.accept(|disk| disk.shrink(size)).is_some() {
                    self.top.resize(size.bytes());
                }
            }
            Change::Compact => drop(self.accept(|disk| disk.compact().map(drop))),
            Change::Convert(version) => drop(self.accept(|disk| disk.convert(*version))),
            Change::Clone => self.clone_lower(),
            Change::Branch => self.branch(),
        }
    }

    /// Compares both.
    pub fn compare(&mut self) {
        let chain = self.disk.read(self.disk.descriptor().top()).unwrap();
        assert!(Data::seen(&chain, &self.top) == self.top, "the disk");
        let glance = self.disk.glance().unwrap();
        assert_eq!(glance.size().bytes(), self.top.bytes);
        // Across clusters, and the end.
        let last = self.top.bytes - 700;
        let known = self.top.clusters.keys();
        let starts = known.map(|number| u64::from(*number) * CLUSTER);
        let starts = starts.chain([CLUSTER]).map(|at| at.saturating_sub(300));
        for at in starts.chain([0, last]).map(|at| at.min(last)) {
            let mut seen = [0xee; 700];
            glance.read(&mut seen, DiskOffset(at)).unwrap();
            assert!(seen[..] == self.top.read(at, 700), "a glance at {at}");
        }
        let past = glance.read(&mut [0; 2], DiskOffset(self.top.bytes - 1));
        assert!(matches!(past, Err(Error::Range { .. })));
        let shots = self.disk.descriptor().shots().iter();
        let mut kept: Vec<_> = shots
            .filter(|shot| shot.temporary.is_none() && shot.guid != Guid::TOP)
            .map(|shot| shot.guid)
            .collect();
        kept.sort();
        assert!(kept.iter().eq(self.snapshots.keys()), "the snapshots");
        for (guid, data) in &self.snapshots {
            let chain = self.disk.read(*guid).unwrap();
            assert!(Data::seen(&chain, data) == *data, "snapshot {guid}");
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
        for access in accesses {
            let size = self.top.bytes;
            // The upper half of the numbers counts from the end.
            let within = |at: u64, bytes: u64| {
                let at = match at.cast_signed() {
                    0.. => at % size,
                    _ => size - 1 - !at % size,
                };
                (at, bytes.min(size - at))
            };
            match access {
                Access::Write { at, bytes, byte } => {
                    let (at, bytes) = within(*at, *bytes);
                    self.top.fill(at, bytes, *byte);
                    let (data, at) = (&self.top.read(at, bytes), DiskOffset(at));
                    // Half of them in place where that can be.
                    let is_done = byte % 2 == 0 && chain.write_in_place(data, at).unwrap();
                    if !is_done {
                        chain.write(data, at).unwrap();
                    }
                }
                Access::Zero { at, bytes } => {
                    let (at, bytes) = within(*at, *bytes);
                    self.top.fill(at, bytes, 0);
                    chain.write_zeroes(DiskOffset(at), bytes).unwrap();
                }
                Access::Discard { at, bytes } => {
                    let (at, bytes) = within(*at, *bytes);
                    chain.discard(DiskOffset(at), bytes).unwrap();
                    let now = Data::seen(&chain, &self.top);
                    if chain.top().delta().is_some() {
                        assert_discarded(&self.top, &now, at, bytes);
                    } else {
                        self.top.fill(at, bytes, 0);
                        assert!(now == self.top, "a discard of a raw disk");
                    }
                    self.top = now;
                }
                Access::Snapshot => {
                    let name = self.name();
                    let done = self.disk.snapshot_open(name, &mut chain, unclaimed);
                    match done {
                        Err(Error::Refused(_)) => {}
                        done => {
                            done.unwrap();
                            self.snapshots.insert(name, self.top.clone());
                        }
                    }
                }
                Access::Grow { clusters } => {
                    if let Some(size) = self.larger(*clusters) {
                        self.disk.grow_open(size, &mut chain).unwrap();
                        self.top.resize(size.bytes().next_multiple_of(CLUSTER));
                    }
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

    /// A disk in another folder that has what this one has, and is changed alone.
    fn branch(&mut self) {
        let name = self.name();
        let Some(shot) = self.accept(|disk| disk.freeze(name)) else {
            return;
        };
        if shot == name {
            self.snapshots.insert(name, self.top.clone());
        }
        assert!(self.snapshots[&shot] == self.top, "what is frozen");
        let branch = self.disk.branch(shot).unwrap();
        let folder = MemFolder::default();
        for (here, there) in &branch.files {
            folder.put(there, &self.disk.folder().bytes(here));
        }
        let mut other = branch.create(folder).unwrap();
        let chain = other.read(Guid::TOP).unwrap();
        assert!(Data::seen(&chain, &self.top) == self.top, "the other disk");
        assert_clean(&mut other);
    }

    /// A size that is larger by so many clusters, but for a sector; `None`: too large.
    fn larger(&self, clusters: u64) -> Option<Sectors> {
        let size = self.top.bytes + clusters * CLUSTER;
        (size <= self.most * CLUSTER).then_some(Sectors(size / 512 - 1))
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
fn assert_discarded(before: &Data, after: &Data, at: u64, bytes: u64) {
    assert_eq!(before.bytes, after.bytes);
    for number in before.clusters.keys().chain(after.clusters.keys()) {
        let start = u64::from(*number) * CLUSTER;
        let is_whole = at <= start && start + CLUSTER <= at + bytes;
        let [before, after] = [before, after].map(|data| data.clusters.get(number));
        assert!(
            before == after || is_whole && after.is_none(),
            "cluster {number}"
        );
    }
}
