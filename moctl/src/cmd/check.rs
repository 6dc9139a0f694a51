// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl MOSAIC check [V] [--repair[=CLASS,...]]`.
//!
//! `--repair` alone asks for each class of faults, where somebody is there to be asked; a script names
//! classes, or gets all that need no name.

use std::ffi::OsStr;

use mosaic_core::finding::{Finding, Remedy, Repair, is_changed, is_clean};
use mosaic_core::mosaic::Mosaic;
use mosaic_core::{ErrorKind, Result, printable};
use serde::Serialize;

use super::Context;
use crate::cli::Check;
use crate::output::Report;
use crate::output::json::FindingJson;
use crate::question;

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
    let look = |repair: &Repair| match &arguments.volume {
        None => mosaic.check(repair),
        Some(volume) => mosaic.check_volume(volume, repair),
    };
    let repair = match &arguments.repair {
        None => Repair::Nothing,
        Some(classes) if !classes.is_empty() => Repair::classes(classes)?,
        Some(_) if context.global.json || context.global.quiet || !question::is_possible() => {
            Repair::Usual
        }
        Some(_) => {
            let findings = look(&Repair::Nothing)?;
            let wanted = ask(context, &findings)?;
            if wanted.is_empty() {
                return Ok(report(context, &mosaic, &findings));
            }
            Repair::Classes(wanted)
        }
    };
    let findings = look(&repair)?;
    Ok(report(context, &mosaic, &findings))
}

fn report(context: &Context, mosaic: &Mosaic, findings: &[Finding]) -> Report {
    let clean = is_clean(findings);
    let mut report = Report::new(CheckJson {
        action: "check",
        mosaic: &mosaic.config().name,
        changed: is_changed(findings),
        clean,
        findings: findings.iter().map(Into::into).collect(),
    });
    for finding in findings {
        report = report.line(line(finding));
    }
    if findings.is_empty() {
        report = context.remark(report, "no faults found");
    }
    match clean {
        true => report,
        false => report.exit_status(ErrorKind::Corrupt.exit_status()),
    }
}

/// Asks for each class of what could be mended; those that are wanted.
fn ask(context: &Context, findings: &[Finding]) -> Result<Vec<String>> {
    let mut classes: Vec<&str> = Vec::new();
    for class in findings.iter().filter_map(Finding::class) {
        if !classes.contains(&class) {
            classes.push(class);
        }
    }
    let mut wanted = Vec::new();
    for class in classes {
        let is_of = |finding: &&Finding| finding.class() == Some(class);
        let mut text = String::new();
        for finding in findings.iter().filter(is_of) {
            text += &format!("{}\n", printable(&line(finding)));
        }
        text += &printable(&format!("mend {class}?"));
        if question::ask(context.terminal.as_ref(), &text)? {
            wanted.push(class.to_owned());
        }
    }
    Ok(wanted)
}

fn line(finding: &Finding) -> String {
    let place = match &finding.volume {
        Some(volume) => format!("volume {volume:?}"),
        None => "location".to_owned(),
    };
    let fault = &finding.fault;
    match &finding.remedy {
        Some(Remedy { action, .. }) if finding.repaired => {
            format!("{place}: {fault}; repaired: {action}")
        }
        Some(Remedy { class, action, .. }) => {
            format!("{place}: {fault}; --repair={class} would: {action}")
        }
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
            remedy: remedy.map(|action| Remedy::new("devices", action)),
            repaired,
        };
        for (finding, text) in [
            (
                finding(Some("remove it"), false),
                "volume \"a\": fault; --repair=devices would: remove it",
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
