// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl MOSAIC attach V [--ro] [--exist-ok]`, `moctl MOSAIC detach V [--missing-ok]`.

use std::ffi::OsStr;

use mosaic_core::mosaic::{Changed, Earlier, Mosaic};
use serde::Serialize;

use super::{ChangeJson, Context};
use crate::cli::{Attach, Detach};
use crate::output::Report;
use crate::output::json::AttachmentJson;

#[derive(Serialize)]
struct AttachJson<'a> {
    #[serde(flatten)]
    change: ChangeJson<'a>,
    attachment: AttachmentJson,
}

/// Shows a volume as a block device, and says which. That line is what was asked for: it comes
/// first, and stands with `--quiet` too.
///
/// # Errors
/// The core's.
pub fn run(context: &Context, mosaic: &OsStr, arguments: &Attach) -> anyhow::Result<Report> {
    let mosaic = Mosaic::open(&context.environment(), mosaic)?;
    let volume = &arguments.volume;
    let earlier = match arguments.exist_ok {
        true => Earlier::Accepted,
        false => Earlier::Refused,
    };
    let attached = mosaic.attach(volume, arguments.ro, earlier)?;
    let report = Report::new(AttachJson {
        change: ChangeJson::new("attach", &mosaic, volume, attached.changed),
        attachment: (&attached.attachment).into(),
    });
    let report = report.line(format!("Device: {}", attached.attachment.device.display()));
    Ok(match attached.changed {
        Changed::Yes => report,
        Changed::Unchanged => context.remark(report, "unchanged"),
    })
}

/// Takes a volume's block device away.
///
/// # Errors
/// The core's.
pub fn run_detach(context: &Context, mosaic: &OsStr, arguments: &Detach) -> anyhow::Result<Report> {
    let mosaic = Mosaic::open(&context.environment(), mosaic)?;
    let volume = &arguments.volume;
    let changed = mosaic.detach(volume, arguments.missing_ok)?;
    let fields = ChangeJson::new("detach", &mosaic, volume, changed);
    Ok(context.report_change(fields, changed))
}
