// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a pool can do what a verb needs; if not, what to do.

use mosaic_core::{Bytes, Error, ErrorKind, Result};

use crate::target::{PoolMode, PoolStatus, Usage, WorkingPool};
use crate::thin_metadata::BLOCK;
use crate::thin_pool::ThinPool;

/// The share of its data blocks that is kept free unless the config says how much, and the most
/// that this can be.
const KEPT_DATA: (u64, u64) = (50, 1 << 30);
/// The share of its metadata blocks that is kept free where the kernel does not say when they are
/// low, and the most that this can be, in blocks (`pool->...metadata_low_watermark`, dm-thin.c).
const KEPT_METADATA: (u64, u64) = (4, 1024);

/// How much stays free: what would need more is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Floors {
    /// For data; `None`: a 50th of all, 1 GiB at most.
    pub data: Option<Bytes>,
    /// For metadata; `None`: where the kernel says that it is low, a quarter and 4 MiB at most.
    pub metadata: Option<Bytes>,
}

/// Goes on if the pool takes messages and its metadata met no error.
///
/// # Errors
/// `Io` for one that is failed, read-only or has to be checked, with the commands that mend it.
pub fn require_writable(pool: &dyn ThinPool, status: PoolStatus) -> Result<WorkingPool> {
    let refuse = |what: &str, way: String| {
        let text = format!("{} {what}; {way}", pool.label());
        Err(Error::new(ErrorKind::Io, text))
    };
    let status = match status {
        PoolStatus::Fail => {
            return refuse("has failed: its metadata cannot be used", pool.way_back());
        }
        PoolStatus::Error => return refuse("cannot say how it is", pool.way_back()),
        PoolStatus::Working(status) => status,
    };
    let check = "met an error of its metadata and needs a check (needs_check)";
    match status.mode {
        _ if status.needs_check => refuse(check, pool.way_back()),
        // Without an error, that is what the kernel does when they are used up.
        PoolMode::ReadOnly if status.metadata.free() == 0 => refuse(
            &format!(
                "is out of metadata, {} blocks used (mode ro)",
                status.metadata
            ),
            grow("metadata", pool.metadata_device()),
        ),
        PoolMode::ReadOnly => refuse("is read-only (mode ro)", pool.way_back()),
        PoolMode::ReadWrite | PoolMode::OutOfDataSpace => Ok(status),
    }
}

/// What is to be done about a pool that is too small.
fn grow(what: &str, device: String) -> String {
    format!("grow its {what} device {device} and run check --repair")
}

impl Floors {
    /// The floor of data, in data blocks.
    pub fn data_blocks(self, status: &WorkingPool, block: Bytes) -> u64 {
        let all = status.data.total;
        match self.data {
            Some(bytes) => bytes.0.div_ceil(block.0),
            None => (all / KEPT_DATA.0).min(KEPT_DATA.1 / block.0),
        }
    }

    /// The floor of metadata, in metadata blocks.
    pub fn metadata_blocks(self, status: &WorkingPool) -> u64 {
        let all = status.metadata.total;
        let low = status.metadata_low_water;
        match self.metadata {
            Some(bytes) => bytes.0.div_ceil(BLOCK as u64),
            None => low.unwrap_or((all / KEPT_METADATA.0).min(KEPT_METADATA.1)),
        }
    }

    /// Goes on if so many data blocks can be taken and no floor is reached. What was given back a
    /// moment ago counts: the pool is made to commit before it is refused for.
    ///
    /// # Errors
    /// `NoSpace`, with both numbers and the way out.
    pub fn require(self, pool: &dyn ThinPool, status: &WorkingPool, blocks: u64) -> Result<()> {
        let refused = match self.compare(pool, status, blocks) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        match pool.committed_status()? {
            PoolStatus::Working(now) => self.compare(pool, &now, blocks),
            PoolStatus::Fail | PoolStatus::Error => Err(refused),
        }
    }

    fn compare(self, pool: &dyn ThinPool, status: &WorkingPool, blocks: u64) -> Result<()> {
        let (data, metadata) = (
            self.data_blocks(status, pool.block()),
            self.metadata_blocks(status),
        );
        let refuse = |what: &str, usage: Usage, floor: u64, device: String| {
            let (free, total) = (usage.free(), usage.total);
            let mode = match status.mode {
                PoolMode::OutOfDataSpace => " (mode out_of_data_space)",
                _ => "",
            };
            let text = format!(
                "{} has {free} of {total} {what} blocks free{mode}, and {floor} are kept free; {}, \
                 or drop volumes",
                pool.label(),
                grow(what, device)
            );
            Err(Error::new(ErrorKind::NoSpace, text))
        };
        let is_full = status.mode == PoolMode::OutOfDataSpace;
        if is_full || status.data.free() < blocks.saturating_add(data) {
            return refuse("data", status.data, data, pool.data_device());
        }
        if status.metadata.free() <= metadata {
            return refuse(
                "metadata",
                status.metadata,
                metadata,
                pool.metadata_device(),
            );
        }
        Ok(())
    }
}
