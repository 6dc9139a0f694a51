// SPDX-License-Identifier: MIT OR Apache-2.0
//! The known keys, and the reading of a document against them.
//!
//! Mosaic's own keys and the driver's are one set here: a dotted path is a key of a nested mapping.

use std::collections::{BTreeMap, HashMap};

use super::fault::Fault;
use super::keys::MOSAIC_KEYS;
use super::suggest;
use super::value;
use super::values::{Entry, Node, quoted};
use crate::error::{Error, ErrorKind, Result};
use crate::settings::{Key, KeyKind};

/// Refuses a driver's schema that cannot be told apart from Mosaic's keys or from itself.
///
/// # Errors
/// `Unsupported`: the driver is at fault, not the file.
pub(super) fn check_schema(schema: &[Key]) -> Result<()> {
    let own = MOSAIC_KEYS.iter().map(|key| key.path);
    let mut paths: Vec<&str> = own
        .chain(schema.iter().map(|key| key.path.as_str()))
        .collect();
    paths.sort_unstable();
    for path in &paths {
        let inside = format!("{path}.");
        let same = paths.iter().filter(|other| *other == path).count() > 1;
        if same || paths.iter().any(|other| other.starts_with(&inside)) || path.is_empty() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the driver declares config key {path:?} in two ways or over Mosaic's own"),
            ));
        }
    }
    Ok(())
}

/// A value that passed: in canonical text, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub text: String,
    pub at: Vec<usize>,
}

/// What a document gave.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// By dotted path.
    pub values: BTreeMap<String, Value>,
    pub faults: Vec<Fault>,
    /// Known keys that are there with a fault, or that an unknown one was taken for: that they are
    /// missing is no news then.
    meant: Vec<String>,
}

impl Reading {
    /// Notes a key that must be there and is not.
    pub(super) fn require(&mut self, path: &str) {
        if !self.values.contains_key(path) && !self.meant.iter().any(|meant| meant == path) {
            let what = format!("missing key {path:?}");
            self.faults.push(Fault::new(&[], what));
        }
    }

    /// Takes a value away that makes no sense: `why` continues the key's name.
    pub(super) fn refuse(&mut self, path: &str, why: &str) {
        if let Some(value) = self.values.remove(path) {
            self.bad_value(path, &value.at, why);
        }
    }

    fn bad_value(&mut self, path: &str, at: &[usize], why: &str) {
        self.faults.push(Fault::new(at, format!("{path:?} {why}")));
        self.meant.push(path.to_owned());
    }
}

/// The known keys of one config file.
#[derive(Debug)]
pub(super) struct Schema<'a> {
    known: Vec<(&'a str, &'a KeyKind)>,
    /// Whether the driver's keys are among them.
    complete: bool,
    folder: &'a str,
}

impl<'a> Schema<'a> {
    /// With the driver's keys, or without if they cannot be known. `folder`: the config file's.
    pub(super) fn new(driver: Option<&'a [Key]>, folder: &'a str) -> Self {
        let mosaic = MOSAIC_KEYS.iter().map(|key| (key.path, &KeyKind::Text));
        let others = driver.unwrap_or_default().iter();
        Self {
            known: mosaic
                .chain(others.map(|key| (key.path.as_str(), &key.kind)))
                .collect(),
            complete: driver.is_some(),
            folder,
        }
    }

    /// Reads a document's entries.
    pub(super) fn read(&self, entries: &[Entry]) -> Reading {
        let mut reading = Reading::default();
        self.mapping(&mut reading, &Place::default(), entries);
        reading
    }

    fn mapping(&self, reading: &mut Reading, outer: &Place, entries: &[Entry]) {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            let Node::Text(key) = &entry.key else {
                let what = format!("a key must be a text, not {}", entry.key);
                reading.faults.push(Fault::new(&outer.entry(index), what));
                continue;
            };
            let place = outer.inner(key, index);
            match seen.insert(key, index) {
                None => self.entry(reading, outer, key, place, &entry.value),
                Some(first) => {
                    seen.insert(key, first);
                    reading.faults.push(Fault {
                        repeats: Some(outer.entry(first)),
                        ..Fault::new(&place.at, format!("{} is repeated", quoted(&place.path)))
                    });
                }
            }
        }
    }

    fn entry(&self, reading: &mut Reading, outer: &Place, key: &str, place: Place, node: &Node) {
        let Place { path, at } = &place;
        // A dot in a key is a dot: nested keys are written nested.
        let kind = match self.known.iter().find(|(known, _)| known == path) {
            Some((_, kind)) if !key.contains('.') => Some(kind),
            _ => None,
        };
        if let Some(kind) = kind {
            match value::canonical(kind, node, self.folder) {
                Ok(text) => {
                    let at = place.at;
                    reading.values.insert(place.path, Value { text, at });
                }
                Err(why) => reading.bad_value(path, at, &why),
            }
        } else if !key.contains('.') && !self.keys_in(&place).is_empty() {
            match node {
                Node::Mapping(entries) => self.mapping(reading, &place, entries),
                other => {
                    let keys = self.keys_in(&place).join(", ");
                    let why = format!("must be a mapping with keys of {keys}, not {other}");
                    reading.bad_value(path, at, &why);
                }
            }
        } else {
            self.unknown(reading, outer, key, &place);
        }
    }

    /// The known keys that a mapping can have, dotted paths cut to the next dot.
    fn keys_in(&self, place: &Place) -> Vec<&'a str> {
        let prefix = place.prefix();
        let tails = self
            .known
            .iter()
            .filter_map(|(known, _)| known.strip_prefix(&prefix));
        let mut keys: Vec<&str> = tails.filter_map(|tail| tail.split('.').next()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn unknown(&self, reading: &mut Reading, outer: &Place, key: &str, place: &Place) {
        let keys = self.keys_in(outer);
        let written_flat = self.known.iter().find(|(known, _)| *known == place.path);
        let meant = written_flat
            .map(|(known, _)| (*known).to_owned())
            .or_else(|| {
                let near = suggest::nearest(key, keys.iter().copied())?;
                Some(outer.prefix() + near)
            })
            .or_else(|| self.elsewhere(key));
        let hint = match &meant {
            Some(meant) if *meant == place.path => {
                format!("write it nested: {}", nested(meant))
            }
            Some(meant) => format!("did you mean {meant}?"),
            // The driver might know it.
            None if !self.complete => return,
            None => format!("known keys: {}", keys.join(", ")),
        };
        let what = format!("unknown key {} ({hint})", quoted(&place.path));
        reading.faults.push(Fault::new(&place.at, what));
        reading.meant.extend(meant);
    }

    /// A known key of this name in another mapping.
    fn elsewhere(&self, key: &str) -> Option<String> {
        let inside = format!(".{key}");
        let paths = self.known.iter().map(|(known, _)| *known);
        let mut same = paths.filter(|known| *known == key || known.ends_with(&inside));
        same.next().map(str::to_owned)
    }
}

/// `layout.fs` as it is written in a file: `layout: {fs: ...}`.
fn nested(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    parts.join(": {") + ": ..." + &"}".repeat(parts.len() - 1)
}

/// Where an entry is, in both ways of saying it.
#[derive(Debug, Default)]
struct Place {
    /// Dotted path; empty: the document.
    path: String,
    /// Index path.
    at: Vec<usize>,
}

impl Place {
    fn prefix(&self) -> String {
        match self.path.as_str() {
            "" => String::new(),
            path => format!("{path}."),
        }
    }

    fn entry(&self, index: usize) -> Vec<usize> {
        [self.at.as_slice(), &[index]].concat()
    }

    fn inner(&self, key: &str, index: usize) -> Self {
        Self {
            path: self.prefix() + key,
            at: self.entry(index),
        }
    }
}
