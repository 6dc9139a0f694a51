// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where names come from: the config folder, the drivers' folders, the mosaic itself.

use std::sync::Arc;

use mosaic_core::host_services::Silent;
use mosaic_core::mosaic::{Mosaic, VolumeInfo};
use mosaic_core::{config, loader};

use super::position::{Position, Wanted};
use super::{Candidate, expanded};
use crate::cmd::Context;

/// Asks for names; what fails has none.
#[derive(Debug)]
pub struct Sources<'c> {
    context: &'c Context,
    position: &'c Position<'c>,
}

impl<'c> Sources<'c> {
    /// For a place in the command line.
    pub fn new(context: &'c Context, position: &'c Position<'c>) -> Self {
        Self { context, position }
    }

    /// The configured mosaics.
    pub fn mosaics(&self) -> Vec<Candidate> {
        let found = config::list(&self.context.surroundings.places.config_dir);
        let names = found.unwrap_or_default().into_iter().map(|file| file.name);
        names.map(Candidate::plain).collect()
    }

    /// The installed drivers.
    pub fn drivers(&self) -> Vec<Candidate> {
        let found = loader::installed(&self.context.search_with(&self.position.driver_dirs));
        let usable = found.into_iter().filter(|driver| driver.refusal.is_none());
        usable
            .map(|driver| Candidate {
                value: driver.type_name,
                about: driver.description,
            })
            .collect()
    }

    /// The mosaic's volumes.
    pub fn volumes(&self, wanted: Wanted) -> Vec<Candidate> {
        let fits = |info: &VolumeInfo| match wanted {
            Wanted::Any | Wanted::OrMetadata => true,
            Wanted::Attached => info.volume.attachment.is_some(),
            Wanted::Mounted => !info.mounted.is_empty(),
        };
        let found = self.open().and_then(|mosaic| mosaic.list().ok());
        let mut words: Vec<_> = found
            .unwrap_or_default()
            .into_iter()
            .filter(fits)
            .map(|info| Candidate::plain(info.name))
            .collect();
        if matches!(wanted, Wanted::OrMetadata | Wanted::Mounted) {
            words.push(Candidate {
                value: "-".to_owned(),
                about: "the metadata".to_owned(),
            });
        }
        words
    }

    /// Where the volume (or the metadata) is mounted.
    pub fn mountpoints(&self) -> Vec<Candidate> {
        let Some(volume) = self.position.values.first().and_then(|word| word.to_str()) else {
            return Vec::new();
        };
        let mounted = self.open().and_then(|mosaic| match volume {
            "-" => Some(mosaic.info().ok()?.metadata_mounted),
            volume => Some(mosaic.volume_info(volume).ok()?.0.mounted),
        });
        let paths = mounted.unwrap_or_default().into_iter();
        paths
            .filter_map(|path| Some(Candidate::plain(path.to_str()?)))
            .collect()
    }

    fn open(&self) -> Option<Mosaic> {
        let home = self.context.surroundings.home.as_deref();
        let name = expanded(self.position.mosaic?, home);
        let search = self.context.search_with(&self.position.driver_dirs);
        let environment = self.context.environment_with(search, Arc::new(Silent));
        Mosaic::open(&environment, &name).ok()
    }
}
