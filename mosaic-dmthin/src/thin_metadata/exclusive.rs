// SPDX-License-Identifier: MIT OR Apache-2.0
//! What only one thin device has: the blocks that come back when it goes.
//!
//! A snapshot shares the nodes of its origin's mappings until one of both is written to, and then the
//! blocks. So what is beneath a node that two refer to is shared, and need not be looked at: a new
//! clone is counted with one look. A volume that has much for itself has many nodes; the counting
//! has an end all the same, and then there is no answer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Instant;

use mosaic_core::{Error, ErrorKind, Result};

use super::space_map::{Root, SpaceMap};
use super::{BLOCK, Blocks, NUMBER, Superblock, btree, le64};
use crate::target::ThinId;

/// How often a device is counted again of which the metadata changed meanwhile.
const TRIES: usize = 3;
/// Most blocks that are kept for the next look.
const KEPT: usize = 4096;

/// What it may take.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// So many blocks read.
    Blocks(usize),
    /// So long.
    Until(Instant),
}

/// The data blocks that only each of these devices has, of as many of them as could be counted.
pub fn count(blocks: &dyn Blocks, ids: &[ThinId], limit: Limit) -> HashMap<ThinId, u64> {
    let mut found = HashMap::new();
    let spent = Cell::new(0);
    let mut state = None;
    for id in ids {
        for _ in 0..TRIES {
            let Some(now) = state.take().or_else(|| State::read(blocks, limit, &spent)) else {
                return found;
            };
            let counted = now.count(*id);
            if counted.is_err() && now.blocks.is_spent() {
                return found;
            }
            // Whatever else was read is of that state then.
            if blocks.block(0).is_ok_and(|block| block == now.first) {
                found.extend(counted.ok().flatten().map(|count| (*id, count)));
                state = Some(now);
                break;
            }
        }
    }
    found
}

/// The metadata at one time, with what was read of them.
struct State<'b> {
    first: Box<[u8; BLOCK]>,
    superblock: Superblock,
    blocks: Kept<'b>,
}

impl<'b> State<'b> {
    /// `None`: the limit is reached, or there is no superblock.
    fn read(blocks: &'b dyn Blocks, limit: Limit, spent: &'b Cell<usize>) -> Option<Self> {
        let blocks = Kept {
            blocks,
            limit,
            spent,
            kept: RefCell::default(),
        };
        let first = blocks.block(0).ok()?;
        let superblock = Superblock::decode(&first[..]).ok()?;
        blocks.kept.borrow_mut().clear();
        Some(Self {
            first,
            superblock,
            blocks,
        })
    }

    fn count(&self, id: ThinId) -> Result<Option<u64>> {
        let (superblock, blocks) = (&self.superblock, &self.blocks);
        let key = id.number().into();
        let root = btree::find(blocks, superblock.mapping_root, key, NUMBER)?;
        let Some(root) = root.map(|root| le64(&root, 0)) else {
            return Ok(None);
        };
        let mut nodes = SpaceMap::new(blocks, Root::Metadata(superblock.metadata_bitmaps));
        let mut data = SpaceMap::new(blocks, Root::Data(superblock.data_bitmaps));
        let mut count = 0;
        btree::walk_where(
            blocks,
            root,
            NUMBER,
            &mut |node| nodes.is_single(node),
            &mut |_, value| {
                count += u64::from(data.is_single(le64(value, 0) >> 24)?);
                Ok(())
            },
        )?;
        Ok(Some(count))
    }
}

/// Blocks that are read once, and not without end.
struct Kept<'b> {
    blocks: &'b dyn Blocks,
    limit: Limit,
    spent: &'b Cell<usize>,
    kept: RefCell<HashMap<u64, Box<[u8; BLOCK]>>>,
}

impl Kept<'_> {
    fn is_spent(&self) -> bool {
        match self.limit {
            Limit::Blocks(most) => self.spent.get() >= most,
            Limit::Until(end) => Instant::now() >= end,
        }
    }
}

impl Blocks for Kept<'_> {
    fn block(&self, number: u64) -> Result<Box<[u8; BLOCK]>> {
        if let Some(block) = self.kept.borrow().get(&number) {
            return Ok(block.clone());
        }
        if self.is_spent() {
            return Err(Error::new(ErrorKind::Busy, "that takes too long"));
        }
        self.spent.set(self.spent.get() + 1);
        let block = self.blocks.block(number)?;
        let mut kept = self.kept.borrow_mut();
        if kept.len() < KEPT {
            kept.insert(number, block.clone());
        }
        Ok(block)
    }
}
