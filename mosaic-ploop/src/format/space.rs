// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which clusters of an image are taken, and which one a new cluster of the disk gets.
//!
//! The lowest free one, as libploop and the kernel's newer driver have it: so the file grows only
//! when it has no hole. What was given up is free only once the BAT without it is durable.

use super::cluster_set::ClusterSet;
use super::units::FileCluster;

/// The clusters of one image.
#[derive(Debug, Clone)]
pub struct Space {
    taken: ClusterSet,
    /// Given up in the BAT in memory, not yet in the file.
    given_up: Vec<FileCluster>,
    /// No cluster below is free.
    lowest: FileCluster,
    /// Header and BAT end here.
    table: FileCluster,
}

impl Space {
    /// All clusters are free, but those of header and BAT.
    pub fn new(table: u32) -> Self {
        Self {
            taken: ClusterSet::default(),
            given_up: Vec::new(),
            lowest: FileCluster(table),
            table: FileCluster(table),
        }
    }

    /// Marks a cluster as taken; `false` if it was.
    pub fn take(&mut self, cluster: FileCluster) -> bool {
        self.taken.insert(cluster)
    }

    /// Takes the lowest free cluster below `end`.
    pub fn take_lowest(&mut self, end: u64) -> Option<FileCluster> {
        let found = self.taken.first_absent(self.lowest)?;
        if u64::from(found.0) >= end {
            return None;
        }
        self.taken.insert(found);
        self.lowest = found;
        Some(found)
    }

    /// Makes a cluster free at once: no durable entry points to it.
    pub fn free(&mut self, cluster: FileCluster) {
        if self.taken.remove(cluster) {
            self.lowest = self.lowest.min(cluster).max(self.table);
        }
    }

    /// Notes that a cluster is free once the BAT is durable.
    pub fn give_up(&mut self, cluster: FileCluster) {
        self.given_up.push(cluster);
    }

    /// Frees what was given up, for the BAT is durable now, and tells what that was.
    pub fn settle(&mut self) -> Vec<FileCluster> {
        let freed = std::mem::take(&mut self.given_up);
        for cluster in &freed {
            self.free(*cluster);
        }
        freed
    }

    /// Whether clusters wait for the BAT to be durable.
    pub fn has_given_up(&self) -> bool {
        !self.given_up.is_empty()
    }

    /// Header and BAT are to take more clusters: none of those is handed out any more.
    pub fn reserve(&mut self, table: u32) {
        self.table = self.table.max(FileCluster(table));
        self.lowest = self.lowest.max(self.table);
    }

    /// Header and BAT take no more clusters than that after all.
    pub fn give_back(&mut self, table: u32) {
        self.table = FileCluster(table);
        self.lowest = self.lowest.min(self.table);
    }

    /// Where the file may end, in clusters: nothing is taken from there on.
    pub fn end(&self) -> u64 {
        self.taken.end().max(self.table.0.into())
    }

    /// Clusters that are taken.
    pub fn taken(&self) -> u64 {
        self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_cluster_is_taken() {
        let mut space = Space::new(2);
        space.take(FileCluster(3));
        let mut next = || space.take_lowest(6).map(|cluster| cluster.0);
        assert_eq!([next(), next(), next()], [Some(2), Some(4), Some(5)]);
        assert_eq!(next(), None);
        assert_eq!((space.taken(), space.end()), (4, 6));
        assert_eq!(Space::new(7).end(), 7);
    }

    #[test]
    fn what_is_given_up_is_free_only_when_that_is_durable() {
        let mut space = Space::new(1);
        assert_eq!(space.take_lowest(9), Some(FileCluster(1)));
        space.give_up(FileCluster(1));
        assert!(space.has_given_up());
        assert_eq!(space.take_lowest(9), Some(FileCluster(2)));
        assert_eq!(space.settle(), [FileCluster(1)]);
        assert_eq!(space.take_lowest(9), Some(FileCluster(1)));
        assert_eq!(space.take_lowest(9), Some(FileCluster(3)));
    }

    #[test]
    fn what_the_table_takes_is_not_handed_out_again() {
        let mut space = Space::new(1);
        space.take(FileCluster(1));
        space.reserve(3);
        space.free(FileCluster(1));
        assert_eq!(space.take_lowest(9), Some(FileCluster(3)));
        space.give_back(1);
        assert_eq!(space.take_lowest(9), Some(FileCluster(1)));
        assert_eq!(space.take_lowest(9), Some(FileCluster(2)));
        assert_eq!(space.take_lowest(9), Some(FileCluster(4)));
    }
}
