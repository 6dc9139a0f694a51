// SPDX-License-Identifier: MIT OR Apache-2.0
//! Config files: which one, what is in it, what is wrong with it.
//!
//! [`find`] goes from a mosaic's name to a file, [`load`] reads it as far as the driver's type,
//! [`Draft::check`] reads the rest once the driver has said which keys it knows. A file is YAML of
//! at most 64 KiB. All its faults are told at once, each as `FILE:LINE: what`.
//!
//! There are two readers. The values come from the first (`values`); the second (`marks`) finds
//! lines, and runs only when there is a fault to show.

mod bound;
mod draft;
mod fault;
mod keys;
mod marks;
mod posix_regex;
mod read;
mod schema;
mod search;
mod suggest;
mod value;
mod values;
mod volume_map;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use draft::{Draft, load};
pub use keys::{MOSAIC_KEYS, MosaicKey};
pub use search::{ConfigFile, find, list};
pub use volume_map::VolumeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::name::VolumeName;
use crate::settings::Settings;

/// What a config file says, checked against the driver's schema.
#[derive(Debug)]
pub struct Config {
    /// The mosaic's name.
    pub name: String,
    /// The config file.
    pub path: PathBuf,
    /// The `type` key as it is written; it may be a driver's alias.
    pub driver_type: String,
    /// What the driver is opened with.
    pub settings: Settings,
    /// The `volumeMap` key.
    pub volume_map: Option<VolumeMap>,
    /// The `mount_options` key: options of every mount, before those of the command.
    pub mount_options: Option<String>,
    /// The file's text, to find the line of a fault that the driver names later.
    text: String,
}

impl Config {
    /// A volume's two names from the one that the user says.
    ///
    /// # Errors
    /// `Invalid` if either name breaks a rule of [`VolumeName`], if the volume map does not match,
    /// or if the stored name is `layout.fs`, above it or beneath it.
    pub fn volume_name(&self, user: &str) -> Result<VolumeName> {
        let mut name = VolumeName::parse(user)?;
        if let Some(map) = &self.volume_map {
            name = VolumeName::with_stored(user, &map.map(user)?)?;
        }
        if let Some(metadata) = self.metadata_path()
            && overlaps(name.stored(), metadata)
        {
            let mut what = format!("volume name {user:?}");
            if name.stored() != user {
                what += &format!(", stored as {:?},", name.stored());
            }
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{what} is, holds or is in the metadata {metadata:?} (layout.fs)"),
            ));
        }
        Ok(name)
    }

    /// The name under which a stored volume is shown: the user's, which stays with the volume, if
    /// the map still makes the stored one of it; else the stored one. Of a volume whose rename has
    /// not come to its end `user` has two names, one in a line.
    pub fn shown_name(&self, stored: &str, user: Option<&str>) -> String {
        let is_current = |user: &&str| {
            self.volume_name(user)
                .is_ok_and(|name| name.stored() == stored)
        };
        let mut users = user.into_iter().flat_map(str::lines);
        users.find(is_current).unwrap_or(stored).to_owned()
    }

    /// Puts `FILE:LINE` before an error that names a config key; others stay as they are.
    ///
    /// A key that the file does not have (its default is at fault) is shown at the mapping around
    /// it, else at `type`.
    #[must_use]
    pub fn at_line(&self, error: Error) -> Error {
        let Some(key) = error.key() else {
            return error;
        };
        let place = fault::place(&self.path, draft::line_of_key(&self.text, key));
        if error.chain().contains(key) {
            error.context(place)
        } else {
            let key = format!("{place}: {key:?}");
            error.context(key)
        }
    }

    fn metadata_path(&self) -> Option<&str> {
        self.settings.layout_fs.as_ref()?.to_str()
    }
}

/// Whether one path is the other or above it.
fn overlaps(a: &str, b: &str) -> bool {
    let is_above = |a: &str, b: &str| b.strip_prefix(a).is_some_and(|rest| rest.starts_with('/'));
    a == b || is_above(a, b) || is_above(b, a)
}
