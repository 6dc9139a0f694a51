// SPDX-License-Identifier: MIT OR Apache-2.0
//! How full the pool is, and what else is to be known of it.

use mosaic_core::volume::{About, Space};
use mosaic_core::{Bytes, Error, ErrorKind, Result};

use crate::block_device;
use crate::config::{Options, PoolDevices};
use crate::health::{Floors, require_writable};
use crate::info::truth;
use crate::kernel_pool::KernelPool;
use crate::reload::{differences, wanted};
use crate::remedy;
use crate::target::{DeviceNumber, PoolStatus, Usage, WorkingPool};
use crate::thin_metadata::BLOCK;
use crate::thin_pool::ThinPool;

/// Space of data and of metadata. What is kept free is not free.
///
/// # Errors
/// `Io` for a pool that has failed; the kernel's.
pub fn space(pool: &KernelPool<'_>, floors: Floors) -> Result<Vec<Space>> {
    let status = working(pool)?;
    let class = |class: &str, usage: Usage, kept: u64, block: u64| Space {
        class: class.to_owned(),
        total: Bytes(usage.total.saturating_mul(block)),
        used: Bytes(usage.used.saturating_mul(block)),
        free: Bytes(usage.free().saturating_sub(kept).saturating_mul(block)),
    };
    let block = pool.block();
    let (data, metadata) = (
        floors.data_blocks(&status, block),
        floors.metadata_blocks(&status),
    );
    Ok(vec![
        class("data", status.data, data, block.0),
        class("metadata", status.metadata, metadata, BLOCK as u64),
    ])
}

fn working(pool: &KernelPool<'_>) -> Result<WorkingPool> {
    match pool.status()? {
        PoolStatus::Working(status) => Ok(status),
        PoolStatus::Fail | PoolStatus::Error => Err(Error::new(
            ErrorKind::Io,
            format!("{} has failed; {}", pool.label(), pool.way_back()),
        )),
    }
}

/// The pool by name, devices, mode and numbers.
///
/// # Errors
/// As [`space`].
pub fn about(pool: &KernelPool<'_>, options: &Options) -> Result<About> {
    let (status, floors) = (working(pool)?, options.floors);
    let path = |number: DeviceNumber| match block_device::node(number) {
        Ok(path) => path.display().to_string(),
        Err(_) => number.to_string(),
    };
    let block = pool.block();
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let kept_data = floors.data_blocks(&status, block).saturating_mul(block.0);
    let kept_metadata = floors.metadata_blocks(&status).saturating_mul(BLOCK as u64);
    let low_water = pool.table.low_water.saturating_mul(block.0);
    let mut facts = vec![
        ("pool", pool.name.clone()),
        ("data device", path(pool.table.data)),
        ("metadata device", path(pool.table.metadata)),
        ("data block", block.to_string()),
        ("low water", Bytes(low_water).to_string()),
        ("mode", status.mode.to_string()),
        ("needs check", yes(status.needs_check)),
        ("transaction", status.transaction.to_string()),
        ("data kept free", Bytes(kept_data).to_string()),
        ("metadata kept free", Bytes(kept_metadata).to_string()),
        (
            "zeroes new blocks",
            yes(!pool.table.features.skip_block_zeroing),
        ),
        ("fails when full", yes(status.error_if_no_space)),
        ("discards", status.discard.clone()),
    ];
    let truth = truth(pool);
    if let Ok(truth) = &truth {
        facts.push(("catalog", truth.header.pool.to_string()));
    }
    let mut notes = Vec::new();
    notes.extend(remedy::held_snapshot(pool, &status));
    if let Err(error) = truth {
        notes.push(error.chain());
    }
    match require_writable(pool, PoolStatus::Working(status)) {
        Err(error) => notes.push(error.chain()),
        Ok(status) => notes.extend(floors.require(pool, &status, 0).err().map(|e| e.chain())),
    }
    if let Some(devices) = &options.devices {
        notes.extend(unlike_config(pool, devices));
    }
    let facts = facts.into_iter();
    Ok(About {
        notes,
        facts: facts.map(|(name, fact)| (name.to_owned(), fact)).collect(),
    })
}

/// In what the pool is not as the config says.
fn unlike_config(pool: &KernelPool<'_>, devices: &PoolDevices) -> Vec<String> {
    let mut notes = differences(&pool.table, &wanted(&pool.table, devices));
    for note in &mut notes {
        note.push_str("; check --repair loads that");
    }
    let block = pool.table.block;
    if let Some(says) = devices.block.filter(|says| *says != block) {
        notes.push(format!(
            "pool.block_size: {} for the pool's whole life, and the config says {}",
            Bytes(block.bytes()),
            Bytes(says.bytes())
        ));
    }
    notes
}
