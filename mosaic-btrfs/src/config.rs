// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver's configuration.

use std::path::PathBuf;

use mosaic_core::{Error, Key, KeyKind, Result, Settings};

/// The key that says what quotas are used for.
const QUOTA: &str = "quota";

/// What to do about sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaUse {
    /// Enforce them where the file system has quotas on.
    Auto,
    /// Make no volume whose size is not enforced.
    Required,
    /// Leave quotas alone.
    Off,
}

/// What the config says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The directory that holds the subvolumes.
    pub location: PathBuf,
    /// The metadata folder, relative to the location: no volumes in it.
    pub metadata: Option<PathBuf>,
    /// Number of components of a stored name.
    pub depth: u32,
    /// Whether a volume map is configured.
    pub mapped: bool,
    /// What to do about sizes.
    pub quota: QuotaUse,
}

/// The driver's own keys.
pub fn schema() -> Vec<Key> {
    vec![Key {
        path: QUOTA.to_owned(),
        kind: KeyKind::choice(&["auto", "required", "off"]),
        default: Some("auto".to_owned()),
        help: "whether sizes are enforced: where the file system has quotas on, always (else \
               volumes are refused), never"
            .to_owned(),
    }]
}

impl Options {
    /// Checks the settings.
    ///
    /// # Errors
    /// `Config` if `default_fs` is another one than `btrfs`.
    pub fn new(settings: &Settings) -> Result<Self> {
        match settings.default_fs.as_deref() {
            None | Some("btrfs") => {}
            Some(other) => {
                let why = format!(
                    "{other:?} is not possible: volumes are subvolumes of the location's btrfs"
                );
                return Err(Error::config("default_fs", why));
            }
        }
        Ok(Self {
            location: settings.location.clone(),
            metadata: settings.layout_fs.clone(),
            depth: settings.depth,
            mapped: settings.mapped,
            quota: match settings.text(QUOTA) {
                Some("required") => QuotaUse::Required,
                Some("off") => QuotaUse::Off,
                _ => QuotaUse::Auto,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mosaic_core::ErrorKind;

    #[test]
    fn the_manuals_have_the_keys_of_the_schema() {
        let config = include_str!("../../doc/config.md");
        let readme = include_str!("../README.md");
        for key in schema() {
            let KeyKind::Choice(words) = &key.kind else {
                panic!("{:?} is not described as a choice", key.path);
            };
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            let (path, default) = (&key.path, key.default.unwrap_or_default());
            let row = format!(
                "| `{path}` | one of {} | `{default}` | {} |\n",
                words.join(", "),
                key.help
            );
            assert!(config.contains(&row), "doc/config.md should have:\n{row}");
            assert!(readme.contains(&row), "README.md should have:\n{row}");
        }
    }

    #[test]
    fn another_file_system_is_a_fault_of_the_config() {
        let mut settings = Settings::new("/srv/ct");
        assert_eq!(Options::new(&settings).unwrap().quota, QuotaUse::Auto);
        settings.default_fs = Some("btrfs".into());
        settings.set("quota", "required");
        assert_eq!(Options::new(&settings).unwrap().quota, QuotaUse::Required);
        settings.default_fs = Some("ext4".into());
        let error = Options::new(&settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.key(), Some("default_fs"));
    }
}
