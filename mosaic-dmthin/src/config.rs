// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver's configuration.

use std::path::{Path, PathBuf};

use mosaic_core::fs::FsType;
use mosaic_core::{Bytes, Error, Key, KeyKind, Result, Settings};

use crate::health::Floors;
use crate::remedy::is_plain_name;
use crate::target::{BLOCK_MAX, BLOCK_STEP, Sectors};
use mosaic_core::dm::NAME_MAX;

/// The file system of new volumes if the config names none.
const DEFAULT_FS: &str = "ext4";
/// The size of the metadata file system. Blocks it takes only for what is in it.
const METADATA_SIZE: &str = "1G";

/// How the pool is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// By its name in device-mapper.
    Name(String),
    /// By a device node.
    Path(PathBuf),
}

/// What the config says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The pool.
    pub location: Location,
    /// File system of volumes for which none is said, and of the metadata.
    pub default_fs: FsType,
    /// Size of the metadata file system.
    pub metadata_size: Bytes,
    /// Blocks of a dropped volume are given back to what is under the pool.
    pub discard_on_drop: bool,
    /// What stays free.
    pub floors: Floors,
    /// What the pool is made of, if it is Mosaic's to activate.
    pub devices: Option<PoolDevices>,
}

/// How a pool is activated, and made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolDevices {
    /// The device of the blocks.
    pub data: PathBuf,
    /// The device of the B-trees.
    pub metadata: PathBuf,
    /// Data block size of a new pool; `None`: by rule.
    pub block: Option<Sectors>,
    /// With less free space the kernel raises an event.
    pub low_water: Option<Bytes>,
    /// A write that needs a block when there is none fails at once.
    pub error_if_no_space: bool,
    /// New blocks are not zeroed.
    pub skip_zeroing: bool,
}

impl PoolDevices {
    /// The free space of which an event tells, in data blocks.
    pub fn low_water_blocks(&self, block: Sectors) -> u64 {
        let bytes = self.low_water.map_or(0, |bytes| bytes.0);
        bytes.div_ceil(block.bytes())
    }
}

/// The driver's own keys.
pub fn schema() -> Vec<Key> {
    let key = |path: &str, kind, default: Option<&str>, help: &str| Key {
        path: path.to_owned(),
        kind,
        default: default.map(str::to_owned),
        help: help.to_owned(),
    };
    vec![
        key(
            "metadata_size",
            KeyKind::Size,
            Some(METADATA_SIZE),
            "size of the metadata file system that init makes",
        ),
        key(
            "discard_on_drop",
            KeyKind::Flag,
            Some("false"),
            "drop gives the volume's blocks back to the disk under the pool, which takes longer",
        ),
        key(
            "pool.data",
            KeyKind::Path,
            None,
            "the pool's data device: Mosaic then activates the pool when it is not active",
        ),
        key(
            "pool.metadata",
            KeyKind::Path,
            None,
            "the pool's metadata device",
        ),
        key(
            "pool.block_size",
            KeyKind::Size,
            None,
            "data block size of a pool that init makes; unset: 64K, larger for a large pool",
        ),
        key(
            "pool.low_water",
            KeyKind::Size,
            None,
            "with less free data the kernel raises an event for whoever listens; unset: 0",
        ),
        key(
            "pool.error_if_no_space",
            KeyKind::Flag,
            None,
            "writes fail when the pool is full, instead of waiting a minute; unset: true",
        ),
        key(
            "pool.skip_zeroing",
            KeyKind::Flag,
            None,
            "a volume may read what a dropped one has left in its blocks; unset: false",
        ),
        key(
            "pool.min_free_data",
            KeyKind::Size,
            None,
            "below this much free data nothing new is made; unset: a 50th of it, 1G at most",
        ),
        key(
            "pool.min_free_metadata",
            KeyKind::Size,
            None,
            "below this much free metadata nothing new is made; unset: the kernel's low-water mark",
        ),
    ]
}

impl Options {
    /// Checks the settings.
    ///
    /// # Errors
    /// `Config`, with the key.
    pub fn new(settings: &Settings) -> Result<Self> {
        if settings.layout_fs.is_some() {
            return Err(Error::config(
                "layout.fs",
                "a thin pool has a metadata file system of its own, which init makes; take the \
                 key out",
            ));
        }
        let default_fs = settings.default_fs.as_deref().unwrap_or(DEFAULT_FS);
        let default_fs = FsType::parse(default_fs)
            .map_err(|error| Error::config("default_fs", error.to_string()))?;
        let metadata_size = match settings.size("metadata_size")? {
            Some(size) => size,
            None => METADATA_SIZE.parse()?,
        };
        default_fs
            .check_size(metadata_size)
            .map_err(|error| Error::config("metadata_size", error.to_string()))?;
        if !metadata_size.is_volume_size() {
            return Err(Error::config("metadata_size", "is not in whole sectors"));
        }
        let location = location(settings)?;
        Ok(Self {
            default_fs,
            metadata_size,
            discard_on_drop: settings.flag("discard_on_drop"),
            floors: Floors {
                data: settings.size("pool.min_free_data")?,
                metadata: settings.size("pool.min_free_metadata")?,
            },
            devices: devices(settings, &location)?,
            location,
        })
    }
}

/// A name of device-mapper has no slash in it, a path has.
fn location(settings: &Settings) -> Result<Location> {
    let written = settings.text("location");
    match written.filter(|text| !text.contains('/')) {
        None => Ok(Location::Path(settings.location.clone())),
        Some(name) if name.len() > NAME_MAX => Err(Error::config(
            "location",
            format!("a name of device-mapper has {NAME_MAX} bytes at most"),
        )),
        Some(name) if name.chars().any(char::is_control) => Err(Error::config(
            "location",
            "a name of device-mapper has no control character",
        )),
        Some(name) => Ok(Location::Name(name.to_owned())),
    }
}

fn devices(settings: &Settings, location: &Location) -> Result<Option<PoolDevices>> {
    let path = |key: &str| settings.path(key).map(Path::to_owned);
    let (data, metadata) = match (path("pool.data"), path("pool.metadata")) {
        (Some(data), Some(metadata)) => (data, metadata),
        (Some(_), None) => return Err(missing("pool.data", "pool.metadata")),
        (None, Some(_)) => return Err(missing("pool.metadata", "pool.data")),
        (None, None) => return no_devices(settings).map(|()| None),
    };
    if let Location::Path(path) = location
        && path.parent() != Some(Path::new("/dev/mapper"))
    {
        return Err(Error::config(
            "location",
            "a pool that Mosaic activates is told by its name in device-mapper, such as \"pool\"",
        ));
    }
    check_new_name(location)?;
    if data == metadata {
        let text = "is the same device as pool.data";
        return Err(Error::config("pool.metadata", text));
    }
    let block = settings.size("pool.block_size")?;
    let block = block.map(|block| {
        let sectors = Sectors::in_bytes(block.0);
        let fits = sectors <= BLOCK_MAX && block.0 != 0;
        let whole = block.0.is_multiple_of(BLOCK_STEP.bytes());
        (fits && whole).then_some(sectors).ok_or_else(|| {
            Error::config(
                "pool.block_size",
                format!("{} bytes are not a multiple of 64K, 1G at most", block.0),
            )
        })
    });
    Ok(Some(PoolDevices {
        data,
        metadata,
        block: block.transpose()?,
        low_water: settings.size("pool.low_water")?,
        error_if_no_space: settings.text("pool.error_if_no_space") != Some("false"),
        skip_zeroing: settings.flag("pool.skip_zeroing"),
    }))
}

/// Refuses a name for a pool that its admin could not give to dmsetup and find in `/dev/mapper`.
fn check_new_name(location: &Location) -> Result<()> {
    let name = match location {
        Location::Name(name) => name,
        Location::Path(path) => path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or(""),
    };
    let is_taken = matches!(name, "" | "." | ".." | "control");
    if is_plain_name(name) && !is_taken {
        return Ok(());
    }
    Err(Error::config(
        "location",
        "a pool that Mosaic activates has a name of letters, digits and any of #+-.:=@_",
    ))
}

fn missing(there: &str, other: &str) -> Error {
    Error::config(there, format!("needs {other} beside it"))
}

/// What only a pool is asked for that Mosaic activates.
fn no_devices(settings: &Settings) -> Result<()> {
    let keys = [
        "block_size",
        "low_water",
        "error_if_no_space",
        "skip_zeroing",
    ];
    let mut set = keys.iter().map(|key| format!("pool.{key}"));
    match set.find(|key| settings.text(key).is_some()) {
        Some(key) => Err(Error::config(
            key,
            "has a meaning only with pool.data and pool.metadata: who activates the pool sets it",
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mosaic_core::ErrorKind;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::new("/etc/mosaic/pool");
        settings.set("location", "pool");
        for (key, value) in pairs {
            settings.set(*key, *value);
        }
        settings
    }

    fn refused(pairs: &[(&str, &str)], key: &str) {
        let error = Options::new(&settings(pairs)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{pairs:?}");
        assert_eq!(error.key(), Some(key), "{pairs:?}");
    }

    const DEVICES: [(&str, &str); 2] = [("pool.data", "/dev/sdb"), ("pool.metadata", "/dev/sdc")];

    #[test]
    fn the_manuals_have_the_keys_of_the_schema() {
        let config = include_str!("../../doc/config.md");
        let readme = include_str!("../README.md");
        for key in schema() {
            let value = match key.kind {
                KeyKind::Size => "a size",
                KeyKind::Flag => "`true` or `false`",
                KeyKind::Path => "a path",
                other => panic!("{:?} is described as {other:?}", key.path),
            };
            let default = key.default.map(|default| format!("`{default}`"));
            let default = default.unwrap_or_else(|| "none".to_owned());
            let row = format!("| `{}` | {value} | {default} | {} |\n", key.path, key.help);
            assert!(config.contains(&row), "doc/config.md should have:\n{row}");
            assert!(readme.contains(&row), "README.md should have:\n{row}");
        }
    }

    #[test]
    fn a_pool_is_told_by_name_or_path() {
        let options = Options::new(&settings(&[])).unwrap();
        assert_eq!(options.location, Location::Name("pool".into()));
        assert_eq!(options.default_fs.name(), "ext4");
        assert_eq!(options.metadata_size, Bytes(1 << 30));
        assert_eq!(options.devices, None);
        let options = Options::new(&settings(&[("location", "/dev/mapper/p")])).unwrap();
        assert_eq!(options.location, Location::Path("/etc/mosaic/pool".into()));
        refused(&[("location", &"x".repeat(128))], "location");
    }

    #[test]
    fn devices_come_in_pairs_and_bring_their_keys() {
        let options = Options::new(&settings(&DEVICES)).unwrap();
        let devices = options.devices.unwrap();
        assert!(devices.error_if_no_space && !devices.skip_zeroing);
        refused(&DEVICES[..1], "pool.data");
        refused(&DEVICES[1..], "pool.metadata");
        refused(&[("pool.low_water", "0")], "pool.low_water");
        refused(&[("pool.skip_zeroing", "false")], "pool.skip_zeroing");
        let with = |pair| [DEVICES[0], DEVICES[1], pair];
        let options = Options::new(&settings(&with(("pool.block_size", "131072")))).unwrap();
        assert_eq!(options.devices.unwrap().block, Some(Sectors(256)));
        for block in ["0", "512", "65537", "1073807360"] {
            refused(&with(("pool.block_size", block)), "pool.block_size");
        }
        refused(&with(("location", "./pool")), "location");
        for name in ["a b", "control", "..", "-f", r"a\x20b", "ä"] {
            refused(&with(("location", name)), "location");
        }
        refused(&with(("pool.metadata", "/dev/sdb")), "pool.metadata");
        refused(&[("location", "a\nb")], "location");
    }

    #[test]
    fn what_has_no_place_here_is_refused() {
        let mut with_layout = settings(&[]);
        with_layout.layout_fs = Some("meta".into());
        let error = Options::new(&with_layout).unwrap_err();
        assert_eq!(error.key(), Some("layout.fs"));
        refused(&[("metadata_size", "4096")], "metadata_size");
        refused(&[("metadata_size", "104857601")], "metadata_size");
        let mut odd = settings(&[]);
        odd.default_fs = Some("../sh".into());
        assert_eq!(Options::new(&odd).unwrap_err().key(), Some("default_fs"));
    }
}
