// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header of an image: [`RawHeader`] as it is stored, [`Header`] as it makes sense.
//!
//! What QEMU reads is read; what is written is what libploop takes too ([`Header::is_writable`]).

mod raw;
#[cfg(test)]
mod tests;

use super::geometry::Geometry;
use super::units::{ClusterSize, FileOffset, SECTOR, Sectors};

pub use raw::RawHeader;

/// Bytes of the header; the first BAT entry follows at once.
pub const HEADER_BYTES: u64 = 64;
/// Bytes of a BAT entry.
pub const ENTRY_BYTES: u64 = 4;

/// Which of the two layouts of BAT entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// Entries are positions in sectors; a disk is below 2 TiB.
    V1,
    /// Entries are numbers of clusters.
    V2,
}

impl Version {
    /// The largest disk of that version.
    pub fn max_size(self, cluster: ClusterSize) -> Sectors {
        match self {
            Self::V1 => Sectors(u64::from(u32::MAX)),
            Self::V2 => cluster.size_of(u32::MAX),
        }
    }
}

/// What the in-use field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// Closed by software that knows no format extension. Values that nobody gives are taken for
    /// this, as QEMU and libploop do.
    Closed,
    /// Open for writing, or the writer died.
    InUse,
    /// Closed, and the format extension is valid.
    ClosedWithExtension,
}

/// A header that is consistent in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The version of the BAT.
    pub version: Version,
    /// Informative.
    pub geometry: Geometry,
    /// Allocation unit of the file and of the disk.
    pub cluster: ClusterSize,
    /// Number of BAT entries; they cover at least [`Header::size`].
    pub entries: u32,
    /// Size of the disk.
    pub size: Sectors,
    /// Whether somebody writes to it.
    pub mark: Mark,
    /// Where the data begins, in sectors; 0: right after the BAT, which only QEMU reads.
    pub first_block: u32,
    /// All flags: the two that have names and those that nobody knows.
    pub flags: Flags,
    /// Where the format extension is, in sectors; 0: nowhere. Stale unless the mark vouches for it.
    pub extension: Sectors,
}

/// The flags field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// Set at creation, cleared when a cluster was allocated. Never trusted.
    pub const EMPTY: u32 = 1;
    /// A conversion between V1 and V2 did not end.
    pub const CONVERTING: u32 = 2;

    /// Whether that flag is set.
    pub fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    /// With a flag set or cleared.
    #[must_use]
    pub fn with(self, flag: u32, set: bool) -> Self {
        Self(if set { self.0 | flag } else { self.0 & !flag })
    }
}

/// What is wrong with a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// The file ends within the header.
    #[error("is too short for a ploop image")]
    Short,
    /// Neither of the two signatures.
    #[error("is no ploop image")]
    Signature,
    /// The image kind is always 2.
    #[error("has image type {0}, 2 is known")]
    Type(u32),
    /// Zero or beyond what anybody reads.
    #[error("has a cluster size of {0} sectors")]
    Cluster(u32),
    /// The BAT would reach into the data, or the data begins beyond any BAT.
    #[error("has {entries} BAT entries and data from sector {first_block} on")]
    FirstBlock {
        /// Number of entries.
        entries: u32,
        /// Where the data begins.
        first_block: u32,
    },
    /// The BAT covers less than the disk.
    #[error("has {entries} BAT entries of {cluster} for {size}")]
    Size {
        /// Number of entries.
        entries: u32,
        /// What each covers.
        cluster: ClusterSize,
        /// What is to be covered.
        size: Sectors,
    },
    /// The file ends within the BAT.
    #[error("ends at byte {length}, within its BAT; data begins at byte {data}")]
    Truncated {
        /// Length of the file.
        length: u64,
        /// Where the data begins.
        data: u64,
    },
}

/// Why no image of a size can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeFault {
    /// A disk has at least one sector.
    #[error("a disk cannot have 0 sectors")]
    Zero,
    /// More than the version can say.
    #[error("{size} is too large; {max} is the most with this version and cluster size")]
    TooLarge {
        /// What was asked for.
        size: Sectors,
        /// What is possible.
        max: Sectors,
    },
}

impl Header {
    /// The header of a new image; the size is rounded up to whole clusters, or down where the
    /// format ends.
    ///
    /// # Errors
    /// No disk can have the size.
    pub fn new(version: Version, cluster: ClusterSize, size: Sectors) -> Result<Self, SizeFault> {
        let mut header = Self {
            version,
            geometry: Geometry::of(size),
            cluster,
            entries: 0,
            size,
            mark: Mark::Closed,
            first_block: 0,
            flags: Flags(Flags::EMPTY),
            extension: Sectors(0),
        };
        header.resize(size)?;
        Ok(header)
    }

    /// Gives it another size, rounded as by [`Header::new`]. Where the data begins moves up where
    /// the BAT needs that, never down.
    ///
    /// # Errors
    /// No disk can have the size; the header is unchanged then.
    pub fn resize(&mut self, size: Sectors) -> Result<(), SizeFault> {
        let max = self.version.max_size(self.cluster);
        if size.0 == 0 {
            return Err(SizeFault::Zero);
        }
        let unit = u64::from(self.cluster.sectors());
        let size = match self.cluster.round_up(size) {
            _ if size > max => return Err(SizeFault::TooLarge { size, max }),
            Some(rounded) if rounded <= max => rounded,
            _ => Sectors(size.0 / unit * unit),
        };
        let too_large = SizeFault::TooLarge { size, max };
        let entries = u32::try_from(size.0 / unit).map_err(|_| too_large.clone())?;
        let first = table_bytes(entries).next_multiple_of(self.cluster.bytes()) / SECTOR;
        let first = u32::try_from(first).map_err(|_| too_large)?;
        self.entries = entries;
        self.size = size;
        self.geometry = Geometry::of(size);
        self.first_block = self.first_block.max(first);
        Ok(())
    }

    /// Where the data begins.
    pub fn data_start(&self) -> FileOffset {
        FileOffset(match self.first_block {
            0 => self.table_end().0.next_multiple_of(SECTOR),
            first => u64::from(first) * SECTOR,
        })
    }

    /// Where the BAT ends.
    pub fn table_end(&self) -> FileOffset {
        FileOffset(table_bytes(self.entries))
    }

    /// Clusters that header and BAT take; meaningful where the header is writable.
    pub fn table_clusters(&self) -> u32 {
        self.first_block / self.cluster.sectors()
    }

    /// Whether libploop would take it. Only such images are written.
    pub fn is_writable(&self) -> bool {
        self.cluster.is_valid()
            && self.first_block != 0
            && self.first_block.is_multiple_of(self.cluster.sectors())
    }

    /// Where the format extension is, if the mark vouches for it.
    pub fn valid_extension(&self) -> Option<FileOffset> {
        let valid = self.mark == Mark::ClosedWithExtension && self.extension.0 != 0;
        valid.then(|| FileOffset(self.extension.bytes()))
    }

    /// Checks it against the length of its file.
    ///
    /// # Errors
    /// The file ends before the data begins.
    pub fn check_length(&self, length: u64) -> Result<(), HeaderFault> {
        let data = self.data_start().0;
        if length < data {
            return Err(HeaderFault::Truncated { length, data });
        }
        Ok(())
    }

    fn check_table(&self) -> Result<(), HeaderFault> {
        let entries = self.entries;
        // No BAT is longer, so nobody has to look for stray entries in terabytes of zeros.
        let longest = table_bytes(u32::MAX).next_multiple_of(self.cluster.bytes());
        let data = self.data_start().0;
        if data < self.table_end().0 || data > longest {
            return Err(HeaderFault::FirstBlock {
                entries,
                first_block: self.first_block,
            });
        }
        if self.cluster.size_of(entries) < self.size {
            return Err(HeaderFault::Size {
                entries,
                cluster: self.cluster,
                size: self.size,
            });
        }
        Ok(())
    }
}

/// Bytes of a header and a BAT.
fn table_bytes(entries: u32) -> u64 {
    HEADER_BYTES + u64::from(entries) * ENTRY_BYTES
}

impl TryFrom<&RawHeader> for Header {
    type Error = HeaderFault;

    fn try_from(raw: &RawHeader) -> Result<Self, HeaderFault> {
        let version = raw.version().ok_or(HeaderFault::Signature)?;
        if raw.kind.get() != RawHeader::KIND {
            return Err(HeaderFault::Type(raw.kind.get()));
        }
        let sectors = raw.cluster.get();
        let cluster = ClusterSize::readable(sectors).ok_or(HeaderFault::Cluster(sectors))?;
        let size = match version {
            // The upper half is not the version's own; QEMU leaves it out as well.
            Version::V1 => raw.size.get() & u64::from(u32::MAX),
            Version::V2 => raw.size.get(),
        };
        let header = Self {
            version,
            geometry: Geometry {
                heads: raw.heads.get(),
                cylinders: raw.cylinders.get(),
            },
            cluster,
            entries: raw.entries.get(),
            size: Sectors(size),
            mark: raw.mark(),
            first_block: raw.first_block.get(),
            flags: Flags(raw.flags.get()),
            extension: Sectors(raw.extension.get()),
        };
        header.check_table()?;
        Ok(header)
    }
}
