// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of Mosaic's own config keys. The manual's table is held against it by a test.

/// A key of Mosaic's own, as the manual shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MosaicKey {
    /// Dotted path.
    pub path: &'static str,
    /// What its value is, in words.
    pub value: &'static str,
    /// What holds when it is absent, in words; `None`: it is required.
    pub default: Option<&'static str>,
    /// A value, as it stands in a file.
    pub example: &'static str,
    /// One line of documentation.
    pub help: &'static str,
}

/// All keys of Mosaic's own; each has a text for a value.
pub const MOSAIC_KEYS: [MosaicKey; 6] = [
    MosaicKey {
        path: "type",
        value: "a driver's type",
        default: None,
        example: "loop",
        help: "the driver that does the storage",
    },
    MosaicKey {
        path: "location",
        value: "a path, or what the driver takes for a place",
        default: None,
        example: "/srv/images",
        help: "where the storage is; a relative path is relative to the config file's folder",
    },
    MosaicKey {
        path: "default_fs",
        value: "a file system type: letters a to z and digits",
        default: Some("`ext4` where the driver needs one"),
        example: "xfs",
        help: "the file system put on new volumes",
    },
    MosaicKey {
        path: "layout.fs",
        value: "a relative path",
        default: Some("no metadata file system"),
        example: "meta",
        help: "where the metadata is, beneath the location",
    },
    MosaicKey {
        path: "volumeMap",
        value: "a regular expression and a replacement",
        default: Some("names are stored as they are"),
        example: r"\(.*\)\(.\) \2/\1\2",
        help: "how a volume's name becomes the path beneath the location",
    },
    MosaicKey {
        path: "mount_options",
        value: "mount options, split by commas",
        default: Some("`nosuid,nodev`"),
        example: "noatime,noexec",
        help: "options of every mount, before those of the command",
    },
];
