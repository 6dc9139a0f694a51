// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two devices of a pool that is not active: nobody else's, and of one pool.
//!
//! Nothing in a pool tells its data device from any other disk, and the kernel takes whatever it is
//! given. So what the metadata say of the catalog is looked up on the data device before a pool is
//! activated: a wrong name in a config file, or a disk that changed its name, is met here.

use std::time::{Duration, Instant};

use mosaic_core::{Context, Error, ErrorKind, Result, busy};

use crate::block_device::{self, BlockDevice, PASSING};
use crate::catalog::slot::Header;
use crate::catalog::store;
use crate::catalog_on_disk::CatalogOnDisk;
use crate::config::PoolDevices;
use crate::identity::may_be_of;
use crate::naming;
use crate::target::{DeviceNumber, ThinId};
use crate::thin_metadata::{self, Superblock};
use mosaic_core::dm::By;
use mosaic_core::dm::{DeviceInfo, Dm};

/// Both devices, claimed.
pub(crate) struct IdlePool<'d> {
    devices: &'d PoolDevices,
    pub(crate) data: BlockDevice,
    pub(crate) metadata: BlockDevice,
}

impl<'d> IdlePool<'d> {
    /// Claims both, with the lock in hand, which has the metadata device open once.
    ///
    /// # Errors
    /// `Unsupported` for a part of something else's; `Config` if they are the same device; `Busy`.
    pub(crate) fn claim(dm: Dm<'_>, devices: &'d PoolDevices) -> Result<Self> {
        let (data, metadata) = numbers(devices)?;
        for (number, path) in [(data, &devices.data), (metadata, &devices.metadata)] {
            let info = info(dm, number).context(|| format!("cannot look at {path:?}"))?;
            let uuid = info.map(|info| info.uuid).unwrap_or_default();
            if let Some(owner) = naming::owner_of_part(&uuid) {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{path:?} is a part of something of {owner}'s"),
                ));
            }
        }
        let idle = Self {
            devices,
            data: BlockDevice::claim(data)?,
            metadata: BlockDevice::claim(metadata)?,
        };
        refuse_shared_use(dm, data, &idle.data, 1)?;
        refuse_shared_use(dm, metadata, &idle.metadata, 2)?;
        Ok(idle)
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
    /// the transaction at which the metadata are. `by_hand` is what activates it all the same, which
    /// is only said where both may be of one pool.
    ///
    /// The numbers alone tell two pools apart, since those of a pool begin at random.
    ///
    /// # Errors
    /// `Unsupported` for somebody else's pool; `NotFound` if an init was not finished; `Corrupt` if
    /// the catalog is not where the metadata say.
    pub(crate) fn require_catalog(&self, superblock: &Superblock, by_hand: &str) -> Result<()> {
        let PoolDevices { data, metadata, .. } = self.devices;
        let list = thin_metadata::list(&self.metadata)?;
        let transaction = superblock.transaction;
        if !list.iter().any(|(id, _)| *id == ThinId::CATALOG) {
            let count = list.len();
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{metadata:?} holds a thin pool without a catalog of Mosaic, at transaction \
                     {transaction} and with {count} thin devices: it is somebody else's, or an init \
                     was not finished"
                ),
            ));
        }
        let catalog = CatalogOnDisk {
            metadata: &self.metadata,
            data: &self.data,
            block: superblock.data_block,
        };
        let headers = store::headers(&catalog);
        let has = |header: &Result<Option<Header>>| matches!(header, Ok(Some(header)) if header.stamp == transaction);
        // One that cannot be read may be of no matter.
        if headers.iter().any(has) {
            return Ok(());
        }
        let [first, second] = headers;
        let headers = [first?, second?];
        if store::is_unfinished(&headers, transaction) {
            return Err(store::unfinished_init());
        }
        let stamps: Vec<u64> = headers
            .iter()
            .flatten()
            .map(|header| header.stamp)
            .collect();
        let text = match stamps.as_slice() {
            [] => "has no catalog where they say".to_owned(),
            [one] => format!("has a catalog of transaction {one} there"),
            [one, other, ..] => format!("has a catalog of transactions {one} and {other} there"),
        };
        let states = store::candidates(&catalog)?;
        let why = match states
            .iter()
            .any(|state| may_be_of(state, transaction, &list))
        {
            true => format!(
                "the metadata were repaired, or they are not of one pool; if they were repaired: \
                 {by_hand}; then check --repair=state takes the newest that was true"
            ),
            false => "they are not of one pool, or the data were overwritten".to_owned(),
        };
        Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "the metadata on {metadata:?} are at transaction {transaction}, and {data:?} {text}: \
                 {why}"
            ),
        ))
    }
}

/// What device-mapper says of a device; `None`: it is none of its.
fn info(dm: Dm<'_>, number: DeviceNumber) -> Result<Option<DeviceInfo>> {
    let info = dm.info(By::Number(number.dev()));
    info.context(|| format!("cannot ask for device {number}"))
}

/// Refuses a claimed device of device-mapper's that is open more often than by us, after a look or
/// two. The kernel counts those too that no process of ours can see; of other disks it says no count.
fn refuse_shared_use(
    dm: Dm<'_>,
    number: DeviceNumber,
    device: &BlockDevice,
    ours: u32,
) -> Result<()> {
    let start = Instant::now();
    while info(dm, number)?.is_some_and(|info| info.open_count > ours) {
        if start.elapsed() > PASSING {
            let path = device.path();
            let users = busy::openers_of_device(path)?.describe();
            return Err(Error::new(ErrorKind::Busy, format!("{path:?} is {users}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
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
