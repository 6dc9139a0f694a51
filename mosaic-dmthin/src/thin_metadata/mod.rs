// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pool's own metadata, read beside the kernel that writes it.
//!
//! The kernel tells nobody which thin ids there are, and what an inactive one takes. Both stand in a
//! B-tree on the metadata device. The kernel never writes over a block that the last committed
//! superblock leads to, so who reads the superblock, then the tree, and then finds the same
//! superblock has read one state. Nothing is reserved and nothing written for that.
//!
//! A pool that allocates and flushes without pause commits faster than that. Each node tells by
//! checksum, number and kind that it is one of the tree, and ids come and go only by messages: so two
//! readings one after the other that agree on the ids are as good.
//!
//! Kernel: drivers/md/dm-thin-metadata.c, drivers/md/persistent-data/dm-btree-internal.h
//! (Linux 6.1). All integers are little-endian.

pub mod btree;
pub mod exclusive;
pub mod space_map;
pub mod superblock;

use mosaic_core::{Error, ErrorKind, Result};

pub use superblock::Superblock;

use crate::target::ThinId;

/// Bytes of a metadata block (`THIN_METADATA_BLOCK_SIZE`).
pub const BLOCK: usize = 4096;

/// Bytes of a value that is one number.
const NUMBER: usize = 8;

/// How often a state is read that changed meanwhile.
const TRIES: usize = 100;

/// A metadata device.
pub trait Blocks {
    /// Reads one block.
    ///
    /// # Errors
    /// The kernel's.
    fn block(&self, number: u64) -> Result<Box<[u8; BLOCK]>>;
}

/// What the metadata say of one thin device (`struct disk_device_details`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Details {
    /// Data blocks that it has, shared or not.
    pub mapped: u64,
    /// The pool's transaction id when it was made.
    pub made_in: u64,
}

impl Details {
    /// Bytes of it in the tree.
    const LENGTH: usize = 24;

    fn decode(value: &[u8]) -> Result<Self> {
        let value = value.first_chunk::<{ Self::LENGTH }>();
        let value = value.ok_or_else(|| corrupt("the details of a device are too short"))?;
        Ok(Self {
            mapped: le64(value, 0),
            made_in: le64(value, 8),
        })
    }
}

/// The thin device of an id; `None`: the pool has none.
///
/// # Errors
/// `Corrupt` for damage; `Busy` if no two readings agreed; the kernel's.
pub fn find(blocks: &dyn Blocks, id: ThinId) -> Result<Option<Details>> {
    let made_in = |details: &Option<Details>| details.map(|details| details.made_in);
    consistently(
        blocks,
        |one, other| made_in(one) == made_in(other),
        |superblock| {
            let root = superblock.details_root;
            let value = btree::find(blocks, root, id.number().into(), Details::LENGTH)?;
            value.map(|value| Details::decode(&value)).transpose()
        },
    )
}

/// All thin devices of a pool.
///
/// # Errors
/// As [`find`].
pub fn list(blocks: &dyn Blocks) -> Result<Vec<(ThinId, Details)>> {
    let ids = |list: &[(ThinId, Details)]| -> Vec<(ThinId, u64)> {
        list.iter()
            .map(|(id, details)| (*id, details.made_in))
            .collect()
    };
    consistently(
        blocks,
        |one: &Vec<_>, other| ids(one) == ids(other),
        |superblock| {
            let mut found = Vec::new();
            let root = superblock.details_root;
            btree::walk(blocks, root, Details::LENGTH, &mut |key, value| {
                let id = u32::try_from(key).ok().and_then(ThinId::new);
                let id = id.ok_or_else(|| corrupt("a device's id has more than 24 bits"))?;
                found.push((id, Details::decode(value)?));
                Ok(())
            })?;
            Ok(found)
        },
    )
}

/// The data block in which a pool has a block of a thin device; `None`: in none yet.
///
/// # Errors
/// As [`find`]; a pool that moves it all the time is not for this.
pub fn find_block(blocks: &dyn Blocks, id: ThinId, block: u64) -> Result<Option<u64>> {
    let lookup = |root, key| {
        let value = btree::find(blocks, root, key, NUMBER)?;
        Ok::<_, Error>(value.map(|value| le64(&value, 0)))
    };
    consistently(
        blocks,
        |one, other| one == other,
        |superblock| match lookup(superblock.mapping_root, id.number().into())? {
            None => Ok(None),
            // In the lower 24 bits stands when the device got the block.
            Some(root) => Ok(lookup(root, block)?.map(|found| found >> 24)),
        },
    )
}

/// Reads the superblock, then what it leads to, until both are of one state, or two readings agree.
fn consistently<T>(
    blocks: &dyn Blocks,
    agree: impl Fn(&T, &T) -> bool,
    mut read: impl FnMut(&Superblock) -> Result<T>,
) -> Result<T> {
    let mut last = None;
    for _ in 0..TRIES {
        let before = blocks.block(0)?;
        let outcome = Superblock::decode(&before[..]).and_then(|superblock| read(&superblock));
        if blocks.block(0)? == before {
            return outcome;
        }
        match (&last, &outcome) {
            (Some(Ok(last)), Ok(now)) if agree(last, now) => return outcome,
            _ => last = Some(outcome),
        }
    }
    match last {
        Some(Err(error)) => Err(error),
        _ => Err(Error::new(
            ErrorKind::Busy,
            "the thin pool's metadata change faster than they can be read",
        )),
    }
}

fn corrupt(why: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the thin pool's metadata is damaged: {why}"),
    )
}

/// Four bytes within an array whose length is known to hold them.
fn le32(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

/// Eight bytes within an array whose length is known to hold them.
fn le64(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
pub(crate) mod tests;
