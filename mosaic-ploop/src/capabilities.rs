// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be done here and with one volume, and for the rest why not.

use mosaic_core::volume::{Capability, capability};
use mosaic_core::{Result, VolumeName};

use crate::driver::Ploop;
use crate::volume_dir::VolumeDir;

const NOT_YET: &str = "not yet";

impl Ploop {
    /// For the location, or for one volume in it.
    pub(crate) fn abilities(&self, volume: Option<&VolumeName>) -> Result<Vec<Capability>> {
        if let Some(name) = volume {
            VolumeDir::require(&self.location, name)?;
        }
        Ok(capability::ALL
            .map(|name| Capability::no(name, NOT_YET))
            .into())
    }
}
