// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl mosaics`.
//!
//! A mosaic that cannot be opened is listed with what is wrong with it; the others are not its
//! concern, nor is the exit status.

use mosaic_core::mosaic::{MosaicEntry, list_mosaics};
use serde::Serialize;

use super::Context;
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
    let entries = list_mosaics(&context.environment())?;
    let mosaics: Vec<MosaicJson> = entries.iter().map(Into::into).collect();
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

impl From<&MosaicEntry> for MosaicJson {
    fn from(entry: &MosaicEntry) -> Self {
        Self {
            name: entry.name.clone(),
            config: json::path(&entry.config),
            driver_type: entry.driver.clone(),
            location: entry.location.as_deref().map(json::path),
            error: entry.error.as_ref().map(|error| ErrorJson {
                kind: error.kind().name(),
                message: error.line(),
            }),
        }
    }
}
