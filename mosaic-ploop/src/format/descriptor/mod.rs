// SPDX-License-Identifier: MIT OR Apache-2.0
//! `DiskDescriptor.xml`: which files are the deltas of a disk, and how they lie upon each other.
//!
//! [`Document`] is what is stored, [`Descriptor`] is one that makes sense. It is changed in the
//! document itself and read again after each change, so that what we do not know stays as it was.

mod edit;
mod fault;
mod read;
#[cfg(test)]
mod tests;

use std::fmt;

use super::guid::Guid;
use super::units::{ClusterSize, Sectors};
use super::xml::Document;

pub use fault::DescriptorFault;

/// The descriptor's name, in the disk's folder.
pub const DESCRIPTOR: &str = "DiskDescriptor.xml";
/// The name that a new one has until it is complete.
pub const DESCRIPTOR_NEW: &str = "DiskDescriptor.xml.tmp";
/// Bytes that a descriptor has at most.
pub const MAX_BYTES: u64 = 1 << 20;
/// Deltas that libploop takes at most.
pub const MAX_DELTAS: usize = 128;

/// What the base of a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Base {
    /// An image with a header.
    Expanded,
    /// The same, all of whose clusters are allocated from the beginning.
    Preallocated,
    /// The disk's bytes, without a header.
    Raw,
}

/// A delta's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Which shot it is.
    pub guid: Guid,
    /// Path of the file, relative to the descriptor's folder or absolute.
    pub file: String,
}

/// A delta's place among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shot {
    /// Which it is.
    pub guid: Guid,
    /// The one beneath it; [`Guid::NONE`] for the base.
    pub parent: Guid,
    /// What it waits for.
    pub temporary: Option<Temporary>,
}

/// Why a shot is there only for the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temporary {
    /// It is to be deleted or merged when that becomes possible.
    Deleted,
    /// libploop 9 was interrupted while it merged the base of a running disk.
    OnlineMerge,
}

/// What a descriptor says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    size: Sectors,
    max_delta: Option<Sectors>,
    cluster: ClusterSize,
    base: Base,
    images: Vec<Image>,
    shots: Vec<Shot>,
    top: Guid,
    is_volume: bool,
    is_encrypted: bool,
}

/// A descriptor that makes sense: its shots are one tree, each has its file, one is the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    document: Document,
    facts: Facts,
}

impl Descriptor {
    /// Size of the disk. The top's header is the truth; after a crash they may differ.
    pub fn size(&self) -> Sectors {
        self.facts.size
    }

    /// How long a delta's file may become.
    pub fn max_delta(&self) -> Option<Sectors> {
        self.facts.max_delta
    }

    /// Size of a cluster in all deltas.
    pub fn cluster(&self) -> ClusterSize {
        self.facts.cluster
    }

    /// What the base is.
    pub fn base(&self) -> Base {
        self.facts.base
    }

    /// The files, in the order of the descriptor.
    pub fn images(&self) -> &[Image] {
        &self.facts.images
    }

    /// The shots, in the order of the descriptor.
    pub fn shots(&self) -> &[Shot] {
        &self.facts.shots
    }

    /// The shot that is written.
    pub fn top(&self) -> Guid {
        self.facts.top
    }

    /// Whether the disk is one of libploop's volumes, which hang together with other folders.
    pub fn is_volume(&self) -> bool {
        self.facts.is_volume
    }

    /// Whether what is on the disk is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.facts.is_encrypted
    }

    /// The shot of that name.
    pub fn shot(&self, guid: Guid) -> Option<&Shot> {
        self.shots().iter().find(|shot| shot.guid == guid)
    }

    /// The file of a shot.
    pub fn file(&self, guid: Guid) -> Option<&str> {
        let image = self.images().iter().find(|image| image.guid == guid);
        image.map(|image| image.file.as_str())
    }

    /// The shots right above one.
    pub fn children(&self, guid: Guid) -> impl Iterator<Item = &Shot> {
        self.shots().iter().filter(move |shot| shot.parent == guid)
    }

    /// The shots from the base up to one; empty if there is no such shot.
    pub fn chain(&self, guid: Guid) -> Vec<Guid> {
        let next = |shot: &&Shot| self.shot(shot.parent);
        let mut chain: Vec<_> = std::iter::successors(self.shot(guid), next)
            .map(|shot| shot.guid)
            .collect();
        chain.reverse();
        chain
    }
}

impl fmt::Display for Descriptor {
    /// The text of the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.document.fmt(f)
    }
}
