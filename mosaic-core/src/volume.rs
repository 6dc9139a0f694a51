// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said about volumes between host, driver and caller. Plain data.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::error::Result;
use crate::name::VolumeName;
use crate::scratch::ScratchName;
use crate::size::Bytes;

/// What a volume holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A raw disk; what is on it is the user's. Never mounted.
    Disk,
    /// A file system.
    Fs {
        /// Its type, `ext4`; `None` where the volume is a tree in the location's own file system.
        fs: Option<String>,
        /// The volume carries no label (a historic one): the type is the configured default.
        assumed: bool,
    },
}

impl Kind {
    /// The word for it in what programs read: `disk`, `fs`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Fs { .. } => "fs",
        }
    }
}

/// How a volume is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// As a directory that is mounted by binding.
    Directory,
    /// As a block device.
    Device,
}

impl Access {
    /// The word for it in what programs read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Device => "device",
        }
    }
}

/// How long a block device stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until `detach`.
    Explicit,
    /// Until its last mount goes: the kernel takes it away.
    Mount,
}

impl Lifetime {
    /// The word for it in what programs read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::Mount => "mount",
        }
    }
}

/// A block device that shows a volume. Read from the kernel, never from a note of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// `/dev/...`.
    pub device: PathBuf,
    /// How long it stays.
    pub lifetime: Lifetime,
    /// The device refuses writes.
    pub read_only: bool,
    /// It was set up by another program.
    pub foreign: bool,
}

/// What a driver knows of one volume. Where it is mounted the host finds out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The name in the location.
    pub stored: String,
    /// The user's name that a volume map changed, where the location keeps it; two of them, one in a
    /// line, of a volume whose rename has not come to its end.
    pub user: Option<String>,
    /// Disk or file system.
    pub kind: Kind,
    /// Directory or device.
    pub access: Access,
    /// Its size; `None`: no limit.
    pub size: Option<Bytes>,
    /// How much of that its file system cannot have, whatever the size is: where a partition table is.
    pub overhead: Bytes,
    /// What it takes in the location; `None`: unknown without walking it.
    pub used: Option<Bytes>,
    /// What only it takes; `None`: unknown.
    pub exclusive: Option<Bytes>,
    /// Stored name of the volume that it was cloned from, where the location knows.
    pub origin: Option<String>,
    /// It cannot be written.
    pub read_only: bool,
    /// Its block device.
    pub attachment: Option<Attachment>,
    /// Sentences for `info`, such as why a size is not enforced.
    pub notes: Vec<String>,
    /// The driver's own facts by name, for `info`.
    pub facts: Vec<(String, String)>,
}

impl Volume {
    /// A volume that is a directory in the location's own file system, of which nothing else is
    /// known.
    pub fn directory(name: &VolumeName) -> Self {
        Self {
            stored: name.stored().to_owned(),
            user: None,
            kind: Kind::Fs {
                fs: None,
                assumed: false,
            },
            access: Access::Directory,
            size: None,
            overhead: Bytes(0),
            used: None,
            exclusive: None,
            origin: None,
            read_only: false,
            attachment: None,
            notes: Vec::new(),
            facts: Vec::new(),
        }
    }
}

/// Words of [`Capability::name`] that the host asks for. The set is open: a driver may add more.
pub mod capability {
    /// `new fs`.
    pub const FS: &str = "fs";
    /// `new disk`.
    pub const DISK: &str = "disk";
    /// `clone`.
    pub const CLONE: &str = "clone";
    /// `attach`, `detach`.
    pub const BDEV: &str = "bdev";
    /// The size of a volume binds its writer.
    pub const VOLSIZE: &str = "volsize";
    /// `resize` to more.
    pub const GROW: &str = "grow";
    /// `resize --shrink`.
    pub const SHRINK: &str = "shrink";
    /// `rename`.
    pub const RENAME: &str = "rename";
    /// All of the above, in the order in which `info` shows them.
    pub const ALL: [&str; 8] = [CLONE, BDEV, VOLSIZE, FS, DISK, GROW, SHRINK, RENAME];
}

/// Whether one thing can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// One of [`capability`], or the driver's own word.
    pub name: String,
    /// Why not: `ext4 at /srv/img has no reflink`; `None`: it can.
    pub refusal: Option<String>,
}

impl Capability {
    /// It can.
    pub fn yes(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            refusal: None,
        }
    }

    /// It cannot, for this reason.
    pub fn no(name: &str, reason: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            refusal: Some(reason.into()),
        }
    }

    /// It can if the look at it went well, else not, for that reason.
    pub fn if_ok(name: &str, looked: &Result<()>) -> Self {
        match looked {
            Ok(()) => Self::yes(name),
            Err(error) => Self::no(name, error.chain()),
        }
    }
}

/// How full one class of storage is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// `data`; a thin pool also has `metadata`.
    pub class: String,
    /// All of it.
    pub total: Bytes,
    /// In use.
    pub used: Bytes,
    /// What new volumes can get.
    pub free: Bytes,
}

/// What a driver has to say of its location, for `info`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Sentences, such as what a size limits here.
    pub notes: Vec<String>,
    /// The driver's own facts by name.
    pub facts: Vec<(String, String)>,
}

/// How to make a location.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InitOptions {
    /// The kind of quota to switch on in the location's file system: `simple`, `full`.
    pub quota: Option<String>,
    /// Takes over what is there already and was never used.
    pub adopt: bool,
    /// Destroys what is on the devices that the location is made of.
    pub force: bool,
}

impl InitOptions {
    /// Those that are given, as they are called in
    /// [`Driver::INIT_OPTIONS`](crate::Driver::INIT_OPTIONS), with their values.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let quota = self.quota.as_deref().map(|kind| ("quota", kind));
        let adopt = self.adopt.then_some(("adopt", "true"));
        let force = self.force.then_some(("force", "true"));
        quota.into_iter().chain(adopt).chain(force)
    }
}

/// What a dropped volume leaves behind: nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dropped {
    /// What gives its space back later, each in the driver's own words. They come back to the
    /// driver in [`Driver::await_space`](crate::Driver::await_space).
    pub pending: Vec<String>,
}

/// What `new` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewKind {
    /// A raw disk.
    Disk,
    /// A file system of this type; `None`: nothing was configured, the driver has its own.
    Fs(Option<String>),
}

/// How to make a volume.
#[derive(Debug, Clone)]
pub struct NewVolume {
    /// Disk or file system.
    pub kind: NewKind,
    /// Its size: whole sectors, not 0.
    pub size: Bytes,
    /// Name for a half-made thing in `.mosaic/tmp`; its lock is held.
    pub scratch: ScratchName,
}

/// How to clone a volume.
#[derive(Debug, Clone)]
pub struct CloneOptions {
    /// The clone's size; `None`: the source's. Never less than the source's.
    pub size: Option<Bytes>,
    /// Name for a half-made thing in `.mosaic/tmp`; its lock is held.
    pub scratch: ScratchName,
}

/// What the host mounts.
#[derive(Debug)]
pub enum MountSource {
    /// This directory, open without following links.
    Directory(OwnedFd),
    /// This block device; the descriptor keeps it alive until it is mounted.
    Device {
        /// `/dev/...`.
        path: PathBuf,
        /// Open on it.
        handle: OwnedFd,
    },
}
