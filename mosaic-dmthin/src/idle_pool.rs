// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two devices of a pool that is not active: nobody else's, and of one pool.
//!
//! Nothing in a pool tells its data device from any other disk, and the kernel takes whatever it is
//! given. So what the metadata say of the catalog is looked up on the data device before a pool is
//! activated: a wrong name in a config file, or a disk that changed its name, is met here.

use mosaic_core::{Context, Error, ErrorKind, Result};

use crate::block_device::{self, BlockDevice};
use crate::catalog::slot::{Header, PAGE, SlotIndex};
use crate::catalog::store;
use crate::config::PoolDevices;
use crate::dm::Dm;
use crate::naming;
use crate::packet::By;
use crate::target::{DeviceNumber, ThinId};
use crate::thin_metadata::{self, Superblock};

/// Both devices, claimed.
pub(crate) struct IdlePool<'d> {
    devices: &'d PoolDevices,
    pub(crate) data: BlockDevice,
    pub(crate) metadata: BlockDevice,
}

impl<'d> IdlePool<'d> {
    /// Claims both.
    ///
    /// # Errors
    /// `Unsupported` for a part of something else's; `Config` if they are the same device; `Busy`.
    pub(crate) fn claim(dm: Dm<'_>, devices: &'d PoolDevices) -> Result<Self> {
        let (data, metadata) = numbers(devices)?;
        for (number, path) in [(data, &devices.data), (metadata, &devices.metadata)] {
            let info = dm.info(By::Number(number.dev()));
            let info = info.context(|| format!("cannot look at {path:?}"))?;
            let uuid = info.map(|info| info.uuid).unwrap_or_default();
            if let Some(owner) = naming::owner_of_part(&uuid) {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{path:?} is a part of something of {owner}'s"),
                ));
            }
        }
        Ok(Self {
            devices,
            data: BlockDevice::claim(data)?,
            metadata: BlockDevice::claim(metadata)?,
        })
    }

    /// Runs a program on the metadata that claims them itself. The data stay claimed.
    pub(crate) fn lend_metadata(self, program: impl FnOnce() -> Result<()>) -> Result<Self> {
        let Self {
            devices,
            data,
            metadata,
        } = self;
        drop(metadata);
        program()?;
        let (_, metadata) = numbers(devices)?;
        Ok(Self {
            devices,
            data,
            metadata: BlockDevice::claim(metadata)?,
        })
    }

    /// Goes on if the pool has a catalog, and its data are on the data device: the catalog there is of
    /// the transaction at which the metadata are. `by_hand` is what activates it all the same.
    ///
    /// # Errors
    /// `Unsupported` for somebody else's pool; `NotFound` if an init was not finished; `Corrupt` if
    /// the catalog is not where the metadata say.
    pub(crate) fn require_catalog(&self, superblock: &Superblock, by_hand: &str) -> Result<()> {
        let PoolDevices { data, metadata, .. } = self.devices;
        let ids = thin_metadata::list(&self.metadata)?;
        if !ids.iter().any(|(id, _)| *id == ThinId::CATALOG) {
            let (count, transaction) = (ids.len(), superblock.transaction);
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{metadata:?} holds a thin pool without a catalog of Mosaic, at transaction \
                     {transaction} and with {count} thin devices: it is somebody else's, or an init \
                     was not finished"
                ),
            ));
        }
        let mut stamps = Vec::new();
        for index in SlotIndex::ALL {
            stamps.extend(self.slot(superblock, index)?.map(|header| header.stamp));
        }
        let transaction = superblock.transaction;
        if stamps.contains(&transaction) {
            return Ok(());
        }
        if transaction == 0 && stamps.iter().all(|stamp| *stamp == 1) {
            return Err(store::unfinished_init());
        }
        let text = match stamps.as_slice() {
            [] => "has no catalog where they say".to_owned(),
            [one] => format!("has a catalog of transaction {one} there"),
            [one, other, ..] => format!("has a catalog of transactions {one} and {other} there"),
        };
        Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "the metadata on {metadata:?} are at transaction {transaction}, and {data:?} {text}: \
                 they are not of one pool, or the metadata were repaired or the data overwritten; if \
                 they were repaired: {by_hand}; then check --repair=state takes the newest state"
            ),
        ))
    }

    /// What stands before a slot of the catalog, as both devices have it.
    fn slot(&self, superblock: &Superblock, index: SlotIndex) -> Result<Option<Header>> {
        let block = superblock.data_block.bytes();
        let (number, within) = (index.offset() / block, index.offset() % block);
        let found = thin_metadata::find_block(&self.metadata, ThinId::CATALOG, number)?;
        let Some(place) = found.and_then(|found| found.checked_mul(block)?.checked_add(within))
        else {
            return Ok(None);
        };
        let is_there = place
            .checked_add(PAGE as u64)
            .is_some_and(|end| self.data.size().is_ok_and(|size| end <= size.0));
        match is_there {
            true => Header::decode(&self.data.read(place, PAGE)?),
            false => Ok(None),
        }
    }
}

/// The numbers of data and metadata device.
pub(crate) fn numbers(devices: &PoolDevices) -> Result<(DeviceNumber, DeviceNumber)> {
    let of = |key: &str, path| {
        block_device::number(path).map_err(|error| error.context(format!("{key} in the config")))
    };
    let data = of("pool.data", &devices.data)?;
    let metadata = of("pool.metadata", &devices.metadata)?;
    if data == metadata {
        let text = "is the same device as pool.data";
        return Err(Error::config("pool.metadata", text));
    }
    Ok((data, metadata))
}
