// SPDX-License-Identifier: MIT OR Apache-2.0
//! Positions and sizes, a type each, so that a number of one kind cannot be used as another.
//!
//! No product of these overflows: a cluster is below 2^31 bytes ([`ClusterSize`]) and there are at
//! most 2^32 of them in a disk and in a file.

use std::fmt;

pub use mosaic_core::size::SECTOR;

/// Sectors of 512 bytes: a size, or a position counted in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sectors(pub u64);

impl Sectors {
    /// As bytes; the most there is if that does not fit.
    pub fn bytes(self) -> u64 {
        self.0.saturating_mul(SECTOR)
    }

    /// The sectors that hold that many bytes.
    pub fn holding(bytes: u64) -> Self {
        Self(bytes.div_ceil(SECTOR))
    }
}

impl fmt::Display for Sectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sectors", self.0)
    }
}

/// A cluster of the disk: also the number of the BAT entry that says where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualCluster(pub u32);

/// A cluster of a file, counted from the file's start, header and BAT included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileCluster(pub u32);

/// A cluster that is known by its number.
pub trait Numbered {
    /// The one of that number.
    fn numbered(number: u32) -> Self;

    /// Its number.
    fn number(&self) -> u32;
}

impl Numbered for VirtualCluster {
    fn numbered(number: u32) -> Self {
        Self(number)
    }

    fn number(&self) -> u32 {
        self.0
    }
}

impl Numbered for FileCluster {
    fn numbered(number: u32) -> Self {
        Self(number)
    }

    fn number(&self) -> u32 {
        self.0
    }
}

/// A byte of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskOffset(pub u64);

/// A byte of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileOffset(pub u64);

impl FileOffset {
    /// That many bytes further on; the last byte there is if that is further than a file goes.
    #[must_use]
    pub fn plus(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }
}

/// Sectors in a cluster.
///
/// Valid are the powers of two from 64 to 131072 (32 KiB to 64 MiB); QEMU also makes and reads
/// others, which are read here and never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterSize(u32);

impl ClusterSize {
    /// 1 MiB, what every program takes where none is given.
    pub const DEFAULT: Self = Self(2048);
    /// The smallest that libploop takes.
    pub const MIN: Self = Self(64);
    /// The largest that libploop takes.
    pub const MAX: Self = Self(131_072);
    /// QEMU refuses more: `INT32_MAX / 513` (block/parallels.c, QEMU 7.2).
    const QEMU_MAX: u32 = 4_186_128;

    /// `None` unless it is valid.
    pub fn new(sectors: u32) -> Option<Self> {
        Some(Self(sectors)).filter(|size| size.is_valid())
    }

    /// Also those that only QEMU reads.
    pub fn readable(sectors: u32) -> Option<Self> {
        (1..=Self::QEMU_MAX)
            .contains(&sectors)
            .then_some(Self(sectors))
    }

    /// Whether it is one that may be written: not all that are read are.
    pub fn is_valid(self) -> bool {
        self.0.is_power_of_two() && (Self::MIN.0..=Self::MAX.0).contains(&self.0)
    }

    /// In sectors.
    pub fn sectors(self) -> u32 {
        self.0
    }

    /// In bytes, below 2^31.
    pub fn bytes(self) -> u64 {
        u64::from(self.0) * SECTOR
    }

    /// Clusters that hold that many sectors.
    pub fn holding(self, sectors: Sectors) -> u64 {
        sectors.0.div_ceil(u64::from(self.0))
    }

    /// The size rounded up to whole clusters; `None` if that does not fit.
    pub fn round_up(self, sectors: Sectors) -> Option<Sectors> {
        sectors
            .0
            .checked_next_multiple_of(u64::from(self.0))
            .map(Sectors)
    }

    /// The size of that many clusters.
    pub fn size_of(self, clusters: u32) -> Sectors {
        Sectors(u64::from(clusters) * u64::from(self.0))
    }

    /// Where a cluster of a file begins.
    pub fn start_in_file(self, cluster: FileCluster) -> FileOffset {
        FileOffset(u64::from(cluster.0) * self.bytes())
    }

    /// Where a cluster of the disk begins.
    pub fn start_on_disk(self, cluster: VirtualCluster) -> DiskOffset {
        DiskOffset(u64::from(cluster.0) * self.bytes())
    }

    /// The cluster that a byte of the disk is in, and the byte's place there; `None` beyond the
    /// largest disk.
    pub fn split(self, at: DiskOffset) -> Option<(VirtualCluster, u64)> {
        let cluster = u32::try_from(at.0 / self.bytes()).ok()?;
        Some((VirtualCluster(cluster), at.0 % self.bytes()))
    }
}

impl fmt::Display for ClusterSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sectors", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_cluster_sizes_are_powers_of_two_from_64_to_131072() {
        let valid: Vec<u32> = (0..=200_000)
            .filter(|n| ClusterSize::new(*n).is_some())
            .collect();
        let powers: Vec<u32> = (6..=17).map(|n| 1 << n).collect();
        assert_eq!(valid, powers);
        assert!(ClusterSize::readable(0).is_none());
        assert!(ClusterSize::readable(63).is_some_and(|size| !size.is_valid()));
        assert!(ClusterSize::readable(u32::MAX).is_none());
    }

    #[test]
    fn the_largest_products_fit() {
        let size = ClusterSize(ClusterSize::QEMU_MAX);
        let start = size.start_in_file(FileCluster(u32::MAX));
        assert!(start.0.checked_add(size.bytes()).is_some());
        assert_eq!(size.split(DiskOffset(u64::MAX)), None);
    }
}
