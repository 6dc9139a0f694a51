// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl MOSAIC mount V|- PATH [-o OPTS]`, `moctl MOSAIC umount V|- PATH`.

use std::ffi::OsStr;
use std::path::Path;

use mosaic_core::mosaic::Mosaic;
use mosaic_core::mounts::MountOptions;
use serde::Serialize;

use super::Context;
use crate::cli::{Mount, Umount};
use crate::output::{Report, json};

#[derive(Serialize)]
struct MountJson<'a> {
    action: &'static str,
    mosaic: &'a str,
    volume: Option<&'a str>,
    path: String,
    changed: bool,
}

impl<'a> MountJson<'a> {
    fn new(action: &'static str, mosaic: &'a Mosaic, volume: Option<&'a str>, path: &Path) -> Self {
        Self {
            action,
            mosaic: &mosaic.config().name,
            volume,
            path: json::path(path),
            changed: true,
        }
    }
}

/// The volume of `V|-`: `-` is the metadata.
fn volume_or_metadata(word: &str) -> Option<&str> {
    (word != "-").then_some(word)
}

/// Mounts a volume or the metadata.
///
/// # Errors
/// `Invalid` for the options; the core's.
pub fn run(context: &Context, mosaic: &OsStr, arguments: &Mount) -> anyhow::Result<Report> {
    let options = MountOptions::parse(&arguments.options.join(","))?;
    let mosaic = Mosaic::open(&context.environment(), mosaic)?;
    let volume = volume_or_metadata(&arguments.volume);
    mosaic.mount(volume, &arguments.path, &options)?;
    let fields = MountJson::new("mount", &mosaic, volume, &arguments.path);
    Ok(Report::new(fields))
}

/// Unmounts a volume or the metadata.
///
/// # Errors
/// The core's.
pub fn run_umount(context: &Context, mosaic: &OsStr, arguments: &Umount) -> anyhow::Result<Report> {
    let mosaic = Mosaic::open(&context.environment(), mosaic)?;
    let volume = volume_or_metadata(&arguments.volume);
    mosaic.umount(volume, &arguments.path)?;
    let fields = MountJson::new("umount", &mosaic, volume, &arguments.path);
    Ok(Report::new(fields))
}
