// SPDX-License-Identifier: MIT OR Apache-2.0
//! One of a chain's files: an image, an image open for writing, or a raw base.

use super::delta::Delta;
use super::error::{Error, Result};
use super::header::Version;
use super::raw_image::RawImage;
use super::storage::ImageFile;
use super::units::{ClusterSize, FileOffset, Sectors, VirtualCluster};
use super::writer::Writer;

/// A file of a chain.
#[derive(Debug)]
pub enum Layer<F> {
    /// An image open for reading.
    Delta(Delta<F>),
    /// An image open for writing; only the top is.
    Writer(Box<Writer<F>>),
    /// A file without a header; only the base is.
    Raw(RawImage<F>),
}

/// Where a layer has a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First byte of the cluster in the file.
    pub at: FileOffset,
    /// Bytes that are there; the rest of the cluster is zeros.
    pub bytes: u64,
}

impl<F: ImageFile> Layer<F> {
    /// The name for messages.
    pub fn name(&self) -> &str {
        match self {
            Self::Delta(delta) => delta.name(),
            Self::Writer(writer) => writer.delta().name(),
            Self::Raw(raw) => raw.name(),
        }
    }

    /// The file.
    pub fn file(&self) -> &F {
        match self {
            Self::Delta(delta) => delta.file(),
            Self::Writer(writer) => writer.delta().file(),
            Self::Raw(raw) => raw.file(),
        }
    }

    /// Its image; `None` for a raw base.
    pub fn delta(&self) -> Option<&Delta<F>> {
        match self {
            Self::Delta(delta) => Some(delta),
            Self::Writer(writer) => Some(writer.delta()),
            Self::Raw(_) => None,
        }
    }

    /// Size of a cluster of the disk.
    pub fn cluster(&self) -> ClusterSize {
        match self {
            Self::Raw(raw) => raw.cluster(),
            Self::Delta(delta) => delta.header().cluster,
            Self::Writer(writer) => writer.header().cluster,
        }
    }

    /// The disk's size as this layer has it.
    pub fn size(&self) -> Sectors {
        match self {
            Self::Raw(raw) => raw.size(),
            Self::Delta(delta) => delta.header().size,
            Self::Writer(writer) => writer.header().size,
        }
    }

    /// The version of its BAT; a raw base has none.
    pub fn version(&self) -> Option<Version> {
        self.delta().map(|delta| delta.header().version)
    }

    /// Where the layer has a cluster of the disk; `None` if it has not.
    ///
    /// # Errors
    /// `Entry`.
    pub fn locate(&self, cluster: VirtualCluster) -> Result<Option<Place>> {
        let delta = match self {
            Self::Raw(raw) => {
                return Ok(raw.locate(cluster).map(|(at, bytes)| Place { at, bytes }));
            }
            Self::Delta(delta) => delta,
            Self::Writer(writer) => writer.delta(),
        };
        let bytes = delta.header().cluster.bytes();
        Ok(delta.locate(cluster)?.map(|at| Place { at, bytes }))
    }

    /// The clusters of its disk that the layer may have, ascending: all that it has are among them.
    pub fn clusters(&self) -> Box<dyn Iterator<Item = VirtualCluster> + '_> {
        let count = self.cluster().holding(self.size());
        let is_on_disk = move |cluster: &VirtualCluster| u64::from(cluster.0) < count;
        match self.delta() {
            Some(delta) => Box::new(delta.allocated().take_while(is_on_disk)),
            None => Box::new((0..=u32::MAX).map(VirtualCluster).take_while(is_on_disk)),
        }
    }

    /// Reads a part of a cluster that the layer has at `place`, from `within` on.
    ///
    /// # Errors
    /// `Io`.
    pub fn read(&self, place: Place, within: u64, buffer: &mut [u8]) -> Result<()> {
        let there = place.bytes.saturating_sub(within);
        let there = usize::try_from(there).map_or(buffer.len(), |n| n.min(buffer.len()));
        let (data, zeros) = buffer.split_at_mut(there);
        zeros.fill(0);
        if data.is_empty() {
            return Ok(());
        }
        let read = self.file().read_at(data, place.at.plus(within));
        read.map_err(|e| Error::io("read", self.name(), e))
    }

    /// Whether this can lie upon `lower`.
    ///
    /// # Errors
    /// `Mismatch`.
    pub fn fits_on(&self, lower: &Self) -> Result<()> {
        let mismatch = |what| {
            Err(Error::Mismatch {
                file: self.name().to_owned(),
                what,
            })
        };
        if self.delta().is_none() {
            return mismatch("it has no header");
        }
        if self.cluster() != lower.cluster() {
            return mismatch("another cluster size");
        }
        if lower.version().is_some() && self.version() != lower.version() {
            return mismatch("another version");
        }
        if self.size() < lower.size() {
            return mismatch("a smaller disk");
        }
        Ok(())
    }
}
