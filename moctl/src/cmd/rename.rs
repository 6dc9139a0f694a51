// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl MOSAIC rename V W`.

use std::ffi::OsStr;

use mosaic_core::mosaic::{Changed, Mosaic};
use serde::Serialize;

use super::{ChangeJson, Context};
use crate::cli::Rename;
use crate::output::Report;

#[derive(Serialize)]
struct RenameJson<'a> {
    #[serde(flatten)]
    change: ChangeJson<'a>,
    new_name: &'a str,
}

/// Gives a volume another name.
///
/// # Errors
/// The core's.
pub fn run(context: &Context, mosaic: &OsStr, arguments: &Rename) -> anyhow::Result<Report> {
    let mosaic = Mosaic::open(&context.environment(), mosaic)?;
    let (volume, new_name) = (&arguments.volume, &arguments.new_name);
    mosaic.rename(volume, new_name)?;
    Ok(Report::new(RenameJson {
        change: ChangeJson::new("rename", &mosaic, volume, Changed::Yes),
        new_name,
    }))
}
