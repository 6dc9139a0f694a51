// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl MOSAIC resize V [+|-]SIZE [--shrink]`.

use std::ffi::OsStr;

use mosaic_core::mosaic::{Changed, Mosaic, ResizeTo};
use mosaic_core::{Bytes, Result};
use serde::Serialize;

use super::{ChangeJson, Context};
use crate::cli::Resize;
use crate::output::Report;

#[derive(Serialize)]
struct ResizeJson<'a> {
    #[serde(flatten)]
    change: ChangeJson<'a>,
    from: Option<u64>,
    to: u64,
}

/// Sets or changes a volume's size.
///
/// # Errors
/// `Invalid` for the size; the core's.
pub fn run(context: &Context, mosaic: &OsStr, arguments: &Resize) -> anyhow::Result<Report> {
    let to = target(&arguments.size)?;
    let mosaic = Mosaic::open(&context.environment(), mosaic)?;
    let volume = &arguments.volume;
    let done = mosaic.resize(volume, to, arguments.shrink)?;
    let fields = ResizeJson {
        change: ChangeJson::new("resize", &mosaic, volume, done.changed),
        from: done.from.map(|size| size.0),
        to: done.to.0,
    };
    if done.changed == Changed::Unchanged {
        return Ok(context.report_change(fields, done.changed));
    }
    let line = match done.from {
        Some(from) if from != done.to => format!("from {from} to {}", done.to),
        // What had another size was the device or the file system.
        _ => format!("to {}", done.to),
    };
    Ok(context.remark(Report::new(fields), &line))
}

/// `+5G`, `-5G`, `5G`.
fn target(text: &str) -> Result<ResizeTo> {
    match text.split_at_checked(1) {
        Some(("+", more)) => Bytes::parse_volume_size(more).map(ResizeTo::Grow),
        Some(("-", less)) => Bytes::parse_volume_size(less).map(ResizeTo::Shrink),
        _ => Bytes::parse_volume_size(text).map(ResizeTo::Absolute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_makes_a_size_relative() {
        assert_eq!(target("2T").unwrap(), ResizeTo::Absolute(Bytes(2 << 40)));
        assert_eq!(target("+1K").unwrap(), ResizeTo::Grow(Bytes(1024)));
        assert_eq!(target("-5G").unwrap(), ResizeTo::Shrink(Bytes(5 << 30)));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "", "+", "-", "0", "+0", "--5G", "+-5G", "12X", "abc", "1e3", "0x10", "5 G", "é",
        ] {
            assert!(target(text).is_err(), "{text:?}");
        }
    }
}
