// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes a location: a pool on blank devices, a catalog and the metadata file system in it.
//!
//! The catalog is the first thin device that is made, and the pool's transaction id is 0 until all is
//! there. So a pool at transaction 0 that has the catalog's thin id, and no other but the metadata's,
//! is what a killed init left: the next one begins it again.

use std::path::Path;

use mosaic_core::volume::InitOptions;
use mosaic_core::{Bytes, Error, ErrorKind, Host, Result};
use rustix::fs::OFlags;

use crate::activation::{self, ActivationLock};
use crate::blank;
use crate::block_device::{self, BlockDevice};
use crate::catalog::slot::{PAGE, PoolUuid, SlotIndex};
use crate::catalog::{Catalog, Metadata, store};
use crate::catalog_device;
use crate::config::{Options, PoolDevices};
use crate::create::with_device;
use crate::dm::Dm;
use crate::health::require_writable;
use crate::kernel_pool::{KernelPool, pool_status, send};
use crate::locate::{self, FoundPool};
use crate::naming;
use crate::target::{BLOCK_MAX, BLOCK_STEP, Message, PoolStatus, Sectors, ThinId};
use crate::thin_metadata::{self, Superblock};
use crate::thin_pool::{Setup, ThinPool};
use crate::transaction::is_proof;

/// Metadata for each data block, by the kernel's own rule, and the least that a pool needs
/// (Documentation/admin-guide/device-mapper/thin-provisioning.rst).
const METADATA_PER_BLOCK: u64 = 48;
const METADATA_MIN: u64 = 2 << 20;

/// Steps: see that the devices are blank and nobody's; make the pool; `create_thin` of the catalog
/// and of the metadata, mkfs; write the first state; **commit**: transaction id 1. Killed before that,
/// the same call begins again.
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
    make_catalog(dm, host, options, &found)?;
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
    let (data, metadata) = (
        block_device::number(&devices.data)?,
        block_device::number(&devices.metadata)?,
    );
    if data == metadata {
        return Err(Error::config(
            "pool.metadata",
            "is the same device as pool.data",
        ));
    }
    let name = locate::pool_name(&options.location)?;
    let _lock = ActivationLock::take(host, metadata)?;
    activation::remove_left(dm, name, metadata)?;
    // Mounted, part of something, or in another pool: refused whatever is forced.
    let open = |number| BlockDevice::open(number, OFlags::RDWR | OFlags::EXCL);
    let (data_device, metadata_device) = (open(data)?, open(metadata)?);
    let first = metadata_device.read(0, PAGE)?;
    if !how.force && Superblock::is_marked(&first) && is_unused(&metadata_device)? {
        drop((data_device, metadata_device));
        return activation::activate(dm, host, options, devices);
    }
    let block = block_size(devices, data_device.size()?, metadata_device.size()?)?;
    for device in [&metadata_device, &data_device] {
        refuse_content(host, device, how.force)?;
    }
    // The kernel formats what begins with zeroes. A superblock of another system in the data would
    // still be taken for one.
    for device in [&data_device, &metadata_device] {
        blank::wipe(device)?;
    }
    drop((data_device, metadata_device));
    let table = activation::table(devices, data, metadata, block);
    let length = activation::pool_length(data, block)?;
    let found = activation::make(dm, name, &table, length)?;
    made.push(format!(
        "made thin pool {name:?} of {:?} and {:?}",
        devices.data, devices.metadata
    ));
    Ok(found)
}

/// Whether an inactive pool holds nothing but, perhaps, the beginning of an init.
fn is_unused(metadata: &BlockDevice) -> Result<bool> {
    let first = metadata.read(0, PAGE)?;
    let superblock = Superblock::decode(&first)?;
    let ids = thin_metadata::list(metadata)?;
    let ids: Vec<ThinId> = ids.into_iter().map(|(id, _)| id).collect();
    Ok(superblock.transaction == 0 && (ids.is_empty() || is_half_made(&ids)))
}

fn is_half_made(ids: &[ThinId]) -> bool {
    let ours = [ThinId::CATALOG, ThinId::METADATA];
    ids.contains(&ThinId::CATALOG) && ids.iter().all(|id| ours.contains(id))
}

fn refuse_content(host: &Host, device: &BlockDevice, force: bool) -> Result<()> {
    let Some(content) = blank::content(device)? else {
        return Ok(());
    };
    let path = device.path();
    if force {
        host.warn(&format!("destroys {content} on {path:?}"));
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Exists,
        format!("{path:?} is not blank: it holds {content}; --force destroys that"),
    ))
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
    let is_ours = found.uuid.starts_with(naming::SUBSYSTEM);
    match transaction {
        0 if is_half_made(&ids) => Ok(()),
        0 if ids.is_empty() && (is_ours || how.adopt) => Ok(()),
        0 if ids.is_empty() => refuse(
            ErrorKind::Exists,
            "is there already, and empty; init --adopt takes it over",
        ),
        _ if ids.contains(&ThinId::CATALOG) => refuse(ErrorKind::Exists, "has a catalog already"),
        _ => refuse(
            ErrorKind::Unsupported,
            "is in use by something else: it is at a transaction, or has thin devices, that are not \
             Mosaic's",
        ),
    }
}

fn ids(found: &FoundPool) -> Result<Vec<ThinId>> {
    let flags = OFlags::RDONLY | OFlags::DIRECT;
    let metadata = BlockDevice::open(found.table.metadata, flags)?;
    let list = thin_metadata::list(&metadata)?;
    Ok(list.into_iter().map(|(id, _)| id).collect())
}

/// Makes both thin devices anew, and the first state. What fails is undone; what a kill left of that
/// is [half made](is_half_made).
fn make_catalog(dm: Dm<'_>, host: &Host, options: &Options, found: &FoundPool) -> Result<()> {
    delete_half_made(dm, found)?;
    let done = fill(dm, host, options, found);
    match done {
        Ok(()) => Ok(()),
        Err(error) => Err(error.after_undo(delete_half_made(dm, found))),
    }
}

/// Deletes what an init made that did not come to its end: the metadata first, as the catalog is what
/// tells that it was an init.
fn delete_half_made(dm: Dm<'_>, found: &FoundPool) -> Result<()> {
    let ids = ids(found)?;
    for id in [ThinId::METADATA, ThinId::CATALOG] {
        if ids.contains(&id) {
            activation::remove_thin(dm, found.number, id)?;
            send(dm, found.number, Message::Delete(id))?;
        }
    }
    Ok(())
}

fn fill(dm: Dm<'_>, host: &Host, options: &Options, found: &FoundPool) -> Result<()> {
    send(dm, found.number, Message::CreateThin(ThinId::CATALOG))?;
    let device = catalog_device::open_locked(dm, found)?;
    let pool = KernelPool::new(dm, host, found.clone(), device, options.devices.is_some());
    let catalog = Catalog::new(Metadata {
        fs: options.default_fs.name().to_owned(),
        size: options.metadata_size,
    });
    let capacity = store::wanted_capacity(&catalog, pool.block().0)?;
    store::provision(pool.catalog(), 0, capacity)?;
    pool.message(Message::CreateThin(ThinId::METADATA))?;
    require_writable(&pool, pool.status()?)?;
    let setup = Setup {
        size: options.metadata_size,
        read_only: false,
    };
    with_device(&pool, ThinId::METADATA, setup, &|device: &Path| {
        options.default_fs.make(host, device)
    })?;
    host.check_cancelled()?;
    let uuid = random_uuid()?;
    store::write(
        pool.catalog(),
        SlotIndex::First,
        uuid,
        1,
        capacity,
        &catalog,
    )?;
    pool.message(Message::SetTransactionId(0, 1))?;
    match is_proof(&pool.committed_status()?, 1) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Io,
            format!(
                "{} does not prove its first state; {}",
                pool.label(),
                pool.way_back()
            ),
        )),
    }
}

/// A random uuid of the kernel's (random(4)).
fn random_uuid() -> Result<PoolUuid> {
    let path = "/proc/sys/kernel/random/uuid";
    let none = || Error::new(ErrorKind::Io, format!("{path} gives no uuid"));
    let text = std::fs::read_to_string(path).map_err(|error| none().with_source(error))?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16).map_err(|_| none())?;
    Ok(PoolUuid(number.to_be_bytes()))
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

    #[test]
    fn only_the_catalogs_id_tells_of_an_init() {
        let other = ThinId::VOLUMES.0;
        assert!(is_half_made(&[ThinId::CATALOG]));
        assert!(is_half_made(&[ThinId::METADATA, ThinId::CATALOG]));
        assert!(!is_half_made(&[]));
        assert!(!is_half_made(&[ThinId::METADATA]));
        assert!(!is_half_made(&[other, ThinId::CATALOG]));
    }

    #[test]
    fn uuids_are_not_the_same() {
        assert_ne!(random_uuid().unwrap(), random_uuid().unwrap());
    }
}
