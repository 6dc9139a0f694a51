// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a delta's file as short as it can be: clusters of zeros and lost ones go, the last ones
//! move into the holes.

use super::copy::Copier;
use super::error::Result;
use super::storage::ImageFile;
use super::units::{FileOffset, VirtualCluster};
use super::writer::Writer;

/// What compacting gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Clusters of zeros that are not in the file any more.
    pub zeros: u64,
    /// Bytes by which the file is shorter.
    pub bytes: u64,
}

impl<F: ImageFile> Writer<F> {
    /// Compacts the delta. `is_below` says whether a delta beneath has a cluster: zeros that hide
    /// it stay, as a hole in the file where that can be.
    ///
    /// # Errors
    /// `is_below`'s; `Entry`; `Broken`; `Io`.
    pub fn compact(
        &mut self,
        mut is_below: impl FnMut(VirtualCluster) -> Result<bool>,
    ) -> Result<Compacted> {
        let before = self.delta.length;
        let mut copier = Copier::new(self.header().cluster);
        let mut done = Compacted::default();
        let clusters: Vec<_> = self.delta.allocated().collect();
        for cluster in clusters {
            let Some(at) = self.delta.locate(cluster)? else {
                continue;
            };
            if !self.is_zero(at, &mut copier)? {
                continue;
            }
            if is_below(cluster)? {
                self.punch(at, self.header().cluster.bytes())?;
            } else {
                self.remove(cluster)?;
                done.zeros += 1;
            }
        }
        self.pack()?;
        done.bytes = before.saturating_sub(self.delta.length);
        Ok(done)
    }

    fn is_zero(&self, at: FileOffset, copier: &mut Copier) -> Result<bool> {
        let delta = &self.delta;
        copier.is_zero(|within, piece| {
            let read = delta.file.read_at(piece, at.plus(within));
            read.map_err(delta.io("read"))
        })
    }
}
