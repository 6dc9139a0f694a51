// SPDX-License-Identifier: MIT OR Apache-2.0
//! Values and errors that cross the border. Frozen: see the crate's promise.

use abi_stable::StableAbi;
use abi_stable::std_types::{ROption, RResult, RString, RVec, Tuple2};

/// Later additions to a frozen struct: key and value.
///
/// In an answer an unknown key is ignored. In what a driver is asked to do it is refused with
/// `Unsupported`: a driver that ignored `snapshot` would do something else than was asked for.
pub type Extra = RVec<Tuple2<RString, RString>>;

/// What a call is asked for besides its arguments: `quota` of `init`. An unknown key is refused.
pub type Options = Extra;

/// What every call that can fail returns.
pub type AbiResult<T> = RResult<T, AbiError>;

/// An error: what `mosaic_core::Error` is on either side.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiError {
    /// Kind as the exit status of `mosaic_core::ErrorKind`; an unknown number is read as `Io`.
    pub kind: u32,
    /// The kernel's errno behind it, or 0.
    pub errno: i32,
    /// One line, lower case, without the causes' text.
    pub message: RString,
    /// The causes, outermost first.
    pub causes: RVec<RString>,
    /// `key`: the config key at fault.
    pub extra: Extra,
}

/// The two names of one volume.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiName {
    /// As the user says it.
    pub user: RString,
    /// As the location stores it.
    pub stored: RString,
    /// Room for later minors: what of the volume is meant. A driver refuses an unknown key.
    pub extra: Extra,
}

/// A key of a driver's own configuration.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiKey {
    /// Dotted path: `quota`, `pool.data`.
    pub path: RString,
    /// One of the `KEY_*` constants.
    pub kind: u32,
    /// The words allowed, for [`KEY_CHOICE`].
    pub choices: RVec<RString>,
    /// What holds when the key is absent.
    pub default: ROption<RString>,
    /// One line of documentation.
    pub help: RString,
    /// `place`: where the key is given; none: in the config file. A host leaves out the keys of a
    /// place that it does not know.
    pub extra: Extra,
}

/// Any text.
pub const KEY_TEXT: u32 = 0;
/// A path; a relative one is relative to the config file's folder.
pub const KEY_PATH: u32 = 1;
/// A size in bytes.
pub const KEY_SIZE: u32 = 2;
/// A whole number, zero or more.
pub const KEY_INTEGER: u32 = 3;
/// `true` or `false`.
pub const KEY_FLAG: u32 = 4;
/// One of a list of words.
pub const KEY_CHOICE: u32 = 5;

/// What a driver is opened with.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiSettings {
    /// The `location` key, made absolute where it is a path.
    pub location: RString,
    /// The `default_fs` key.
    pub default_fs: ROption<RString>,
    /// The `layout.fs` key, relative to the location.
    pub layout_fs: ROption<RString>,
    /// Number of components of a stored name: from the volume map, else 1.
    pub depth: u32,
    /// Whether a volume map is configured.
    pub mapped: bool,
    /// The driver's own keys by dotted path, checked against its schema, defaults filled in.
    pub values: Extra,
    /// `abi`: the host's ABI version, so that a newer driver knows what it will understand.
    pub extra: Extra,
}

/// The host locks a directory, the location itself.
pub const LOCK_DIRECTORY: u32 = 0;
/// The host opens a block device exclusively.
pub const LOCK_DEVICE: u32 = 1;

/// A clone's source is looked at.
pub const HOLD_SHARED: u32 = 0;
/// A clone's source is changed.
pub const HOLD_EXCLUSIVE: u32 = 1;

/// What the host is to lock.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiLockScope {
    /// [`LOCK_DIRECTORY`] or [`LOCK_DEVICE`].
    pub kind: u32,
    /// The directory or the device.
    pub path: RString,
    /// [`HOLD_SHARED`], or anything else: how the host holds the source of a clone.
    pub clone_source: u32,
    /// Room for later minors.
    pub extra: Extra,
}

/// One thing that a driver can or cannot do.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiCapability {
    /// A word of an open set: `clone`, `bdev`, `volsize`.
    pub name: RString,
    /// Why not; none: it can.
    pub refusal: ROption<RString>,
    /// Room for later minors.
    pub extra: Extra,
}

/// One class of space, in bytes.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiSpace {
    /// `data`, `metadata`.
    pub class: RString,
    /// All of it.
    pub total: u64,
    /// In use.
    pub used: u64,
    /// What a new volume could get.
    pub free: u64,
    /// Room for later minors.
    pub extra: Extra,
}

/// A raw disk without a file system of ours.
pub const KIND_DISK: u32 = 0;
/// A file system.
pub const KIND_FS: u32 = 1;
/// A file system by assumption: the volume carries no label.
pub const KIND_FS_ASSUMED: u32 = 2;

/// Start of the names in [`AbiVolume::extra`] and [`AbiAbout::extra`] that are no facts of the
/// driver's own.
pub const RESERVED_FACTS: &str = "mosaic.";

/// The volume is reached as a directory.
pub const ACCESS_DIRECTORY: u32 = 0;
/// The volume is reached as a block device.
pub const ACCESS_DEVICE: u32 = 1;

/// The device stays until `detach`.
pub const LIFETIME_EXPLICIT: u32 = 0;
/// The device goes with its last mount.
pub const LIFETIME_MOUNT: u32 = 1;

/// A block device that shows a volume.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiAttachment {
    /// `/dev/...`.
    pub device: RString,
    /// [`LIFETIME_EXPLICIT`] or [`LIFETIME_MOUNT`].
    pub lifetime: u32,
    /// Writes are refused by the device.
    pub read_only: bool,
    /// Set up by another program.
    pub foreign: bool,
    /// Room for later minors.
    pub extra: Extra,
}

/// What a driver knows of one volume.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiVolume {
    /// Its names; `user` is empty where the location keeps none, and has two in lines of their own
    /// while the volume is being renamed.
    pub name: AbiName,
    /// One of `KIND_*`.
    pub kind: u32,
    /// File system type; empty for a disk and where the volume has none of its own.
    pub fs: RString,
    /// One of `ACCESS_*`.
    pub access: u32,
    /// Size in bytes, where it has one.
    pub size: ROption<u64>,
    /// Bytes that it takes in the location.
    pub used: ROption<u64>,
    /// Bytes that only it takes.
    pub exclusive: ROption<u64>,
    /// Stored name of the volume that it was cloned from, where the location knows.
    pub origin: ROption<RString>,
    /// It cannot be written.
    pub read_only: bool,
    /// Its block device.
    pub attachment: ROption<AbiAttachment>,
    /// Sentences that `info` shows.
    pub notes: RVec<RString>,
    /// The driver's own facts, by name. Names that start with [`RESERVED_FACTS`] are not shown:
    /// later minors may put more there.
    pub extra: Extra,
}

/// What a driver has to say of its location.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiAbout {
    /// Sentences that `info` shows.
    pub notes: RVec<RString>,
    /// The driver's own facts, by name. Names that start with [`RESERVED_FACTS`] are not shown:
    /// later minors may put more there.
    pub extra: Extra,
}

/// What a dropped volume leaves behind. A driver gets back what it gave, to wait for it.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiDropped {
    /// The driver's words for what gives its space back later.
    pub pending: RVec<RString>,
    /// Room for later minors. A driver refuses an unknown key.
    pub extra: Extra,
}

/// How to make a volume.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiNewVolume {
    /// [`KIND_DISK`] or [`KIND_FS`].
    pub kind: u32,
    /// File system type; empty: the driver's own.
    pub fs: RString,
    /// Bytes, a multiple of 512, not 0.
    pub size: u64,
    /// Name for a half-made thing in `.mosaic/tmp`; its lock is held.
    pub scratch: RString,
    /// Room for later minors. A driver refuses an unknown key.
    pub extra: Extra,
}

/// How to clone a volume.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiClone {
    /// Bytes; none: the source's size.
    pub size: ROption<u64>,
    /// Name for a half-made thing in `.mosaic/tmp`; its lock is held.
    pub scratch: RString,
    /// Room for later minors. A driver refuses an unknown key.
    pub extra: Extra,
}

/// A finding of `check`.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiFinding {
    /// The volume's stored name; empty: the location.
    pub volume: RString,
    /// What is wrong.
    pub fault: RString,
    /// What repair does or did; empty: nothing it can do.
    pub remedy: RString,
    /// It was done.
    pub repaired: bool,
    /// Of the remedy: `class`, one word for all that is mended in this way, of small letters, digits,
    /// `-` and `_`; none, or any other: `other`. `by_name`, `true`: it is done only if its class is
    /// asked for.
    pub extra: Extra,
}

/// A directory is mounted.
pub const SOURCE_DIRECTORY: u32 = 0;
/// A block device is mounted.
pub const SOURCE_DEVICE: u32 = 1;

/// What the host mounts.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiMountSource {
    /// [`SOURCE_DIRECTORY`] or [`SOURCE_DEVICE`].
    pub kind: u32,
    /// Open descriptor of the directory or device; the receiver owns it.
    pub fd: i32,
    /// The device's path; empty for a directory.
    pub device: RString,
    /// Room for later minors.
    pub extra: Extra,
}
