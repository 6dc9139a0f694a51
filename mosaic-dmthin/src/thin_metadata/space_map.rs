// SPDX-License-Identifier: MIT OR Apache-2.0
//! How often a block is referred to: the space maps of data and of metadata.
//!
//! Two bits for each block, in bitmaps of one block each; for the data a tree names these, for the
//! metadata one block does.
//!
//! Kernel: drivers/md/persistent-data/dm-space-map-common.h and .c (Linux 6.1).

use std::collections::HashMap;
use std::fmt;

use mosaic_core::Result;

use super::{BLOCK, Blocks, btree, corrupt, le32, le64};
use crate::crc32c;

/// Bytes before the bits (`struct disk_bitmap_header`), and before the entries of the block that
/// names bitmaps (`struct disk_metadata_index`).
pub(crate) const HEADER: usize = 16;
/// Blocks of which one bitmap tells.
pub(crate) const IN_BITMAP: u64 = (BLOCK - HEADER) as u64 * 4;
/// Bytes of what names a bitmap (`struct disk_index_entry`).
pub(crate) const INDEX_ENTRY: usize = 16;
/// `BITMAP_CSUM_XOR`.
pub(crate) const BITMAP_XOR: u32 = 240_779;
/// `INDEX_CSUM_XOR`.
pub(crate) const INDEX_XOR: u32 = 160_478;

/// Most bitmaps that are kept for the next look; as many as a TiB in blocks of 64 KiB has.
const KEPT: usize = 1024;

/// Where one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// Of data blocks; the root of a tree.
    Data(u64),
    /// Of metadata blocks; the block that names bitmaps.
    Metadata(u64),
}

/// A space map at one time, with the bitmaps that were looked at.
pub struct SpaceMap<'b> {
    blocks: &'b dyn Blocks,
    root: Root,
    bitmaps: HashMap<u64, Box<[u8; BLOCK]>>,
}

impl fmt::Debug for SpaceMap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SpaceMap");
        debug.field("root", &self.root).finish_non_exhaustive()
    }
}

impl<'b> SpaceMap<'b> {
    /// The one that begins there.
    pub fn new(blocks: &'b dyn Blocks, root: Root) -> Self {
        Self {
            blocks,
            root,
            bitmaps: HashMap::new(),
        }
    }

    /// Whether exactly one thing refers to a block.
    ///
    /// # Errors
    /// `Corrupt` for damage; the kernel's.
    pub fn is_single(&mut self, block: u64) -> Result<bool> {
        let index = block / IN_BITMAP;
        if !self.bitmaps.contains_key(&index) {
            if self.bitmaps.len() >= KEPT {
                self.bitmaps.clear();
            }
            let bitmap = read(self.blocks, self.bitmap(index)?, BITMAP_XOR, 8)?;
            self.bitmaps.insert(index, bitmap);
        }
        let place = usize::try_from(block % IN_BITMAP).unwrap_or_default();
        let word = le64(&self.bitmaps[&index][..], HEADER + place / 32 * 8);
        // The upper of the two bits comes first: 0b10 is one.
        Ok(word >> (place % 32 * 2) & 0b11 == 0b10)
    }

    /// The block of a bitmap.
    fn bitmap(&self, index: u64) -> Result<u64> {
        let none = || corrupt("a block is beyond its space map");
        match self.root {
            Root::Data(root) => {
                let entry = btree::find(self.blocks, root, index, INDEX_ENTRY)?;
                entry.map(|entry| le64(&entry, 0)).ok_or_else(none)
            }
            Root::Metadata(block) => {
                let names = read(self.blocks, block, INDEX_XOR, 8)?;
                let at = usize::try_from(index).map_err(|_| none())?;
                let at = at
                    .checked_mul(INDEX_ENTRY)
                    .and_then(|at| at.checked_add(HEADER));
                let at = at.filter(|at| at + INDEX_ENTRY <= BLOCK);
                at.map(|at| le64(&names[..], at)).ok_or_else(none)
            }
        }
    }
}

/// A block with a checksum at its start and its own number at a place.
fn read(blocks: &dyn Blocks, number: u64, xor: u32, at: usize) -> Result<Box<[u8; BLOCK]>> {
    let block = blocks.block(number)?;
    let sum = crc32c::update(!0, &block[4..]) ^ xor;
    match sum == le32(&block[..], 0) && le64(&block[..], at) == number {
        true => Ok(block),
        false => Err(corrupt("a block of a space map is none")),
    }
}
