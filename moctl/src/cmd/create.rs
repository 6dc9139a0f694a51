// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl MOSAIC new fs|disk V SIZE [--exist-ok]`.

use std::ffi::OsStr;

use mosaic_core::Bytes;
use mosaic_core::mosaic::{Mosaic, VolumeRequest};

use super::{ChangeJson, Context};
use crate::cli::{New, NewKind};
use crate::output::Report;

/// Makes a volume.
///
/// # Errors
/// `Invalid` for the size; the core's.
pub fn run(context: &Context, mosaic: &OsStr, arguments: &New) -> anyhow::Result<Report> {
    let size = Bytes::parse_volume_size(&arguments.size)?;
    let request = match arguments.kind {
        NewKind::Fs => VolumeRequest::Fs,
        NewKind::Disk => VolumeRequest::Disk,
    };
    let mosaic = Mosaic::open(&context.environment(), mosaic)?;
    let volume = &arguments.volume;
    let changed = mosaic.create(volume, request, size, arguments.exist_ok)?;
    let fields = ChangeJson::new("new", &mosaic, volume, changed);
    Ok(context.report_change(fields, changed))
}
