// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl MOSAIC info [V]`.

use std::ffi::OsStr;

use mosaic_core::mosaic::{Mosaic, MosaicInfo, VolumeInfo};
use mosaic_core::volume::{Capability, Kind};
use serde::Serialize;

use super::Context;
use crate::cli::Info;
use crate::output::json::{self, CapabilityJson, FactsJson, SpaceJson, VolumeJson};
use crate::output::{Report, words};

#[derive(Serialize)]
struct MosaicJson<'a> {
    action: &'static str,
    mosaic: &'a str,
    config: String,
    #[serde(rename = "type")]
    driver_type: &'a str,
    driver_version: &'a str,
    driver_abi: &'a str,
    driver_file: String,
    location: String,
    default_fs: Option<&'a str>,
    metadata: Option<String>,
    metadata_mounted: Vec<String>,
    space: Vec<SpaceJson>,
    notes: &'a [String],
    facts: FactsJson<'a>,
    features: Vec<CapabilityJson>,
}

#[derive(Serialize)]
struct VolumeInfoJson<'a> {
    action: &'static str,
    mosaic: &'a str,
    volume: VolumeJson<'a>,
    features: Vec<CapabilityJson>,
}

/// Shows a mosaic or a volume.
///
/// # Errors
/// The core's.
pub fn run(context: &Context, mosaic: &OsStr, arguments: &Info) -> anyhow::Result<Report> {
    let mosaic = Mosaic::open(&context.environment(), mosaic)?;
    match &arguments.volume {
        None => Ok(of_mosaic(&mosaic.info()?)),
        Some(volume) => {
            let (info, capabilities) = mosaic.volume_info(volume)?;
            Ok(of_volume(&mosaic, &info, &capabilities))
        }
    }
}

fn of_mosaic(info: &MosaicInfo) -> Report {
    let metadata = info.layout_fs.as_deref().map(json::path);
    let metadata_mounted: Vec<_> = info
        .metadata_mounted
        .iter()
        .map(|p| json::path(p))
        .collect();
    let mut report = Report::new(MosaicJson {
        action: "info",
        mosaic: &info.name,
        config: json::path(&info.config),
        driver_type: &info.driver,
        driver_version: &info.driver_version,
        driver_abi: &info.driver_abi,
        driver_file: json::path(&info.driver_file),
        location: json::path(&info.location),
        default_fs: info.default_fs.as_deref(),
        metadata: metadata.clone(),
        metadata_mounted: metadata_mounted.clone(),
        space: info.space.iter().map(Into::into).collect(),
        notes: &info.about.notes,
        facts: json::facts(&info.about.facts),
        features: info.capabilities.iter().map(Into::into).collect(),
    })
    .line(format!("name: {}", info.name))
    .line(format!("config: {}", info.config.display()))
    .line(format!("type: {}", info.driver))
    .line(format!(
        "driver: version {}, ABI {}, {}",
        info.driver_version,
        info.driver_abi,
        info.driver_file.display()
    ))
    .line(format!("location: {}", info.location.display()));
    if let Some(fs) = &info.default_fs {
        report = report.line(format!("default_fs: {fs}"));
    }
    if let Some(metadata) = metadata {
        report = report.line(format!("metadata: {metadata}"));
    }
    for path in metadata_mounted {
        report = report.line(format!("metadata mounted: {path}"));
    }
    for space in &info.space {
        let (class, total, used, free) = (&space.class, space.total, space.used, space.free);
        report = report.line(format!("space: {class}: {total}, used {used}, free {free}"));
    }
    for (key, value) in &info.about.facts {
        report = report.line(format!("{key}: {value}"));
    }
    for note in &info.about.notes {
        report = report.line(format!("note: {note}"));
    }
    with_features(report, &info.capabilities)
}

fn of_volume(mosaic: &Mosaic, info: &VolumeInfo, capabilities: &[Capability]) -> Report {
    let report = Report::new(VolumeInfoJson {
        action: "info",
        mosaic: &mosaic.config().name,
        volume: info.into(),
        features: capabilities.iter().map(Into::into).collect(),
    });
    let report = lines(info).iter().fold(report, Report::line);
    with_features(report, capabilities)
}

fn with_features(report: Report, capabilities: &[Capability]) -> Report {
    words::features(capabilities)
        .iter()
        .fold(report, Report::line)
}

fn lines(info: &VolumeInfo) -> Vec<String> {
    let volume = &info.volume;
    let mut lines = vec![format!("name: {}", info.name)];
    let mut add = |key: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("{key}: {value}")));
    };
    add(
        "stored as",
        (volume.stored != info.name).then(|| volume.stored.clone()),
    );
    add("kind", Some(words::kind(&volume.kind).to_owned()));
    if let Kind::Fs {
        fs: Some(fs),
        assumed: true,
    } = &volume.kind
    {
        let why = "assumed, as the volume does not say";
        add("file system", Some(format!("{fs} ({why})")));
    }
    let limit = volume
        .size
        .map_or_else(|| "no limit".to_owned(), words::size);
    add("size", Some(limit));
    let used = volume
        .used
        .map_or_else(|| "unknown".to_owned(), words::size);
    add("used", Some(used));
    add("exclusive", volume.exclusive.map(words::size));
    add("origin", info.origin.clone());
    add("read-only", volume.read_only.then(|| "yes".to_owned()));
    add("state", Some(info.state().to_owned()));
    add("device", volume.attachment.as_ref().map(words::attachment));
    for path in &info.mounted {
        add("mounted", Some(json::path(path)));
    }
    for (key, value) in &volume.facts {
        add(key, Some(value.clone()));
    }
    for note in &volume.notes {
        add("note", Some(note.clone()));
    }
    lines
}
