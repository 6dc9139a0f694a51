// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes a location: a pool on blank devices, a catalog and the metadata file system in it.
//!
//! The catalog is the first thin device that is made, and the pool's transaction id is 0 until all is
//! there. So a pool at transaction 0 that has the catalog's thin id, and no other but the metadata's,
//! is what a killed init left: the next one begins it again, if what stands on the catalog's device
//! does not speak against that. A power cut leaves more: metadata without the superblock, which the
//! kernel writes last, with nothing on the data device yet; or a state whose first page is lost. Both
//! are begun again as well.
//!
//! Two at once do no harm: the pool is made with the lock of its metadata device, the rest with the
//! pool's ([`ActivationLock`]) and with the catalog's device held exclusively. That is what the host
//! holds for every other command that changes something, so none begins before this is done.

use mosaic_core::volume::InitOptions;
use mosaic_core::{Bytes, Error, ErrorKind, Host, Result};

use crate::activation::{self, ActivationLock, Expected};
use crate::blank;
use crate::catalog::slot::PAGE;
use crate::config::{Options, PoolDevices};
use crate::first_state::{self, ids, is_first_state, is_half_made};
use crate::idle_pool::{self, IdlePool};
use crate::kernel_pool::pool_status;
use crate::locate::{self, FoundPool};
use crate::naming;
use crate::target::{BLOCK_MAX, BLOCK_STEP, PoolStatus, Sectors, ThinId};
use crate::thin_metadata::{self, Superblock};
use mosaic_core::dm::Dm;

/// Metadata for each data block, by the kernel's own rule, and the least that a pool needs
/// (Documentation/admin-guide/device-mapper/thin-provisioning.rst).
const METADATA_PER_BLOCK: u64 = 48;
const METADATA_MIN: u64 = 2 << 20;

/// Steps: see that the devices are blank and nobody's; make the pool; `create_thin` of the catalog
/// and of the metadata, mkfs; write the first state; **commit**: its transaction id, which is
/// random, so that no other pool is taken for this one (`PoolUuid::first_transaction`). Killed before
/// that, the same call begins again.
///
/// # Errors
/// `Exists` if something is there already, naming it; `Unsupported` for a pool that is somebody
/// else's; `NoSpace`.
pub fn init(dm: Dm<'_>, host: &Host, options: &Options, how: &InitOptions) -> Result<Vec<String>> {
    options.default_fs.check_available()?;
    let mut made = Vec::new();
    let found = match (locate::find(dm, options)?, &options.devices) {
        (Some(found), _) => found,
        (None, Some(devices)) => make_pool(dm, host, options, devices, how, &mut made)?,
        (None, None) => return Err(locate::not_active(options)),
    };
    let _lock = ActivationLock::take(host, found.number)?;
    require_unused(dm, options, &found, how)?;
    if first_state::finish_begun(dm, host, options, &found)? {
        made.push(format!("finished thin pool {:?}", found.name));
        return Ok(made);
    }
    first_state::make(dm, host, options, &found)?;
    made.push(format!(
        "made a catalog in thin pool {:?}, data block {}",
        found.name,
        Bytes(found.table.block.bytes())
    ));
    made.push(format!(
        "made the metadata file system, {} of {}",
        options.default_fs, options.metadata_size
    ));
    Ok(made)
}

/// Makes a pool, or activates one that holds nothing yet.
fn make_pool(
    dm: Dm<'_>,
    host: &Host,
    options: &Options,
    devices: &PoolDevices,
    how: &InitOptions,
    made: &mut Vec<String>,
) -> Result<FoundPool> {
    let (data, metadata) = idle_pool::numbers(devices)?;
    let name = locate::pool_name(&options.location)?;
    let _lock = ActivationLock::take(host, metadata)?;
    // Another init, meanwhile.
    if let Some(found) = locate::find(dm, options)? {
        return Ok(found);
    }
    activation::remove_left(dm, name, metadata)?;
    // Mounted, part of something, or in another pool: refused whatever is forced.
    let idle = IdlePool::claim(dm, devices)?;
    if !how.force && was_begun(&idle)? {
        drop(idle);
        return activation::activate(dm, host, options, devices, Expected::Beginning);
    }
    let block = block_size(devices, idle.data.size()?, idle.metadata.size()?)?;
    refuse_content(host, &idle, how.force)?;
    // The kernel formats what begins with zeroes. A superblock of another system in the data would
    // still be taken for one.
    for device in [&idle.data, &idle.metadata] {
        blank::wipe(device)?;
    }
    drop(idle);
    let table = activation::table(devices, data, metadata, block);
    let length = activation::pool_length(data, block)?;
    let found = activation::make(dm, name, &table, length)?;
    made.push(format!(
        "made thin pool {name:?} of {:?} and {:?}",
        devices.data, devices.metadata
    ));
    Ok(found)
}

/// Whether both devices hold nothing but, perhaps, the beginning of an init: an empty pool, and the
/// place where its catalog goes first.
fn was_begun(idle: &IdlePool<'_>) -> Result<bool> {
    let first = idle.metadata.read(0, PAGE)?;
    let Some(superblock) = Superblock::decode(&first).ok() else {
        return Ok(false);
    };
    let Some(ids) = thin_metadata::list(&idle.metadata).ok() else {
        return Ok(false);
    };
    let ids: Vec<ThinId> = ids.into_iter().map(|(id, _)| id).collect();
    let page = idle.data.read(0, PAGE)?;
    Ok(superblock.transaction == 0
        && match ids.is_empty() {
            true => blank::content(&idle.data)?.is_none(),
            // The page may be lost, and what was written after it not.
            false if !is_half_made(&ids) => false,
            // Without the page, after a power cut, what was written behind it may be there.
            false if page.iter().all(|byte| *byte == 0) => !blank::is_marked(&idle.data)?,
            false => is_first_state(&page),
        })
}

/// Names all that is there, on both devices: `--force` destroys all of it. A pool that the kernel
/// had not made yet when power was cut is nothing.
fn refuse_content(host: &Host, idle: &IdlePool<'_>, force: bool) -> Result<()> {
    if blank::is_begun_pool(&idle.metadata)? && blank::content(&idle.data)?.is_none() {
        return Ok(());
    }
    let mut held = Vec::new();
    for device in [&idle.metadata, &idle.data] {
        if let Some(content) = blank::content(device)? {
            let pool = thin_metadata::list(device);
            let devices = pool.map_or(String::new(), |ids| format!(" with {} devices", ids.len()));
            held.push(format!("{content}{devices} on {:?}", device.path()));
        }
    }
    let held = held.join(", and ");
    match (held.is_empty(), force) {
        (true, _) => Ok(()),
        (false, true) => {
            host.warn(&format!("destroys {held}"));
            Ok(())
        }
        (false, false) => Err(Error::new(
            ErrorKind::Exists,
            format!("there is {held}; only blank devices are taken, and --force destroys that"),
        )),
    }
}

/// The block size asked for, or the least with which the metadata fit their device.
fn block_size(devices: &PoolDevices, data: Bytes, metadata: Bytes) -> Result<Sectors> {
    let needed = |block: Sectors| {
        let blocks = data.0 / block.bytes();
        METADATA_MIN.max(blocks.saturating_mul(METADATA_PER_BLOCK))
    };
    let mut block = devices.block.unwrap_or(BLOCK_STEP);
    while devices.block.is_none() && needed(block) > metadata.0 && block < BLOCK_MAX {
        block = Sectors(block.0 * 2);
    }
    if needed(block) > metadata.0 {
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!(
                "{:?} has {metadata}, and a pool of {data} in blocks of {} needs {} of metadata",
                devices.metadata,
                Bytes(block.bytes()),
                Bytes(needed(block))
            ),
        ));
    }
    if data.0 < 16 * block.bytes() {
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!("{:?} has only {data}", devices.data),
        ));
    }
    Ok(block)
}

/// Refuses a pool that is in use, or not Mosaic's to take.
fn require_unused(
    dm: Dm<'_>,
    options: &Options,
    found: &FoundPool,
    how: &InitOptions,
) -> Result<()> {
    let pool = locate::shown(&options.location);
    let refuse = |kind, why: &str| Err(Error::new(kind, format!("thin pool {pool} {why}")));
    let ids = ids(found)?;
    let transaction = match pool_status(dm, found.number, false)? {
        PoolStatus::Working(status) => status.transaction,
        status => return refuse(ErrorKind::Io, &format!("says {status}")),
    };
    let is_ours = found.uuid.starts_with(naming::SUBSYSTEM) || how.adopt;
    match transaction {
        0 if is_ours && (ids.is_empty() || is_half_made(&ids)) => Ok(()),
        0 if is_half_made(&ids) => refuse(
            ErrorKind::Exists,
            "has what an init seems to have begun; init --adopt begins it again",
        ),
        0 if ids.is_empty() => refuse(
            ErrorKind::Exists,
            "is there already, and empty; init --adopt takes it over",
        ),
        1.. if ids.contains(&ThinId::CATALOG) => refuse(ErrorKind::Exists, "has a catalog already"),
        _ => refuse(
            ErrorKind::Unsupported,
            "is in use by something else: it is at a transaction, or has thin devices, that are not \
             Mosaic's",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(block: Option<u64>) -> PoolDevices {
        PoolDevices {
            data: "/dev/sdb".into(),
            metadata: "/dev/sdc".into(),
            block: block.map(Sectors),
            low_water: None,
            error_if_no_space: true,
            skip_zeroing: false,
        }
    }

    #[test]
    fn a_block_is_as_large_as_the_metadata_want_it() {
        let gib = |n: u64| Bytes(n << 30);
        let by_rule = |data, metadata| block_size(&devices(None), data, metadata);
        assert_eq!(by_rule(gib(16), Bytes(16 << 20)).unwrap(), Sectors(128));
        assert_eq!(by_rule(gib(16), Bytes(8 << 20)).unwrap(), Sectors(256));
        assert_eq!(by_rule(gib(1 << 10), gib(1)).unwrap(), Sectors(128));
        assert_eq!(by_rule(gib(1), Bytes(2 << 20)).unwrap(), Sectors(128));
        let small = by_rule(gib(1), Bytes(1 << 20)).unwrap_err();
        assert_eq!(small.kind(), ErrorKind::NoSpace);
        let asked = block_size(&devices(Some(128)), gib(16), Bytes(8 << 20)).unwrap_err();
        assert_eq!(asked.kind(), ErrorKind::NoSpace);
        assert!(asked.to_string().contains("12 MiB"), "{asked}");
        assert!(by_rule(Bytes(1 << 19), gib(1)).is_err());
    }
}
