// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl drivers [TYPE]`.
//!
//! The list comes from notes in the drivers' files; only a driver asked for by its type is loaded.

use mosaic_core::driver::is_type_name;
use mosaic_core::loader::{self, InstalledDriver};
use mosaic_core::{Error, ErrorKind, Key, KeyKind};
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
/// Where a driver is asked for, `Invalid` if the word can be no type, `NotFound` if there is no such
/// driver, else the loader's.
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
    let loaded = loader::load(&context.search(), driver_type)
        .map_err(|error| without_config(error, driver_type))?;
    let module = &loaded.module;
    let keys = module.schema()?;
    let driver = LoadedJson {
        type_name: module.type_name().to_owned(),
        aliases: module.aliases().into_iter().map(str::to_owned).collect(),
        driver_version: module.version().to_owned(),
        abi: loaded.abi.clone(),
        description: module.description().to_owned(),
        file: json::path(&loaded.file),
        keys: keys.iter().map(Into::into).collect(),
    };
    let mut table = Table::new(&["KEY", "TYPE", "DEFAULT", "MEANING"]);
    for key in &keys {
        let kind = kind_text(&key.kind);
        let default = key.default.clone().unwrap_or_default();
        table.row([key.path.clone(), kind, default, key.help.clone()]);
    }
    let mut report = Report::new(DriverJson {
        action: "drivers",
        driver,
    })
    .line(format!("type: {}", module.type_name()))
    .line(format!("description: {}", module.description()))
    .line(format!("version: {}", module.version()))
    .line(format!("abi: {}", loaded.abi))
    .line(format!("file: {}", loaded.file.display()));
    if !module.aliases().is_empty() {
        report = report.line(format!("also: {}", module.aliases().join(" ")));
    }
    if keys.is_empty() {
        return Ok(report.line("keys: none of its own"));
    }
    Ok(report.text("\n").text(&context.table(&table)))
}

/// The loader takes a type for that of a config file, which would be at fault then.
fn without_config(error: Error, driver_type: &str) -> Error {
    match error.kind() {
        ErrorKind::Config if is_type_name(driver_type) => error.with_kind(ErrorKind::NotFound),
        ErrorKind::Config => error.with_kind(ErrorKind::Invalid),
        _ => error,
    }
}

impl From<&Key> for KeyJson {
    fn from(key: &Key) -> Self {
        let choices = match &key.kind {
            KeyKind::Choice(words) => words.clone(),
            _ => Vec::new(),
        };
        Self {
            key: key.path.clone(),
            kind: kind_word(&key.kind),
            choices,
            default: key.default.clone(),
            help: key.help.clone(),
        }
    }
}

fn kind_word(kind: &KeyKind) -> &'static str {
    match kind {
        KeyKind::Text => "text",
        KeyKind::Path => "path",
        KeyKind::Size => "size",
        KeyKind::Integer => "integer",
        KeyKind::Flag => "flag",
        KeyKind::Choice(_) => "choice",
    }
}

fn kind_text(kind: &KeyKind) -> String {
    match kind {
        KeyKind::Flag => "true|false".to_owned(),
        KeyKind::Choice(words) => words.join("|"),
        other => kind_word(other).to_owned(),
    }
}
