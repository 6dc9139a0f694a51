// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a driver is configured with: the keys that it declares, the values that it gets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::size::Bytes;

/// What a config value may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyKind {
    /// Any text.
    Text,
    /// A path; a relative one is relative to the config file's folder.
    Path,
    /// A size: `64M`.
    Size,
    /// A whole number, zero or more.
    Integer,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(Vec<String>),
}

impl KeyKind {
    /// One of these words.
    pub fn choice(words: &[&str]) -> Self {
        Self::Choice(words.iter().map(|w| (*w).to_owned()).collect())
    }

    /// The word for it in what programs read.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Path => "path",
            Self::Size => "size",
            Self::Integer => "integer",
            Self::Flag => "flag",
            Self::Choice(_) => "choice",
        }
    }

    /// The words that can be given; empty: they are no list.
    pub fn choices(&self) -> &[String] {
        match self {
            Self::Choice(words) => words,
            _ => &[],
        }
    }
}

/// A key of a driver's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Dotted path: `quota`, `pool.data`.
    pub path: String,
    /// What its value may be.
    pub kind: KeyKind,
    /// What holds when it is absent.
    pub default: Option<String>,
    /// One line of documentation.
    pub help: String,
}

/// The configuration that a driver is opened with. The host has checked it against the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The `location` key, taken for a path: a relative one is beneath the config file's folder.
    /// A driver to which it is something else has it as it is written in `text("location")`.
    pub location: PathBuf,
    /// The `default_fs` key.
    pub default_fs: Option<String>,
    /// The `layout.fs` key: where the metadata is, relative to the location.
    pub layout_fs: Option<PathBuf>,
    /// Number of components of a stored name, for drivers to which a folder is a volume: what the
    /// volume map gives, else 1.
    pub depth: u32,
    /// Whether a volume map is configured.
    pub mapped: bool,
    values: BTreeMap<String, String>,
}

impl Settings {
    /// Settings without keys of the driver's own.
    pub fn new(location: impl Into<PathBuf>) -> Self {
        Self {
            location: location.into(),
            default_fs: None,
            layout_fs: None,
            depth: 1,
            mapped: false,
            values: BTreeMap::new(),
        }
    }

    /// The location as people know it: a word that leads to nothing as a path is the driver's own name
    /// for it, such as that of a pool.
    pub fn shown_location(&self) -> PathBuf {
        let word = self.text("location").filter(|text| !text.contains('/'));
        match word {
            Some(word) if self.location.symlink_metadata().is_err() => PathBuf::from(word),
            _ => self.location.clone(),
        }
    }

    /// Sets a value of the driver's own, in the form in which [`Settings::text`] gives it.
    pub fn set(&mut self, path: impl Into<String>, value: impl Into<String>) {
        self.values.insert(path.into(), value.into());
    }

    /// The driver's own values by dotted path.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// A text, a path or a choice; `None`: absent and without default.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.values.get(path).map(String::as_str)
    }

    /// A path.
    pub fn path(&self, path: &str) -> Option<&Path> {
        self.text(path).map(Path::new)
    }

    /// A flag; absent is false.
    pub fn flag(&self, path: &str) -> bool {
        self.text(path) == Some("true")
    }

    /// A size.
    ///
    /// # Errors
    /// `Config` if the value is no size: the key is not declared as one.
    pub fn size(&self, path: &str) -> Result<Option<Bytes>> {
        self.parsed(path, "a size")
    }

    /// A whole number.
    ///
    /// # Errors
    /// `Config` if the value is none: the key is not declared as one.
    pub fn integer(&self, path: &str) -> Result<Option<u64>> {
        self.parsed(path, "a whole number")
    }

    fn parsed<T: std::str::FromStr>(&self, path: &str, what: &str) -> Result<Option<T>> {
        self.text(path)
            .map(|text| {
                text.parse()
                    .map_err(|_| Error::config(path, format!("{text:?} is not {what}")))
            })
            .transpose()
    }
}
