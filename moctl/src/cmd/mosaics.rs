// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl mosaics`.
//!
//! A mosaic that cannot be opened is listed with what is wrong with it; the others are not its
//! concern, nor is the exit status.

use mosaic_core::config::{self, ConfigFile};
use mosaic_core::mosaic::Mosaic;
use mosaic_core::{Result, loader};
use serde::Serialize;

use super::Context;
use crate::output::failure::Failure;
use crate::output::table::Table;
use crate::output::{Report, json};

#[derive(Serialize)]
struct MosaicsJson {
    action: &'static str,
    mosaics: Vec<MosaicJson>,
}

#[derive(Serialize)]
struct MosaicJson {
    name: String,
    config: String,
    #[serde(rename = "type")]
    driver_type: Option<String>,
    location: Option<String>,
    error: Option<ErrorJson>,
}

#[derive(Serialize)]
struct ErrorJson {
    kind: &'static str,
    message: String,
}

/// Lists the mosaics of the config folder.
///
/// # Errors
/// The kernel's, if the folder cannot be read.
pub fn run(context: &Context) -> anyhow::Result<Report> {
    let files = config::list(&context.surroundings.config_dir)?;
    let mosaics: Vec<_> = files.iter().map(|file| look(context, file)).collect();
    let mut table = Table::new(&["NAME", "TYPE", "LOCATION", "STATE"]);
    for mosaic in &mosaics {
        let state = mosaic.error.as_ref().map(|error| error.message.clone());
        table.row([
            mosaic.name.clone(),
            mosaic.driver_type.clone().unwrap_or_default(),
            mosaic.location.clone().unwrap_or_default(),
            state.unwrap_or_else(|| "ok".to_owned()),
        ]);
    }
    let text = context.table(&table);
    let fields = MosaicsJson {
        action: "mosaics",
        mosaics,
    };
    Ok(Report::new(fields).text(&text))
}

/// As much as can be found out of one mosaic.
fn look(context: &Context, file: &ConfigFile) -> MosaicJson {
    let mut mosaic = MosaicJson {
        name: file.name.clone(),
        config: json::path(&file.path),
        driver_type: None,
        location: None,
        error: None,
    };
    // What opening says is complete, so this is only about the fields.
    let _ = fill_in(context, file, &mut mosaic);
    if let Err(error) = Mosaic::open(&context.environment(), file.path.as_os_str()) {
        let failure = Failure::from(&anyhow::Error::new(error));
        mosaic.error = Some(ErrorJson {
            kind: failure.kind(),
            message: failure.line(),
        });
    }
    mosaic
}

fn fill_in(context: &Context, file: &ConfigFile, mosaic: &mut MosaicJson) -> Result<()> {
    let draft = config::load(file)?;
    mosaic.driver_type = Some(draft.driver_type().to_owned());
    let loaded = loader::load(&context.search(), draft.driver_type())?;
    let config = draft.check(&loaded.module.schema()?)?;
    mosaic.location = Some(json::path(&config.settings.shown_location()));
    Ok(())
}
