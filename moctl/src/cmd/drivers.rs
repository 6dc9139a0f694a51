// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl drivers [TYPE]`.
//!
//! The list comes from notes in the drivers' files; only a driver asked for by its type is loaded.

use mosaic_core::loader::{self, DescribedDriver, InstalledDriver};
use mosaic_core::{Key, KeyKind};
use serde::Serialize;

use super::Context;
use crate::output::table::Table;
use crate::output::{Report, json};

#[derive(Serialize)]
struct DriversJson {
    action: &'static str,
    drivers: Vec<InstalledJson>,
}

#[derive(Serialize)]
struct InstalledJson {
    #[serde(rename = "type")]
    type_name: String,
    aliases: Vec<String>,
    driver_version: String,
    abi: String,
    description: String,
    file: String,
    refusal: Option<String>,
}

#[derive(Serialize)]
struct DriverJson {
    action: &'static str,
    driver: LoadedJson,
}

#[derive(Serialize)]
struct LoadedJson {
    #[serde(rename = "type")]
    type_name: String,
    aliases: Vec<String>,
    driver_version: String,
    abi: String,
    description: String,
    file: String,
    keys: Vec<KeyJson>,
}

#[derive(Serialize)]
struct KeyJson {
    key: String,
    #[serde(rename = "type")]
    kind: &'static str,
    choices: Vec<String>,
    default: Option<String>,
    help: String,
}

/// Lists the installed drivers, or shows one and its config keys.
///
/// # Errors
/// The loader's, where a driver is asked for.
pub fn run(context: &Context, driver_type: Option<&str>) -> anyhow::Result<Report> {
    match driver_type {
        None => Ok(list(context)),
        Some(driver_type) => show(context, driver_type),
    }
}

fn list(context: &Context) -> Report {
    let installed = loader::installed(&context.search());
    let mut table = Table::new(&["TYPE", "VERSION", "ABI", "FILE", "STATUS"]);
    for driver in &installed {
        table.row([
            driver.type_name.clone(),
            driver.version.clone(),
            driver.abi.clone(),
            json::path(&driver.file),
            driver.refusal.clone().unwrap_or_else(|| "ok".to_owned()),
        ]);
    }
    let text = context.table(&table);
    let fields = DriversJson {
        action: "drivers",
        drivers: installed.into_iter().map(Into::into).collect(),
    };
    Report::new(fields).text(&text)
}

impl From<InstalledDriver> for InstalledJson {
    fn from(driver: InstalledDriver) -> Self {
        Self {
            file: json::path(&driver.file),
            type_name: driver.type_name,
            aliases: driver.aliases,
            driver_version: driver.version,
            abi: driver.abi,
            description: driver.description,
            refusal: driver.refusal,
        }
    }
}

fn show(context: &Context, driver_type: &str) -> anyhow::Result<Report> {
    let driver = loader::describe(&context.search(), driver_type)?;
    let mut table = Table::new(&["KEY", "TYPE", "DEFAULT", "MEANING"]);
    for key in &driver.keys {
        let kind = kind_text(&key.kind);
        let default = key.default.clone().unwrap_or_default();
        table.row([key.path.clone(), kind, default, key.help.clone()]);
    }
    let mut report = Report::new(DriverJson {
        action: "drivers",
        driver: (&driver).into(),
    })
    .line(format!("type: {}", driver.type_name))
    .line(format!("description: {}", driver.description))
    .line(format!("version: {}", driver.version))
    .line(format!("abi: {}", driver.abi))
    .line(format!("file: {}", driver.file.display()));
    if !driver.aliases.is_empty() {
        report = report.line(format!("also: {}", driver.aliases.join(" ")));
    }
    if driver.keys.is_empty() {
        return Ok(report.line("keys: none of its own"));
    }
    Ok(report.text("\n").text(&context.table(&table)))
}

impl From<&DescribedDriver> for LoadedJson {
    fn from(driver: &DescribedDriver) -> Self {
        Self {
            type_name: driver.type_name.clone(),
            aliases: driver.aliases.clone(),
            driver_version: driver.version.clone(),
            abi: driver.abi.clone(),
            description: driver.description.clone(),
            file: json::path(&driver.file),
            keys: driver.keys.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Key> for KeyJson {
    fn from(key: &Key) -> Self {
        Self {
            key: key.path.clone(),
            kind: key.kind.name(),
            choices: key.kind.choices().to_vec(),
            default: key.default.clone(),
            help: key.help.clone(),
        }
    }
}

fn kind_text(kind: &KeyKind) -> String {
    match kind {
        KeyKind::Flag => "true|false".to_owned(),
        KeyKind::Choice(words) => words.join("|"),
        other => other.name().to_owned(),
    }
}
