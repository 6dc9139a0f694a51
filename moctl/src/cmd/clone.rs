// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl MOSAIC clone FROM TO [--size SIZE] [--exist-ok]`.

use std::ffi::OsStr;

use mosaic_core::Bytes;
use mosaic_core::mosaic::Mosaic;
use serde::Serialize;

use super::{ChangeJson, Context};
use crate::cli::CloneArgs;
use crate::output::Report;

#[derive(Serialize)]
struct CloneJson<'a> {
    #[serde(flatten)]
    change: ChangeJson<'a>,
    from: &'a str,
}

/// Clones a volume.
///
/// # Errors
/// `Invalid` for the size; the core's.
pub fn run(context: &Context, mosaic: &OsStr, arguments: &CloneArgs) -> anyhow::Result<Report> {
    let size = arguments
        .size
        .as_deref()
        .map(Bytes::parse_volume_size)
        .transpose()?;
    let mosaic = Mosaic::open(&context.environment(), mosaic)?;
    let (from, to) = (&arguments.from, &arguments.to);
    let changed = mosaic.clone_volume(from, to, size, arguments.exist_ok)?;
    let fields = CloneJson {
        change: ChangeJson::new("clone", &mosaic, to, changed),
        from,
    };
    Ok(context.report_change(fields, changed))
}
