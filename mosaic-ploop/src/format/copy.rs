// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copying clusters, a piece at a time, through memory that is taken once.

use super::delta::Delta;
use super::error::Result;
use super::storage::{self, ImageFile};
use super::units::{ClusterSize, FileCluster};

/// The most that is held in memory.
const PIECE: usize = 1 << 20;

/// Copies clusters of one size.
#[derive(Debug)]
pub struct Copier {
    buffer: Vec<u8>,
    cluster: u64,
}

impl Copier {
    /// A copier for clusters of that size.
    pub fn new(cluster: ClusterSize) -> Self {
        let bytes = usize::try_from(cluster.bytes()).unwrap_or(PIECE);
        Self {
            buffer: vec![0; bytes.min(PIECE)],
            cluster: cluster.bytes(),
        }
    }

    /// Copies a cluster; both closures get the place within it.
    ///
    /// # Errors
    /// Theirs.
    pub fn copy(
        &mut self,
        read: impl Fn(u64, &mut [u8]) -> Result<()>,
        mut write: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        self.pieces(read, |within, piece| {
            write(within, piece)?;
            Ok(true)
        })
    }

    /// Copies a cluster of an image to another place in it.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn copy_within<F: ImageFile>(
        &mut self,
        delta: &mut Delta<F>,
        from: FileCluster,
        to: FileCluster,
    ) -> Result<()> {
        let size = delta.header.cluster;
        let (source, target) = (size.start_in_file(from), size.start_in_file(to));
        self.copy(
            |within, piece| {
                let read = delta.file.read_at(piece, source.plus(within));
                read.map_err(delta.io("read"))
            },
            |within, piece| {
                let written = delta.file.write_at(piece, target.plus(within));
                written.map_err(delta.io("write"))
            },
        )?;
        delta.length = delta.length.max(target.plus(size.bytes()).0);
        Ok(())
    }

    /// Whether a cluster is all zeros.
    ///
    /// # Errors
    /// The closure's.
    pub fn is_zero(&mut self, read: impl Fn(u64, &mut [u8]) -> Result<()>) -> Result<bool> {
        let mut is_zero = true;
        self.pieces(read, |_, piece| {
            is_zero = storage::is_zero(piece);
            Ok(is_zero)
        })?;
        Ok(is_zero)
    }

    /// Reads a cluster piece by piece until `each` says that it is enough.
    fn pieces(
        &mut self,
        read: impl Fn(u64, &mut [u8]) -> Result<()>,
        mut each: impl FnMut(u64, &[u8]) -> Result<bool>,
    ) -> Result<()> {
        let mut within = 0;
        while within < self.cluster {
            let left = usize::try_from(self.cluster - within).unwrap_or(PIECE);
            let part = left.min(self.buffer.len());
            let piece = &mut self.buffer[..part];
            read(within, piece)?;
            if !each(within, piece)? {
                break;
            }
            within += part as u64;
        }
        Ok(())
    }
}
