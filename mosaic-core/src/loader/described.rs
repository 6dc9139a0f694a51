// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a driver says of itself once it is loaded.

use std::path::PathBuf;

use super::{SearchPath, load};
use crate::driver::is_type_name;
use crate::error::{Error, ErrorKind, Result};
use crate::settings::Key;

/// A driver that was asked for by its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedDriver {
    /// Its type.
    pub type_name: String,
    /// Other types under which it may be asked for.
    pub aliases: Vec<String>,
    /// The driver package's version.
    pub version: String,
    /// The ABI version that it was built with.
    pub abi: String,
    /// One line.
    pub description: String,
    /// The file.
    pub file: PathBuf,
    /// The config keys of its own.
    pub keys: Vec<Key>,
}

/// Loads the driver of a type, and lets it say what it is.
///
/// # Errors
/// `Invalid` if the word can be no type, `NotFound` if there is no such driver, else those of
/// [`load`].
pub fn describe(search: &SearchPath, type_name: &str) -> Result<DescribedDriver> {
    let loaded = load(search, type_name).map_err(|error| without_config(error, type_name))?;
    let module = &loaded.module;
    Ok(DescribedDriver {
        type_name: module.type_name().to_owned(),
        aliases: module.aliases().into_iter().map(str::to_owned).collect(),
        version: module.version().to_owned(),
        description: module.description().to_owned(),
        keys: module.schema()?,
        abi: loaded.abi,
        file: loaded.file,
    })
}

/// The loader takes a type for that of a config file, which would be at fault then.
fn without_config(error: Error, type_name: &str) -> Error {
    match error.kind() {
        ErrorKind::Config if is_type_name(type_name) => error.with_kind(ErrorKind::NotFound),
        ErrorKind::Config => error.with_kind(ErrorKind::Invalid),
        _ => error,
    }
}
