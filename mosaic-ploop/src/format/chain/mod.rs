// SPDX-License-Identifier: MIT OR Apache-2.0
//! A chain of deltas seen as one disk.
//!
//! The topmost delta that has a cluster supplies all of it; only the top is written. Reading takes
//! the chain shared, so that many can read at once; changing takes it alone.

mod lower;
mod online;
mod write;

use super::error::{Error, Result};
use super::layer::{Layer, Place};
use super::ledger::Ledger;
use super::pages::Pages;
use super::storage::ImageFile;
use super::units::{ClusterSize, DiskOffset, FileOffset, Sectors, VirtualCluster};

pub use lower::Lower;
pub use online::NextTop;

/// Bytes that are copied at once where a cluster is copied.
const SCRATCH: usize = 1 << 20;

/// The deltas of a disk, from the base to the top.
#[derive(Debug)]
pub struct Chain<F> {
    lower: Lower<F>,
    top: Layer<F>,
    scratch: Pages,
    /// Where the changes of the next top are noted; a raw base has nothing to note.
    ledger: Option<Ledger<F>>,
}

/// A range of the disk that comes from one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// How long it is in bytes.
    pub bytes: u64,
    /// Which layer has it, counted from the base, and where; `None`: it is zeros.
    pub source: Option<(usize, FileOffset)>,
}

impl<F: ImageFile> Chain<F> {
    /// Puts layers upon each other: `lower` from the base up, then `top`.
    ///
    /// # Errors
    /// `Mismatch`.
    pub fn new(lower: Vec<Layer<F>>, top: Layer<F>) -> Result<Self> {
        let upper = lower.iter().skip(1).chain([&top]);
        for (upper, lower) in upper.zip(&lower) {
            upper.fits_on(lower)?;
        }
        let bytes = usize::try_from(top.cluster().bytes()).unwrap_or(SCRATCH);
        Ok(Self {
            lower: Lower::new(lower),
            top,
            scratch: Pages::new(bytes.min(SCRATCH)),
            ledger: None,
        })
    }

    /// Size of the disk, as the top has it.
    pub fn size(&self) -> Sectors {
        self.top.size()
    }

    /// Size of its clusters.
    pub fn cluster(&self) -> ClusterSize {
        self.top.cluster()
    }

    /// The layer that is written.
    pub fn top(&self) -> &Layer<F> {
        &self.top
    }

    /// The top alone, for what is done to a delta as a whole.
    pub fn top_mut(&mut self) -> &mut Layer<F> {
        &mut self.top
    }

    /// All layers, from the base up.
    pub fn layers(&self) -> impl DoubleEndedIterator<Item = &Layer<F>> {
        self.lower.layers().iter().chain([&self.top])
    }

    /// Takes the chain apart.
    pub fn into_layers(self) -> (Vec<Layer<F>>, Layer<F>) {
        (self.lower.into_layers(), self.top)
    }

    /// Where a cluster of the disk comes from: the layer, counted from the base, and the place.
    ///
    /// # Errors
    /// `Entry`.
    pub fn locate(&self, cluster: VirtualCluster) -> Result<Option<(usize, Place)>> {
        if let Some(place) = self.top.locate(cluster)? {
            return Ok(Some((self.lower.layers().len(), place)));
        }
        self.lower.locate(cluster)
    }

    /// Where the disk's bytes from `at` on come from, as far as that is one place, `bytes` at most.
    ///
    /// # Errors
    /// `Range`; `Entry`.
    pub fn extent(&self, at: DiskOffset, bytes: u64) -> Result<Extent> {
        self.check_range(at, bytes)?;
        let mut found = Extent {
            bytes: 0,
            source: None,
        };
        while found.bytes < bytes {
            let next = DiskOffset(at.0 + found.bytes);
            let next = self.extent_within(next, bytes - found.bytes)?;
            if found.bytes != 0 && next.source != found.follower() {
                break;
            }
            found = Extent {
                bytes: found.bytes + next.bytes,
                source: if found.bytes == 0 {
                    next.source
                } else {
                    found.source
                },
            };
        }
        Ok(found)
    }

    /// The part of an extent that is in one cluster.
    fn extent_within(&self, at: DiskOffset, bytes: u64) -> Result<Extent> {
        let (cluster, within) = self.split(at)?;
        let bytes = bytes.min(self.cluster().bytes() - within);
        let found = self.locate(cluster)?;
        let there = found.map_or(0, |(_, place)| place.bytes.saturating_sub(within));
        let data = found.filter(|_| there != 0);
        Ok(match data {
            Some((layer, place)) => Extent {
                bytes: bytes.min(there),
                source: Some((layer, place.at.plus(within))),
            },
            None => Extent {
                bytes,
                source: None,
            },
        })
    }

    /// The file that the disk's bytes from `at` on come from, and where in it they begin, if that is
    /// one place for all.
    ///
    /// # Errors
    /// As [`Chain::extent`].
    pub fn place(&self, at: DiskOffset, bytes: usize) -> Result<Option<(&F, FileOffset)>> {
        let found = self.extent(at, bytes as u64)?;
        let whole = found.source.filter(|_| found.bytes == bytes as u64);
        Ok(whole.map(|(layer, place)| (self.layer(layer).file(), place)))
    }

    /// Reads from the disk.
    ///
    /// # Errors
    /// `Range`; `Entry`; `Io`.
    pub fn read(&self, buffer: &mut [u8], at: DiskOffset) -> Result<()> {
        let mut rest = buffer;
        let mut at = at;
        while !rest.is_empty() {
            let found = self.extent(at, rest.len() as u64)?;
            let bytes = usize::try_from(found.bytes).unwrap_or(rest.len());
            let (part, after) = rest.split_at_mut(bytes);
            match found.source {
                Some((layer, place)) => {
                    let layer = self.layer(layer);
                    let read = layer.file().read_at(part, place);
                    read.map_err(|e| Error::io("read", layer.name(), e))?;
                }
                None => part.fill(0),
            }
            at = DiskOffset(at.0 + found.bytes);
            rest = after;
        }
        Ok(())
    }

    /// A layer, counted from the base.
    fn layer(&self, number: usize) -> &Layer<F> {
        self.lower.layers().get(number).unwrap_or(&self.top)
    }

    fn check_range(&self, at: DiskOffset, bytes: u64) -> Result<()> {
        let size = self.size().bytes();
        if at.0.checked_add(bytes).is_some_and(|end| end <= size) {
            return Ok(());
        }
        Err(Error::Range {
            at: at.0,
            bytes,
            size,
        })
    }

    fn split(&self, at: DiskOffset) -> Result<(VirtualCluster, u64)> {
        self.cluster().split(at).ok_or(Error::Range {
            at: at.0,
            bytes: 0,
            size: self.size().bytes(),
        })
    }
}

impl Extent {
    /// The source that an extent right behind this one has if it continues it.
    fn follower(&self) -> Option<(usize, FileOffset)> {
        let (layer, at) = self.source?;
        Some((layer, at.plus(self.bytes)))
    }
}
