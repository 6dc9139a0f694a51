// SPDX-License-Identifier: MIT OR Apache-2.0
//! The deltas beneath the top: read, never written.

use crate::format::error::Result;
use crate::format::layer::{Layer, Place};
use crate::format::storage::ImageFile;
use crate::format::units::VirtualCluster;

/// Layers from the base up; perhaps none.
#[derive(Debug)]
pub struct Lower<F>(Vec<Layer<F>>);

impl<F: ImageFile> Lower<F> {
    pub(super) fn new(layers: Vec<Layer<F>>) -> Self {
        Self(layers)
    }

    /// The layers, from the base up.
    pub fn layers(&self) -> &[Layer<F>] {
        &self.0
    }

    pub(super) fn into_layers(self) -> Vec<Layer<F>> {
        self.0
    }

    pub(super) fn push(&mut self, layer: Layer<F>) {
        self.0.push(layer);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The uppermost layer that has a cluster, and where.
    ///
    /// # Errors
    /// `Entry`.
    pub fn locate(&self, cluster: VirtualCluster) -> Result<Option<(usize, Place)>> {
        for (number, layer) in self.0.iter().enumerate().rev() {
            if let Some(place) = layer.locate(cluster)? {
                return Ok(Some((number, place)));
            }
        }
        Ok(None)
    }

    /// Reads a part of a cluster, from `within` on; zeros where nobody has it.
    ///
    /// # Errors
    /// `Entry`; `Io`.
    pub fn read(&self, cluster: VirtualCluster, within: u64, buffer: &mut [u8]) -> Result<()> {
        match self.locate(cluster)? {
            Some((number, place)) => self.0[number].read(place, within, buffer),
            None => {
                buffer.fill(0);
                Ok(())
            }
        }
    }
}
