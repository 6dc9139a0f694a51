// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a disk holds, to be compared: its data, that of its snapshots, its size.

use std::collections::{BTreeMap, BTreeSet};

use mosaic_ploop::format::chain::Chain;
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::layer::Layer;
use mosaic_ploop::format::storage::is_zero;
use mosaic_ploop::format::units::DiskOffset;

use crate::disk::{CLUSTER, MemDisk};
use crate::storage::MemFile;

/// The data of a shot: its clusters that are not all zeros.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Data {
    pub bytes: u64,
    pub clusters: BTreeMap<u32, Vec<u8>>,
}

/// What a disk holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    pub top: Data,
    pub snapshots: BTreeMap<Guid, Data>,
}

impl View {
    /// Of all shots that are not waiting for their deletion.
    pub fn of(disk: &MemDisk) -> Self {
        let top = disk.descriptor().top();
        let shots = disk.descriptor().shots().iter();
        let kept = shots.filter(|shot| shot.guid != top && shot.temporary.is_none());
        Self {
            top: data(&disk.read(top).unwrap()),
            snapshots: kept
                .map(|shot| (shot.guid, data(&disk.read(shot.guid).unwrap())))
                .collect(),
        }
    }

    /// Asserts that this is what was before or what is after an operation; of the snapshots, each
    /// for itself.
    pub fn assert_between(&self, before: &Self, after: &Self, when: &str) {
        assert!(
            self.top == before.top || self.top == after.top,
            "{when}: the disk is neither the old nor the new one: {}",
            self.top.difference(&before.top)
        );
        for (guid, data) in &self.snapshots {
            let known = [before, after].map(|view| view.snapshots.get(guid));
            assert!(
                known.contains(&Some(data)),
                "{when}: snapshot {guid} is another one"
            );
        }
        for guid in before.snapshots.keys() {
            let is_kept = after.snapshots.contains_key(guid);
            let is_there = self.snapshots.contains_key(guid);
            assert!(!is_kept || is_there, "{when}: snapshot {guid} is gone");
        }
    }
}

/// Clusters of a disk of which each is read, whether the chain knows of it or not.
const FEW: u64 = 64;

/// A plain disk of the smallest clusters.
impl Data {
    /// What a chain has, seen without trust in what it knows of itself: where the disk is too large to
    /// be read as a whole, at least where `other` has something.
    pub fn seen(chain: &Chain<MemFile>, other: &Self) -> Self {
        let seen = data(chain);
        let all = seen.bytes / CLUSTER;
        let few = (0..u32::try_from(all.min(FEW)).unwrap()).filter(|_| all <= FEW);
        for number in few.chain(other.clusters.keys().copied()) {
            let at = u64::from(number) * CLUSTER;
            if at < seen.bytes && !seen.clusters.contains_key(&number) {
                let mut bytes = vec![0xee; usize::try_from(CLUSTER).unwrap()];
                chain.read(&mut bytes, DiskOffset(at)).unwrap();
                assert!(is_zero(&bytes), "cluster {number} is not known");
            }
        }
        seen
    }

    pub fn fill(&mut self, at: u64, bytes: u64, byte: u8) {
        let mut from = at;
        while from < at + bytes {
            let number = u32::try_from(from / CLUSTER).unwrap();
            let start = usize::try_from(from % CLUSTER).unwrap();
            let count = (CLUSTER - from % CLUSTER).min(at + bytes - from);
            let zeros = || vec![0; usize::try_from(CLUSTER).unwrap()];
            let cluster = self.clusters.entry(number).or_insert_with(zeros);
            cluster[start..][..usize::try_from(count).unwrap()].fill(byte);
            if is_zero(cluster) {
                self.clusters.remove(&number);
            }
            from += count;
        }
    }

    pub fn resize(&mut self, bytes: u64) {
        self.bytes = bytes;
        let end = u32::try_from(bytes / CLUSTER).unwrap();
        self.clusters.retain(|number, _| *number < end);
    }

    pub fn read(&self, at: u64, bytes: u64) -> Vec<u8> {
        let first = u32::try_from(at / CLUSTER).unwrap();
        let end = (at + bytes).div_ceil(CLUSTER);
        let mut read = vec![0; usize::try_from((end - u64::from(first)) * CLUSTER).unwrap()];
        for (number, data) in self.clusters.range(first..u32::try_from(end).unwrap()) {
            let start = usize::try_from(u64::from(number - first) * CLUSTER).unwrap();
            read[start..start + data.len()].copy_from_slice(data);
        }
        read.drain(..usize::try_from(at % CLUSTER).unwrap());
        read.truncate(usize::try_from(bytes).unwrap());
        read
    }

    /// All of it.
    pub fn whole(&self) -> Vec<u8> {
        self.read(0, self.bytes)
    }

    /// In which clusters two differ, for a message.
    fn difference(&self, other: &Self) -> String {
        let numbers = self.clusters.keys().chain(other.clusters.keys());
        let differing: Vec<_> = numbers
            .filter(|number| self.clusters.get(number) != other.clusters.get(number))
            .collect();
        format!(
            "{} bytes instead of {}, clusters {differing:?} differ",
            self.bytes, other.bytes
        )
    }
}

/// The data of a chain.
pub fn data(chain: &Chain<MemFile>) -> Data {
    let size = chain.cluster();
    let bytes = chain.size().bytes();
    let mut clusters = BTreeMap::new();
    let known: BTreeSet<_> = chain.layers().flat_map(Layer::clusters).collect();
    for cluster in known {
        let start = size.start_on_disk(cluster);
        let there = (bytes - start.0).min(size.bytes());
        let mut data = vec![0xee; usize::try_from(there).unwrap()];
        chain.read(&mut data, DiskOffset(start.0)).unwrap();
        if !is_zero(&data) {
            clusters.insert(cluster.0, data);
        }
    }
    Data { bytes, clusters }
}
