// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a config file to a [`Config`], in two steps.
//!
//! The driver's keys are known only after the driver was loaded, and which driver that is stands in
//! the file. So faults wait in the draft until the schema is there, and all are told at once.

use std::path::PathBuf;

use super::fault::{self, Fault};
use super::marks::Marks;
use super::schema::{Reading, Schema, check_schema};
use super::search::ConfigFile;
use super::value;
use super::values::{self, Entry, Node, Unreadable, quoted};
use super::volume_map::VolumeMap;
use super::{Config, read};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::fs::FsType;
use crate::mounts::MountOptions;
use crate::settings::{Key, Settings};

/// Most bytes of a driver's type.
const TYPE_MAX: usize = 32;

/// Reads a config file as far as it can be read without its driver.
///
/// # Errors
/// `Config` if it is no readable document or has no usable `type`: with all faults that can be
/// seen without the driver. `NotFound`, `Permission` and what else the kernel says.
pub fn load(file: &ConfigFile) -> Result<Draft> {
    let text = read::text(&file.path)?;
    let entries = document(file, &text)?;
    // Resolved, so that a `..` before a relative path can be taken away with what it takes away.
    let folder = std::path::absolute(&file.path)
        .and_then(|file| file.parent().unwrap_or(&file).canonicalize())
        .context(|| format!("cannot find the folder of {:?}", file.path))?;
    let Some(folder) = folder.to_str().map(str::to_owned) else {
        let what = format!("the folder of config file {:?} is not UTF-8", file.path);
        return Err(Error::new(ErrorKind::Config, what));
    };
    let mut draft = Draft {
        file: file.clone(),
        text,
        entries,
        folder,
        driver_type: String::new(),
    };
    let mut parts = draft.examine(None);
    match parts.reading.values.remove("type") {
        Some(value) => draft.driver_type = value.text,
        None => return Err(draft.refusal(&parts.reading.faults)),
    }
    Ok(draft)
}

/// The entries of the one mapping that a config file is.
fn document(file: &ConfigFile, text: &str) -> Result<Vec<Entry>> {
    let refused = |line: usize, what: &str| {
        let place = fault::place(&file.path, line);
        Error::new(ErrorKind::Config, format!("{place}: {what}"))
    };
    match values::read(text) {
        Ok(Node::Mapping(entries)) => Ok(entries),
        Ok(Node::Null) => Err(refused(
            1,
            "the document is empty; \"type\" and \"location\" are required",
        )),
        Ok(other) => {
            let what = format!("a config file is a mapping (KEY: VALUE), not {other}");
            Err(refused(Marks::read(text).line(&[]), &what))
        }
        Err(Unreadable::Syntax { line, what }) => {
            let line = line.unwrap_or_else(|| Marks::read(text).line(&[]));
            Err(refused(line, &format!("not valid YAML: {what}")))
        }
        Err(Unreadable::SecondDocument) => Err(refused(
            Marks::read(text).second_document(),
            "a second document starts here; a config file is one",
        )),
        Err(Unreadable::Expansion) => Err(refused(
            Marks::read(text).first_alias(),
            "aliases expand to too much; write the values out",
        )),
        Err(Unreadable::Brackets { line }) => Err(refused(
            line,
            "more [ and { than any config file has: nested too deep",
        )),
    }
}

/// The line of a key given by dotted path, or of what is nearest to it.
pub(super) fn line_of_key(text: &str, key: &str) -> usize {
    let Ok(Node::Mapping(entries)) = values::read(text) else {
        return 1;
    };
    let at = index_path(&entries, key);
    let at = if at.is_empty() {
        index_path(&entries, "type")
    } else {
        at
    };
    Marks::read(text).line(&at)
}

fn index_path(entries: &[Entry], key: &str) -> Vec<usize> {
    let mut at = Vec::new();
    let mut entries = entries;
    for part in key.split('.') {
        let is_part = |entry: &Entry| matches!(&entry.key, Node::Text(text) if text == part);
        let Some(index) = entries.iter().position(is_part) else {
            break;
        };
        at.push(index);
        entries = match entries.get(index).map(|entry| &entry.value) {
            Some(Node::Mapping(inner)) => inner,
            _ => &[],
        };
    }
    at
}

/// A config file of which the type is known, and the driver's keys are not yet.
#[derive(Debug)]
pub struct Draft {
    file: ConfigFile,
    text: String,
    entries: Vec<Entry>,
    /// The config file's folder, absolute and without links.
    folder: String,
    driver_type: String,
}

/// What an examination gave.
struct Parts {
    reading: Reading,
    layout_fs: Option<PathBuf>,
    volume_map: Option<VolumeMap>,
}

impl Draft {
    /// The `type` key: `[a-z][a-z0-9_-]{0,31}`, perhaps a driver's alias.
    pub fn driver_type(&self) -> &str {
        &self.driver_type
    }

    /// Checks everything against the driver's keys.
    ///
    /// # Errors
    /// `Config`, with all faults of the file, a line for each; `Unsupported` if the driver's schema
    /// contradicts itself.
    pub fn check(&self, schema: &[Key]) -> Result<Config> {
        check_schema(schema)?;
        let parts = self.examine(Some(schema));
        if !parts.reading.faults.is_empty() {
            return Err(self.refusal(&parts.reading.faults));
        }
        let text_of = |path: &str| {
            let value = parts.reading.values.get(path);
            value.map(|value| value.text.clone())
        };
        Ok(Config {
            name: self.file.name.clone(),
            path: self.file.path.clone(),
            driver_type: self.driver_type.clone(),
            settings: self.settings(&parts, schema)?,
            mount_options: text_of("mount_options"),
            volume_map: parts.volume_map,
            text: self.text.clone(),
        })
    }

    /// What to say when the driver cannot be loaded: why, at the line of `type`, and the file's
    /// other faults that can be seen without the driver's keys.
    pub fn faults_without_schema(&self, refused: Error) -> Error {
        let line = line_of_key(&self.text, "type");
        let faults = self.examine(None).reading.faults;
        if faults.is_empty() {
            return refused.context(fault::place(&self.file.path, line));
        }
        let at = index_path(&self.entries, "type");
        let first = Fault::new(&at, refused.chain());
        self.refusal(&[vec![first], faults].concat())
    }

    fn refusal(&self, faults: &[Fault]) -> Error {
        fault::error(&self.file.path, &self.text, faults)
    }

    fn examine(&self, driver: Option<&[Key]>) -> Parts {
        let mut reading = Schema::new(driver, &self.folder).read(&self.entries);
        reading.require("type");
        reading.require("location");
        check_value(&mut reading, "type", check_type);
        check_value(&mut reading, "location", |text| match text {
            "" => Err("is empty".to_owned()),
            _ => Ok(()),
        });
        check_value(&mut reading, "default_fs", check_fs);
        check_value(&mut reading, "mount_options", check_mount_options);
        let layout_fs = check_value(&mut reading, "layout.fs", layout_path);
        let volume_map = check_value(&mut reading, "volumeMap", VolumeMap::read);
        Parts {
            reading,
            layout_fs,
            volume_map,
        }
    }

    fn settings(&self, parts: &Parts, schema: &[Key]) -> Result<Settings> {
        let text_of = |path: &str| {
            let value = parts.reading.values.get(path);
            value.map(|value| value.text.as_str())
        };
        let location = text_of("location").unwrap_or_default();
        let absolute = value::absolute(location, &self.folder).unwrap_or_default();
        let mut settings = Settings::new(absolute);
        settings.set("location", location);
        settings.default_fs = text_of("default_fs").map(str::to_owned);
        settings.layout_fs.clone_from(&parts.layout_fs);
        settings.mapped = parts.volume_map.is_some();
        settings.depth = parts.volume_map.as_ref().map_or(1, VolumeMap::depth);
        for key in schema {
            match (text_of(&key.path), &key.default) {
                (Some(text), _) => settings.set(&key.path, text),
                (None, Some(default)) => settings.set(&key.path, self.default(key, default)?),
                (None, None) => {}
            }
        }
        Ok(settings)
    }

    fn default(&self, key: &Key, default: &str) -> Result<String> {
        value::canonical_text(&key.kind, default, &self.folder).map_err(|why| {
            let what = format!("the driver's default of config key {:?} {why}", key.path);
            Error::new(ErrorKind::Unsupported, what)
        })
    }
}

/// Runs a check on a value that is there; a failure becomes the key's fault.
fn check_value<T>(
    reading: &mut Reading,
    path: &str,
    check: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    let value = reading.values.get(path)?;
    match check(&value.text) {
        Ok(made) => Some(made),
        Err(why) => {
            reading.refuse(path, &why);
            None
        }
    }
}

fn check_type(text: &str) -> Result<(), String> {
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
    if starts && text.len() <= TYPE_MAX && text.chars().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "must be a lower case letter and up to {} of a to z, 0 to 9, _ and -, not {}",
        TYPE_MAX - 1,
        quoted(text)
    ))
}

fn check_fs(text: &str) -> Result<(), String> {
    let shown = quoted(text);
    FsType::parse(text)
        .map(drop)
        .map_err(|_| format!("must be letters a to z and digits, such as ext4, not {shown}"))
}

fn check_mount_options(text: &str) -> Result<(), String> {
    MountOptions::parse(text)
        .map(drop)
        .map_err(|error| format!("cannot be used: {error}"))
}

/// The path of the metadata, without needless slashes and dots.
fn layout_path(text: &str) -> Result<PathBuf, String> {
    let shown = quoted(text);
    if text.starts_with('/') {
        return Err(format!("{shown} leaves the location: it is absolute"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{shown} contains a control character"));
    }
    let parts = || {
        text.split('/')
            .filter(|part| !part.is_empty() && *part != ".")
    };
    if parts().any(|part| part == "..") {
        return Err(format!("{shown} leaves the location: it has a \"..\""));
    }
    match parts().next() {
        None => return Err(format!("{shown} is the location itself")),
        Some(first) if first.starts_with(".mosaic") => {
            return Err(format!(
                "{shown} is Mosaic's own: nothing else may be in .mosaic"
            ));
        }
        Some(_) => {}
    }
    Ok(parts().collect())
}
