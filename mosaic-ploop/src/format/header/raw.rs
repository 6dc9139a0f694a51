// SPDX-License-Identifier: MIT OR Apache-2.0
//! The 64 bytes of a header as they are stored: little endian, without padding.

use std::mem::offset_of;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Header, Mark, Version};

/// "Ynot"
const IN_USE: u32 = 0x746f_6e59;
/// "v2.1"
const CLOSED_WITH_EXTENSION: u32 = 0x312e_3276;
const SIGNATURE_V1: &[u8; 16] = b"WithoutFreeSpace";
/// Its spelling is the format's.
const SIGNATURE_V2: &[u8; 16] = b"WithouFreSpacExt";

/// A stored header. Any 64 bytes are one; whether they make sense is for [`Header`] to say.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct RawHeader {
    /// One of the two signatures, which tell the versions apart.
    pub signature: [u8; 16],
    /// Image kind, always [`RawHeader::KIND`]; nothing to do with V1 and V2.
    pub kind: U32,
    /// Informative.
    pub heads: U32,
    /// Informative.
    pub cylinders: U32,
    /// Cluster size in sectors.
    pub cluster: U32,
    /// Number of BAT entries.
    pub entries: U32,
    /// Size of the disk in sectors; V1: the low half only, the upper is 0.
    pub size: U64,
    /// In-use mark.
    pub mark: U32,
    /// Where the data begins, in sectors.
    pub first_block: U32,
    /// Bit 0 empty, bit 1 conversion under way.
    pub flags: U32,
    /// Where the format extension is, in sectors.
    pub extension: U64,
}

const _: () = assert!(size_of::<RawHeader>() == 64);
const _: () = assert!(offset_of!(RawHeader, cluster) == 28);
const _: () = assert!(offset_of!(RawHeader, size) == 36);
const _: () = assert!(offset_of!(RawHeader, first_block) == 48);
const _: () = assert!(offset_of!(RawHeader, extension) == 56);

impl RawHeader {
    /// The image kind that all images have.
    pub const KIND: u32 = 2;

    /// The version that the signature stands for.
    pub fn version(&self) -> Option<Version> {
        match &self.signature {
            SIGNATURE_V1 => Some(Version::V1),
            SIGNATURE_V2 => Some(Version::V2),
            _ => None,
        }
    }

    /// What the in-use field says.
    pub fn mark(&self) -> Mark {
        match self.mark.get() {
            IN_USE => Mark::InUse,
            CLOSED_WITH_EXTENSION => Mark::ClosedWithExtension,
            _ => Mark::Closed,
        }
    }
}

impl From<&Header> for RawHeader {
    fn from(header: &Header) -> Self {
        Self {
            signature: match header.version {
                Version::V1 => *SIGNATURE_V1,
                Version::V2 => *SIGNATURE_V2,
            },
            kind: Self::KIND.into(),
            heads: header.geometry.heads.into(),
            cylinders: header.geometry.cylinders.into(),
            cluster: header.cluster.sectors().into(),
            entries: header.entries.into(),
            size: header.size.0.into(),
            mark: match header.mark {
                Mark::Closed => 0,
                Mark::InUse => IN_USE,
                Mark::ClosedWithExtension => CLOSED_WITH_EXTENSION,
            }
            .into(),
            first_block: header.first_block.into(),
            flags: header.flags.0.into(),
            extension: header.extension.0.into(),
        }
    }
}
