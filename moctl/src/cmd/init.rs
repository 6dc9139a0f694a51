// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl MOSAIC init [--quota KIND] [--adopt] [--force]`.

use std::ffi::OsStr;

use mosaic_core::config;
use mosaic_core::mosaic::{Changed, Mosaic};
use mosaic_core::volume::InitOptions;
use serde::Serialize;

use super::Context;
use crate::cli::{Init, Quota};
use crate::output::Report;

#[derive(Serialize)]
struct InitJson {
    action: &'static str,
    mosaic: String,
    changed: bool,
    made: Vec<String>,
}

/// Makes the location.
///
/// # Errors
/// The core's.
pub fn run(context: &Context, mosaic: &OsStr, arguments: &Init) -> anyhow::Result<Report> {
    let name = config::find(&context.surroundings.places.config_dir, mosaic)?.name;
    let quota = arguments.quota.map(|kind| match kind {
        Quota::Simple => "simple",
        Quota::Full => "full",
    });
    let options = InitOptions {
        quota: quota.map(str::to_owned),
        adopt: arguments.adopt,
        force: arguments.force,
    };
    let (changed, made) = Mosaic::init(&context.environment(), mosaic, &options)?;
    let mut report = Report::new(InitJson {
        action: "init",
        mosaic: name,
        changed: changed == Changed::Yes,
        made: made.clone(),
    });
    for line in &made {
        report = context.remark(report, line);
    }
    Ok(report)
}
