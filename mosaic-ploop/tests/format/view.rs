// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a disk holds, to be compared: its data, that of its snapshots, its size.

use std::collections::{BTreeMap, BTreeSet};

use mosaic_ploop::format::chain::Chain;
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::layer::Layer;
use mosaic_ploop::format::storage::is_zero;
use mosaic_ploop::format::units::DiskOffset;

use crate::disk::MemDisk;
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

impl Data {
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
