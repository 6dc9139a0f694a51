// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver's configuration: how new disks are made.

use std::path::PathBuf;

use mosaic_core::fs::FsType;
use mosaic_core::{Bytes, Error, Key, KeyKind, Result, Settings};

use crate::format::disk::Kind;
use crate::format::header::Version;
use crate::format::units::ClusterSize;

/// The file system of new volumes, and of historic ones without a label, if the config names none.
const DEFAULT_FS: &str = "ext4";

const VERSION: &str = "version";
const CLUSTER_SIZE: &str = "cluster_size";
const PREALLOCATE: &str = "preallocate";
const PARTITION: &str = "partition";
const DEVICE: &str = "device";

/// What shows a disk that is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The kernel's ploop where it can, else a block server.
    Auto,
    /// A block server.
    Server,
    /// The kernel's ploop, or nothing.
    Kernel,
}

/// Where the file system of a new volume is on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// On the whole of it.
    None,
    /// On the first and only partition of a GPT, as `ploop init` does it.
    Gpt,
}

/// What the config says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The directory that holds the volumes' folders.
    pub location: PathBuf,
    /// File system of volumes for which none is said.
    pub default_fs: FsType,
    /// The metadata folder, relative to the location: no volumes in it.
    pub metadata: Option<PathBuf>,
    /// How the image of a new disk is made.
    pub kind: Kind,
    /// Allocation unit of new disks.
    pub cluster: ClusterSize,
    /// Where a new file system is put.
    pub partition: Partition,
    /// By what a disk is shown that is attached.
    pub device: Device,
}

/// The driver's own keys.
pub fn schema() -> Vec<Key> {
    let key = |path: &str, kind, default: &str, help: &str| Key {
        path: path.to_owned(),
        kind,
        default: Some(default.to_owned()),
        help: help.to_owned(),
    };
    vec![
        key(
            VERSION,
            KeyKind::choice(&["1", "2"]),
            "2",
            "format of new disks; 1 is for OpenVZ 6 and has disks of less than 2 TiB",
        ),
        key(
            CLUSTER_SIZE,
            KeyKind::Size,
            "1M",
            "what a new disk takes space by: a power of two from 32K to 64M",
        ),
        key(
            PREALLOCATE,
            KeyKind::Flag,
            "false",
            "whether a new disk takes all its space from the beginning",
        ),
        key(
            PARTITION,
            KeyKind::choice(&["none", "gpt"]),
            "none",
            "where a new file system is: on the whole disk, or on the first partition of a GPT as \
             `ploop init` makes it",
        ),
        key(
            DEVICE,
            KeyKind::choice(&["auto", "server", "kernel"]),
            "auto",
            "what `attach` shows a disk by: the kernel's ploop where there is one, else a block server; \
             or only one of them",
        ),
    ]
}

impl Options {
    /// Checks the settings.
    ///
    /// # Errors
    /// `Config` if `default_fs` is no name of a file system, or no disk can have such clusters.
    pub fn new(settings: &Settings) -> Result<Self> {
        let default_fs = settings.default_fs.as_deref().unwrap_or(DEFAULT_FS);
        let default_fs = FsType::parse(default_fs)
            .map_err(|error| Error::config("default_fs", error.to_string()))?;
        let version = match settings.text(VERSION) {
            Some("1") => Version::V1,
            _ => Version::V2,
        };
        let kind = match settings.flag(PREALLOCATE) {
            true => Kind::Preallocated(version),
            false => Kind::Expanded(version),
        };
        let cluster = match settings.size(CLUSTER_SIZE)? {
            Some(size) => cluster(size)?,
            None => ClusterSize::DEFAULT,
        };
        Ok(Self {
            location: settings.location.clone(),
            default_fs,
            metadata: settings.layout_fs.clone(),
            kind,
            cluster,
            partition: match settings.text(PARTITION) {
                Some("gpt") => Partition::Gpt,
                _ => Partition::None,
            },
            device: match settings.text(DEVICE) {
                Some("server") => Device::Server,
                Some("kernel") => Device::Kernel,
                _ => Device::Auto,
            },
        })
    }
}

fn cluster(size: Bytes) -> Result<ClusterSize> {
    let sectors = size.0.is_multiple_of(512).then_some(size.0 / 512);
    let cluster = sectors
        .and_then(|sectors| u32::try_from(sectors).ok())
        .and_then(ClusterSize::new);
    cluster.ok_or_else(|| {
        let why = format!("{size} is not a power of two from 32K to 64M");
        Error::config(CLUSTER_SIZE, why)
    })
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
            let value = match &key.kind {
                KeyKind::Size => "a size".to_owned(),
                KeyKind::Flag => "`true` or `false`".to_owned(),
                KeyKind::Choice(words) => format!("one of `{}`", words.join("`, `")),
                other => panic!("{:?} is described as {other:?}", key.path),
            };
            let default = key.default.unwrap_or_default();
            let row = format!(
                "| `{}` | {value} | `{default}` | {} |\n",
                key.path, key.help
            );
            assert!(config.contains(&row), "doc/config.md should have:\n{row}");
            assert!(readme.contains(&row), "README.md should have:\n{row}");
        }
    }

    #[test]
    fn new_disks_are_of_version_2_unless_said_otherwise() {
        let mut settings = Settings::new("/srv/vz");
        let options = Options::new(&settings).unwrap();
        assert_eq!(options.default_fs.name(), "ext4");
        assert_eq!(options.kind, Kind::Expanded(Version::V2));
        assert_eq!(options.cluster, ClusterSize::DEFAULT);
        assert_eq!(options.partition, Partition::None);
        assert_eq!(options.device, Device::Auto);
        for (key, value) in [
            (VERSION, "1"),
            (CLUSTER_SIZE, "64K"),
            (PREALLOCATE, "true"),
            (PARTITION, "gpt"),
            (DEVICE, "kernel"),
        ] {
            settings.set(key, value);
        }
        let options = Options::new(&settings).unwrap();
        assert_eq!(options.kind, Kind::Preallocated(Version::V1));
        assert_eq!(options.cluster.sectors(), 128);
        assert_eq!(options.partition, Partition::Gpt);
        assert_eq!(options.device, Device::Kernel);
    }

    #[test]
    fn a_cluster_is_what_libploop_takes() {
        let mut settings = Settings::new("/srv/vz");
        for good in ["32K", "1M", "64M"] {
            settings.set(CLUSTER_SIZE, good);
            assert!(Options::new(&settings).is_ok(), "{good}");
        }
        for bad in ["16K", "33K", "96K", "128M", "0", "1000"] {
            settings.set(CLUSTER_SIZE, bad);
            let error = Options::new(&settings).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{bad}");
            assert_eq!(error.key(), Some(CLUSTER_SIZE));
        }
    }

    #[test]
    fn a_default_fs_is_a_name() {
        let mut settings = Settings::new("/srv/vz");
        settings.default_fs = Some("../sh".into());
        let error = Options::new(&settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.key(), Some("default_fs"));
    }
}
