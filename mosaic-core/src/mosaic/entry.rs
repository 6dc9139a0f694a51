// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mosaics that there are: config files, and whether they can be opened.

use std::path::PathBuf;

use super::{Environment, Mosaic};
use crate::config::{self, ConfigFile};
use crate::error::{Error, Result};
use crate::loader;

/// A config file of the config folder.
#[derive(Debug)]
pub struct MosaicEntry {
    /// The mosaic's name.
    pub name: String,
    /// The config file.
    pub config: PathBuf,
    /// The driver's type, as the file has it; `None`: not to be found out.
    pub driver: Option<String>,
    /// Where the data is, as [`MosaicInfo::location`](super::MosaicInfo::location) has it; `None`: not
    /// to be found out.
    pub location: Option<PathBuf>,
    /// Why it cannot be opened.
    pub error: Option<Error>,
}

/// The mosaics of the config folder, by name, with what can be found out of each. That one cannot be
/// opened is no error of the others.
///
/// # Errors
/// The kernel's, if the folder cannot be read.
pub fn list_mosaics(environment: &Environment) -> Result<Vec<MosaicEntry>> {
    let files = config::list(&environment.config_dir)?;
    Ok(files.iter().map(|file| look(environment, file)).collect())
}

fn look(environment: &Environment, file: &ConfigFile) -> MosaicEntry {
    let mut entry = MosaicEntry {
        name: file.name.clone(),
        config: file.path.clone(),
        driver: None,
        location: None,
        error: Mosaic::open(environment, file.path.as_os_str()).err(),
    };
    // What opening says is complete, so this is only about the fields.
    let _ = fill_in(environment, file, &mut entry);
    entry
}

fn fill_in(environment: &Environment, file: &ConfigFile, entry: &mut MosaicEntry) -> Result<()> {
    let draft = config::load(file)?;
    entry.driver = Some(draft.driver_type().to_owned());
    let loaded = loader::load(&environment.search, draft.driver_type())?;
    let config = draft.check(&loaded.module.schema()?)?;
    entry.location = Some(config.settings.shown_location());
    Ok(())
}
