// SPDX-License-Identifier: MIT OR Apache-2.0
//! The superblock of a pool's metadata, `struct thin_disk_superblock`.

use mosaic_core::Result;

use super::{BLOCK, corrupt, le32, le64};
use crate::crc32c;
use crate::target::Sectors;

/// `THIN_SUPERBLOCK_MAGIC`.
pub(crate) const MAGIC: u64 = 27_022_010;
/// What the checksum is combined with, so that no block is taken for one of another kind
/// (`SUPERBLOCK_CSUM_XOR`).
pub(crate) const SUM_XOR: u32 = 160_774;
/// `THIN_METADATA_NEEDS_CHECK_FLAG`.
const NEEDS_CHECK: u32 = 1;
/// `THIN_VERSION`: the only one that kernels since Linux 3.2 take.
const VERSION: u32 = 2;

/// What we read of a superblock, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// It met an error, and has to be checked before it is written again.
    pub needs_check: bool,
    /// The number that is the pool's user's.
    pub transaction: u64,
    /// Data blocks of the pool.
    pub data_blocks: u64,
    /// Data block size, the same for the pool's whole life.
    pub data_block: Sectors,
    /// Metadata blocks that the pool knows of.
    pub metadata_blocks: u64,
    /// Root of the tree from ids to details.
    pub details_root: u64,
    /// Root of the tree from ids to the roots of their mappings.
    pub mapping_root: u64,
    /// Root of the tree of bitmaps of the data blocks' reference counts.
    pub data_bitmaps: u64,
    /// Block that names the bitmaps of the metadata blocks' reference counts.
    pub metadata_bitmaps: u64,
}

impl Superblock {
    /// Whether a block claims to be a superblock, whole or not.
    pub fn is_marked(block: &[u8]) -> bool {
        block.len() >= 40 && le64(block, 32) == MAGIC
    }

    /// Reads the first block of a metadata device.
    ///
    /// # Errors
    /// `Corrupt` if it is no superblock.
    pub fn decode(block: &[u8]) -> Result<Self> {
        let none = || corrupt("its first block is no superblock");
        let block = block.first_chunk::<BLOCK>().ok_or_else(none)?;
        if !Self::is_marked(block) || le64(block, 8) != 0 {
            return Err(none());
        }
        if crc32c::update(!0, &block[4..]) ^ SUM_XOR != le32(block, 0) {
            return Err(corrupt("the checksum of its superblock is wrong"));
        }
        let data_block = Sectors(le32(block, 336).into());
        if le32(block, 40) != VERSION || data_block.0 == 0 {
            return Err(corrupt("its superblock is of an unknown kind"));
        }
        Ok(Self {
            needs_check: le32(block, 4) & NEEDS_CHECK != 0,
            transaction: le64(block, 48),
            data_blocks: le64(block, 64),
            data_block,
            metadata_blocks: le64(block, 344),
            details_root: le64(block, 328),
            mapping_root: le64(block, 320),
            // In `struct disk_sm_root`, which stands at 64 and at 192.
            data_bitmaps: le64(block, 64 + 16),
            metadata_bitmaps: le64(block, 192 + 16),
        })
    }
}
