// SPDX-License-Identifier: MIT OR Apache-2.0
//! A BAT entry: 32 bits that say where in the file a cluster of the disk is.

use super::header::{Header, Version};
use super::units::{FileCluster, FileOffset, SECTOR};

/// An entry as it is stored; 0: the cluster is not in this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Entry(pub u32);

impl Entry {
    /// Not allocated.
    pub const NONE: Self = Self(0);
}

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EntryFault {
    /// A V1 entry that is no multiple of the cluster size.
    #[error("points to sector {0}, where no cluster begins")]
    Misaligned(u32),
    /// It points into header and BAT.
    #[error("points to byte {at}, data begins at byte {data}")]
    BelowData {
        /// Where it points to.
        at: u64,
        /// Where the data begins.
        data: u64,
    },
    /// The cluster is not wholly inside of the file.
    #[error("points to byte {at}, the file ends at byte {length}")]
    PastEnd {
        /// Where it points to.
        at: u64,
        /// Length of the file.
        length: u64,
    },
    /// Two entries, or an entry and the format extension, have the same cluster.
    #[error("points to file cluster {}, which is in use already", .0.0)]
    Duplicate(FileCluster),
}

impl Header {
    /// Where an entry points to, in a file of `length` bytes; `None`: nowhere.
    ///
    /// # Errors
    /// Nothing of this image can be there.
    pub fn place(&self, entry: Entry, length: u64) -> Result<Option<FileOffset>, EntryFault> {
        if entry == Entry::NONE {
            return Ok(None);
        }
        let cluster = self.cluster;
        let at = match self.version {
            Version::V1 => FileOffset(u64::from(entry.0) * SECTOR),
            Version::V2 => cluster.start_in_file(FileCluster(entry.0)),
        };
        let data = self.data_start().0;
        if self.is_writable() && !at.0.is_multiple_of(cluster.bytes()) {
            return Err(EntryFault::Misaligned(entry.0));
        }
        if at.0 < data {
            return Err(EntryFault::BelowData { at: at.0, data });
        }
        if at.plus(cluster.bytes()).0 > length {
            return Err(EntryFault::PastEnd { at: at.0, length });
        }
        Ok(Some(at))
    }

    /// The file cluster that an entry points to, in a writable image.
    ///
    /// # Errors
    /// As [`Header::place`].
    pub fn file_cluster(
        &self,
        entry: Entry,
        length: u64,
    ) -> Result<Option<FileCluster>, EntryFault> {
        let Some(at) = self.place(entry, length)? else {
            return Ok(None);
        };
        // V1 entries are below 2^32 sectors, V2 entries are such numbers themselves.
        let number = u32::try_from(at.0 / self.cluster.bytes());
        Ok(number.ok().map(FileCluster))
    }

    /// The entry that points to a file cluster; `None` if the version has no number for it.
    pub fn entry_for(&self, cluster: FileCluster) -> Option<Entry> {
        match self.version {
            Version::V1 => cluster.0.checked_mul(self.cluster.sectors()).map(Entry),
            Version::V2 => Some(Entry(cluster.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::units::{ClusterSize, Sectors};
    use super::*;

    const CLUSTER: u64 = 64 * 512;

    fn header(version: Version) -> Header {
        Header::new(version, ClusterSize::MIN, Sectors(6400)).unwrap()
    }

    #[test]
    fn v1_entries_are_sectors_and_v2_entries_are_clusters() {
        for (version, entry) in [(Version::V1, Entry(3 * 64)), (Version::V2, Entry(3))] {
            let header = header(version);
            let at = header.place(entry, 4 * CLUSTER).unwrap();
            assert_eq!(at, Some(FileOffset(3 * CLUSTER)));
            assert_eq!(header.entry_for(FileCluster(3)), Some(entry));
            let cluster = header.file_cluster(entry, 4 * CLUSTER).unwrap();
            assert_eq!(cluster, Some(FileCluster(3)));
            assert_eq!(header.place(Entry::NONE, 0), Ok(None));
        }
        assert_eq!(header(Version::V1).entry_for(FileCluster(1 << 26)), None);
    }

    #[test]
    fn entries_that_point_nowhere_are_refused() {
        let misaligned = header(Version::V1).place(Entry(65), 9 * CLUSTER);
        assert_eq!(misaligned, Err(EntryFault::Misaligned(65)));
        let v2 = header(Version::V2);
        let mut wide = v2.clone();
        wide.first_block = 256;
        let fault = wide.place(Entry(3), 9 * CLUSTER);
        assert!(matches!(fault, Err(EntryFault::BelowData { .. })));
        for entry in [9, u32::MAX] {
            let fault = v2.place(Entry(entry), 9 * CLUSTER);
            assert!(matches!(fault, Err(EntryFault::PastEnd { .. })));
        }
        // The file ends within the cluster.
        assert!(v2.place(Entry(8), 9 * CLUSTER - 1).is_err());
    }

    #[test]
    fn clusters_of_qemu_lie_where_they_like() {
        let mut odd = header(Version::V1);
        odd.first_block = 0;
        let at = odd.place(Entry(2), 2 * CLUSTER).unwrap();
        assert_eq!(at, Some(FileOffset(1024)));
    }
}
