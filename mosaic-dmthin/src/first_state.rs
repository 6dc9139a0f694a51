// SPDX-License-Identifier: MIT OR Apache-2.0
//! A catalog and the metadata file system in a pool that has nothing: what makes it a location.
//!
//! All of it is done with the pool's lock and with the catalog's device held exclusively.

use std::path::Path;

use mosaic_core::{Error, ErrorKind, Host, Result};
use rustix::fs::OFlags;

use crate::block_device::BlockDevice;
use crate::catalog::slot::{Header, PAGE, PoolUuid, SlotIndex};
use crate::catalog::{Catalog, Metadata, store};
use crate::catalog_device;
use crate::config::Options;
use crate::create::with_device;
use crate::health::require_writable;
use crate::kernel_pool::{KernelPool, pool_status, send};
use crate::locate::FoundPool;
use crate::naming;
use crate::removal;
use crate::target::{Message, PoolStatus, ThinId};
use crate::thin_metadata;
use crate::thin_pool::{Setup, ThinPool};
use crate::transaction::is_proof;
use mosaic_core::dm::By;
use mosaic_core::dm::Dm;

/// Whether this is the page before the state that init writes.
pub(crate) fn is_first_state(page: &[u8]) -> bool {
    matches!(Header::decode(page), Ok(Some(header)) if header.is_first())
}

/// Whether a pool with these thin devices may be what a killed init left.
pub(crate) fn is_half_made(ids: &[ThinId]) -> bool {
    let ours = [ThinId::CATALOG, ThinId::METADATA];
    ids.contains(&ThinId::CATALOG) && ids.iter().all(|id| ours.contains(id))
}

/// The thin devices of an active pool.
pub(crate) fn ids(found: &FoundPool) -> Result<Vec<ThinId>> {
    let flags = OFlags::RDONLY | OFlags::DIRECT;
    let metadata = BlockDevice::open(found.table.metadata, flags)?;
    let list = thin_metadata::list(&metadata)?;
    Ok(list.into_iter().map(|(id, _)| id).collect())
}

/// Takes the last step of an init that was killed just before it: both thin devices are there, and
/// the first state is written. `false`: it did not come so far.
pub(crate) fn finish_begun(
    dm: Dm<'_>,
    host: &Host,
    options: &Options,
    found: &FoundPool,
) -> Result<bool> {
    let ids = ids(found)?;
    if !ids.contains(&ThinId::CATALOG) || !ids.contains(&ThinId::METADATA) {
        return Ok(false);
    }
    let device = catalog_device::claim(dm, found)?;
    let pool = KernelPool::new(dm, host, found.clone(), device, options.devices.is_some());
    match store::candidates(pool.catalog())?.as_slice() {
        [one] if one.header.is_first() => commit(&pool, one.index, one.header).map(|()| true),
        _ => Ok(false),
    }
}

/// Makes the first state the true one.
fn commit(pool: &KernelPool<'_>, index: SlotIndex, header: Header) -> Result<()> {
    pool.message(Message::SetTransactionId(0, header.stamp))?;
    match is_proof(&pool.committed_status()?, header.stamp) {
        true => {
            // It is committed, with or without a witness.
            let _ = store::mark_committed(pool.catalog(), index, header);
            Ok(())
        }
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

/// Makes both thin devices anew, and the first state. What fails is undone; what a kill left of that
/// is [half made](is_half_made).
pub(crate) fn make(dm: Dm<'_>, host: &Host, options: &Options, found: &FoundPool) -> Result<()> {
    delete_half_made(dm, found)?;
    let done = fill(dm, host, options, found);
    match done {
        Ok(()) => Ok(()),
        Err(error) => Err(error.after_undo(delete_half_made(dm, found))),
    }
}

/// Deletes what an init made that did not come to its end: the metadata first, as the catalog is what
/// tells that it was an init. Nothing is deleted from a pool that may not be at transaction 0.
fn delete_half_made(dm: Dm<'_>, found: &FoundPool) -> Result<()> {
    let ids = ids(found)?;
    match pool_status(dm, found.number, true)? {
        PoolStatus::Working(status) if status.transaction == 0 => {}
        status => {
            let text = format!("what was made stays: the pool says {status}");
            return Err(Error::new(ErrorKind::Io, text));
        }
    }
    if ids.contains(&ThinId::CATALOG) {
        empty_catalog(dm, found)?;
    }
    for id in [ThinId::METADATA, ThinId::CATALOG] {
        if ids.contains(&id) {
            removal::remove(dm, By::Uuid(&naming::uuid(found.number, id)))?;
            send(dm, found.number, Message::Delete(id))?;
        }
    }
    Ok(())
}

/// Takes away the state that a killed init wrote, so that nobody makes it the true one while its
/// thin devices are deleted.
fn empty_catalog(dm: Dm<'_>, found: &FoundPool) -> Result<()> {
    let device = catalog_device::claim(dm, found)?;
    for index in SlotIndex::ALL {
        let page = device.read(index.offset(), PAGE)?;
        if is_first_state(&page) {
            device.write(index.offset(), &[0; PAGE])?;
        } else if page.iter().any(|byte| *byte != 0) {
            let text = "what stands on the thin device with the catalog's id is not Mosaic's";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
    }
    device.sync()
}

fn fill(dm: Dm<'_>, host: &Host, options: &Options, found: &FoundPool) -> Result<()> {
    send(dm, found.number, Message::CreateThin(ThinId::CATALOG))?;
    // Held until all is there.
    let device = catalog_device::claim(dm, found)?;
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
    let (index, uuid) = (SlotIndex::First, random_uuid()?);
    let first = uuid.first_transaction();
    let header = store::write(pool.catalog(), index, uuid, first, capacity, &catalog)?;
    commit(&pool, index, header)
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

    #[test]
    fn uuids_are_not_the_same() {
        assert_ne!(random_uuid().unwrap(), random_uuid().unwrap());
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
}
