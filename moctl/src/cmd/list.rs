// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl MOSAIC list`.

use std::ffi::OsStr;

use mosaic_core::mosaic::{Mosaic, VolumeInfo};
use serde::Serialize;

use super::Context;
use crate::output::json::{self, VolumeJson};
use crate::output::table::{self, Table};
use crate::output::{Report, words};

#[derive(Serialize)]
struct ListJson<'a> {
    action: &'static str,
    mosaic: &'a str,
    volumes: Vec<VolumeJson<'a>>,
}

/// Lists the volumes.
///
/// # Errors
/// The core's.
pub fn run(context: &Context, mosaic: &OsStr) -> anyhow::Result<Report> {
    let mosaic = Mosaic::open(&context.environment(), mosaic)?;
    let volumes = mosaic.list()?;
    if context.global.json {
        return Ok(Report::new(ListJson {
            action: "list",
            mosaic: &mosaic.config().name,
            volumes: volumes.iter().map(Into::into).collect(),
        }));
    }
    let mut table = Table::new(&["NAME", "KIND", "SIZE", "USED", "ORIGIN", "STATE", "MOUNTED"]);
    for volume in &volumes {
        table.row(row(volume));
    }
    Ok(Report::default().text(&context.table(&table)))
}

fn row(info: &VolumeInfo) -> [String; 7] {
    let volume = &info.volume;
    let mounted: Vec<_> = info.mounted.iter().map(|path| json::path(path)).collect();
    [
        info.name.clone(),
        words::kind(&volume.kind).to_owned(),
        volume.size.map(table::short).unwrap_or_default(),
        volume.used.map_or_else(|| "?".to_owned(), table::short),
        info.origin.clone().unwrap_or_default(),
        info.state().to_owned(),
        mounted.join(", "),
    ]
}
