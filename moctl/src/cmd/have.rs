// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl MOSAIC have V [--exit-code]`.

use std::ffi::OsStr;

use mosaic_core::ErrorKind;
use mosaic_core::mosaic::Mosaic;
use serde::Serialize;

use super::Context;
use crate::cli::Have;
use crate::output::Report;

#[derive(Serialize)]
struct HaveJson<'a> {
    action: &'static str,
    mosaic: &'a str,
    volume: &'a str,
    exists: bool,
}

/// Says whether there is such a volume. With `--exit-code` the exit status says it too, and
/// `--quiet` leaves it at that.
///
/// # Errors
/// The core's; that there is none is no error.
pub fn run(context: &Context, mosaic: &OsStr, arguments: &Have) -> anyhow::Result<Report> {
    let mosaic = Mosaic::open(&context.environment(), mosaic)?;
    let volume = &arguments.volume;
    let exists = mosaic.have(volume)?;
    let mut report = Report::new(HaveJson {
        action: "have",
        mosaic: &mosaic.config().name,
        volume,
        exists,
    });
    if !(arguments.exit_code && context.global.quiet) {
        let answer = if exists { "yes" } else { "no" };
        report = report.line(format!("{volume} exists: {answer}"));
    }
    if arguments.exit_code && !exists {
        report = report.exit_status(ErrorKind::NotFound.exit_status());
    }
    Ok(report)
}
