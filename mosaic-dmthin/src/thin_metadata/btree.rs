// SPDX-License-Identifier: MIT OR Apache-2.0
//! B-trees of device-mapper's persistent data: lookup and walk.
//!
//! A node is one block: a header (checksum, flags, own number, numbers of entries, length of a
//! value), room for all keys, then the values. An inner node's values are the blocks beneath it, its
//! keys the least key of each.

use mosaic_core::Result;

use super::{BLOCK, Blocks, corrupt, le32, le64};
use crate::crc32c;

/// Bytes of `struct node_header`.
pub(crate) const HEADER: usize = 32;
/// `INTERNAL_NODE`.
pub(crate) const INTERNAL: u32 = 1;
/// `LEAF_NODE`.
pub(crate) const LEAF: u32 = 2;
/// `BTREE_CSUM_XOR`.
pub(crate) const SUM_XOR: u32 = 121_107;
/// More levels than a tree of 2^32 keys has.
const DEPTH: usize = 16;

/// A node whose header fits its block.
struct Node {
    block: Box<[u8; BLOCK]>,
    entries: usize,
    room: usize,
    value: usize,
    is_leaf: bool,
}

impl Node {
    /// `length`: of a leaf's values. Another one is of another tree.
    fn read(blocks: &dyn Blocks, number: u64, length: usize) -> Result<Self> {
        let block = blocks.block(number)?;
        if crc32c::update(!0, &block[4..]) ^ SUM_XOR != le32(&block[..], 0) {
            return Err(corrupt("the checksum of a node is wrong"));
        }
        let size = |at| le32(&block[..], at) as usize;
        let (entries, room, value) = (size(16), size(20), size(24));
        let is_leaf = match le32(&block[..], 4) {
            LEAF if value == length => true,
            INTERNAL if value == 8 => false,
            _ => return Err(corrupt("a node is of an unknown kind")),
        };
        let fits = value
            .checked_add(8)
            .and_then(|entry| entry.checked_mul(room))
            .is_some_and(|length| length <= BLOCK - HEADER);
        if le64(&block[..], 8) != number || entries > room || !fits {
            return Err(corrupt("a node is not what its place says"));
        }
        Ok(Self {
            block,
            entries,
            room,
            value,
            is_leaf,
        })
    }

    fn key(&self, index: usize) -> u64 {
        le64(&self.block[..], HEADER + 8 * index)
    }

    fn value(&self, index: usize) -> &[u8] {
        let at = HEADER + 8 * self.room + self.value * index;
        &self.block[at..at + self.value]
    }

    fn child(&self, index: usize) -> u64 {
        le64(self.value(index), 0)
    }

    /// The last entry whose key is not above this one.
    fn at_or_below(&self, key: u64) -> Option<usize> {
        let keys: Vec<u64> = (0..self.entries).map(|index| self.key(index)).collect();
        keys.partition_point(|have| *have <= key).checked_sub(1)
    }
}

/// The value of a key in a tree whose values have this length.
///
/// # Errors
/// `Corrupt` for damage; the kernel's.
pub fn find(blocks: &dyn Blocks, root: u64, key: u64, length: usize) -> Result<Option<Vec<u8>>> {
    let mut number = root;
    for _ in 0..DEPTH {
        let node = Node::read(blocks, number, length)?;
        let Some(index) = node.at_or_below(key) else {
            return Ok(None);
        };
        if node.is_leaf {
            let found = node.key(index) == key;
            return Ok(found.then(|| node.value(index).to_vec()));
        }
        number = node.child(index);
    }
    Err(corrupt("a tree leads back into itself"))
}

/// Shows each key with its value, of this length, in order.
///
/// # Errors
/// What `visit` answers; `Corrupt` for damage; the kernel's.
pub fn walk(
    blocks: &dyn Blocks,
    root: u64,
    length: usize,
    visit: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    walk_where(blocks, root, length, &mut |_| Ok(true), visit)
}

/// The same beneath the nodes that `enter` takes by their numbers.
///
/// # Errors
/// As [`walk`]; what `enter` answers.
pub fn walk_where(
    blocks: &dyn Blocks,
    root: u64,
    length: usize,
    enter: &mut dyn FnMut(u64) -> Result<bool>,
    visit: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut walk = Walk {
        blocks,
        length,
        enter,
        visit,
    };
    walk.descend(root, 0, (0, u64::MAX))
}

struct Walk<'w> {
    blocks: &'w dyn Blocks,
    length: usize,
    enter: &'w mut dyn FnMut(u64) -> Result<bool>,
    visit: &'w mut dyn FnMut(u64, &[u8]) -> Result<()>,
}

impl Walk<'_> {
    /// `range`: the keys that may be in a node, both ends included. It is what ends the walk of a
    /// damaged tree: a node that has keys is beneath one parent's entry only.
    fn descend(&mut self, number: u64, depth: usize, range: (u64, u64)) -> Result<()> {
        if depth == DEPTH {
            return Err(corrupt("a tree leads back into itself"));
        }
        if !(self.enter)(number)? {
            return Ok(());
        }
        let node = Node::read(self.blocks, number, self.length)?;
        let (mut least, most) = range;
        for index in 0..node.entries {
            let key = node.key(index);
            if key < least || key > most {
                return Err(corrupt("the keys of a tree are not in order"));
            }
            if node.is_leaf {
                (self.visit)(key, node.value(index))?;
            } else {
                let end = match index + 1 < node.entries {
                    true => node.key(index + 1).saturating_sub(1),
                    false => most,
                };
                self.descend(node.child(index), depth + 1, (key, end))?;
            }
            least = key.saturating_add(1);
        }
        Ok(())
    }
}
