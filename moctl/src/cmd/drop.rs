// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl MOSAIC drop V [--missing-ok] [--wait]`.

use std::ffi::OsStr;

use mosaic_core::mosaic::{DropOptions, Mosaic};
use serde::Serialize;

use super::{ChangeJson, Context};
use crate::cli::Drop;
use crate::output::Report;

#[derive(Serialize)]
struct DropJson<'a> {
    #[serde(flatten)]
    change: ChangeJson<'a>,
    pending: Vec<String>,
}

/// Destroys a volume.
///
/// # Errors
/// The core's.
pub fn run(context: &Context, mosaic: &OsStr, arguments: &Drop) -> anyhow::Result<Report> {
    let mosaic = Mosaic::open(&context.environment(), mosaic)?;
    let volume = &arguments.volume;
    let options = DropOptions {
        missing_ok: arguments.missing_ok,
        wait: arguments.wait,
    };
    let (changed, dropped) = mosaic.drop_volume(volume, &options)?;
    let fields = DropJson {
        change: ChangeJson::new("drop", &mosaic, volume, changed),
        pending: dropped.pending,
    };
    Ok(context.report_change(fields, changed))
}
