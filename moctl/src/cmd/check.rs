// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl MOSAIC check [V] [--repair]`.

use std::ffi::OsStr;

use mosaic_core::ErrorKind;
use mosaic_core::mosaic::Mosaic;
use mosaic_core::volume::Finding;
use serde::Serialize;

use super::Context;
use crate::cli::Check;
use crate::output::Report;
use crate::output::json::FindingJson;

#[derive(Serialize)]
struct CheckJson<'a> {
    action: &'static str,
    mosaic: &'a str,
    changed: bool,
    clean: bool,
    findings: Vec<FindingJson>,
}

/// Says what is wrong. The exit status is that of a corrupt mosaic as long as something is.
///
/// # Errors
/// The core's; what is wrong is none.
pub fn run(context: &Context, mosaic: &OsStr, arguments: &Check) -> anyhow::Result<Report> {
    let mosaic = Mosaic::open(&context.environment(), mosaic)?;
    let findings = match &arguments.volume {
        None => mosaic.check(arguments.repair)?,
        Some(volume) => mosaic.check_volume(volume, arguments.repair)?,
    };
    let clean = findings.iter().all(|finding| finding.repaired);
    let mut report = Report::new(CheckJson {
        action: "check",
        mosaic: &mosaic.config().name,
        changed: findings.iter().any(|finding| finding.repaired),
        clean,
        findings: findings.iter().map(Into::into).collect(),
    });
    for finding in &findings {
        report = report.line(line(finding));
    }
    if findings.is_empty() {
        report = context.remark(report, "no faults found");
    }
    Ok(match clean {
        true => report,
        false => report.exit_status(ErrorKind::Corrupt.exit_status()),
    })
}

fn line(finding: &Finding) -> String {
    let place = match &finding.volume {
        Some(volume) => format!("volume {volume:?}"),
        None => "location".to_owned(),
    };
    let fault = &finding.fault;
    match &finding.remedy {
        Some(remedy) if finding.repaired => format!("{place}: {fault}; repaired: {remedy}"),
        Some(remedy) => format!("{place}: {fault}; --repair would: {remedy}"),
        None if finding.repaired => format!("{place}: {fault}; repaired"),
        None => format!("{place}: {fault}; --repair cannot mend this"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_where_what_and_what_would_mend_it() {
        let finding = |remedy: Option<&str>, repaired| Finding {
            volume: Some("a".into()),
            fault: "fault".into(),
            remedy: remedy.map(Into::into),
            repaired,
        };
        for (finding, text) in [
            (
                finding(Some("remove it"), false),
                "volume \"a\": fault; --repair would: remove it",
            ),
            (
                finding(Some("remove it"), true),
                "volume \"a\": fault; repaired: remove it",
            ),
            (
                finding(None, false),
                "volume \"a\": fault; --repair cannot mend this",
            ),
        ] {
            assert_eq!(line(&finding), text);
        }
    }
}
