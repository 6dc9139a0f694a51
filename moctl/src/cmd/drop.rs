// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl MOSAIC drop V [--missing-ok]`.

use std::ffi::OsStr;

use mosaic_core::mosaic::{DropOptions, Mosaic};

use super::{ChangeJson, Context};
use crate::cli::Drop;
use crate::output::Report;

/// Destroys a volume.
///
/// # Errors
/// The core's.
pub fn run(context: &Context, mosaic: &OsStr, arguments: &Drop) -> anyhow::Result<Report> {
    let mosaic = Mosaic::open(&context.environment(), mosaic)?;
    let volume = &arguments.volume;
    let options = DropOptions {
        missing_ok: arguments.missing_ok,
        wait: false,
    };
    let (changed, _) = mosaic.drop_volume(volume, &options)?;
    let fields = ChangeJson::new("drop", &mosaic, volume, changed);
    Ok(context.report_change(fields, changed))
}
