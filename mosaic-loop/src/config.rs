// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver's configuration. It has no keys of its own: the common ones say everything.

use std::path::PathBuf;

use mosaic_core::fs::FsType;
use mosaic_core::{Error, Result, Settings};

/// The file system of new volumes, and of historic ones without a label, if the config names none.
const DEFAULT_FS: &str = "ext4";

/// What the config says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The directory that holds the images.
    pub location: PathBuf,
    /// File system of volumes for which none is said.
    pub default_fs: FsType,
    /// The metadata folder, relative to the location: no volumes in it.
    pub metadata: Option<PathBuf>,
}

impl Options {
    /// Checks the settings.
    ///
    /// # Errors
    /// `Config` if `default_fs` is no name of a file system.
    pub fn new(settings: &Settings) -> Result<Self> {
        let default_fs = settings.default_fs.as_deref().unwrap_or(DEFAULT_FS);
        let default_fs = FsType::parse(default_fs)
            .map_err(|error| Error::config("default_fs", error.to_string()))?;
        Ok(Self {
            location: settings.location.clone(),
            default_fs,
            metadata: settings.layout_fs.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mosaic_core::ErrorKind;

    #[test]
    fn ext4_unless_said_otherwise() {
        let mut settings = Settings::new("/srv/img");
        assert_eq!(Options::new(&settings).unwrap().default_fs.name(), "ext4");
        settings.default_fs = Some("xfs".into());
        assert_eq!(Options::new(&settings).unwrap().default_fs.name(), "xfs");
        settings.default_fs = Some("../sh".into());
        let error = Options::new(&settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.key(), Some("default_fs"));
    }
}
