// SPDX-License-Identifier: MIT OR Apache-2.0
//! From what the config calls the pool to the active pool, if there is one. Changes nothing.

use std::path::Path;
use std::time::Instant;

use mosaic_core::{Context, Error, ErrorKind, Result};

use crate::block_device::{self, name_in_mapper};
use crate::config::{Location, Options, PoolDevices};
use crate::idle_pool;
use crate::naming;
use crate::remedy;
use crate::removal::{LOOK_AGAIN, PATIENCE};
use crate::target::{DeviceNumber, PoolTable, Sectors};
use mosaic_core::dm::By;
use mosaic_core::dm::{DeviceInfo, Dm};

/// An active pool, as it is found.
#[derive(Debug, Clone)]
pub struct FoundPool {
    /// Its name in device-mapper.
    pub name: String,
    /// Its uuid; empty: it has none.
    pub uuid: String,
    /// Its device.
    pub number: DeviceNumber,
    /// What it is made of.
    pub table: PoolTable,
    /// Its size.
    pub length: Sectors,
}

/// Goes on if the pool is active and Mosaic's to use; it is not looked into.
///
/// # Errors
/// `NotFound` if it is not active; `Unsupported` for what is no pool, or somebody else's; `Busy`.
pub fn require(dm: Dm<'_>, options: &Options) -> Result<()> {
    match find(dm, options)? {
        Some(_) => Ok(()),
        None => Err(not_active(options)),
    }
}

pub(crate) fn not_active(options: &Options) -> Error {
    let pool = shown(&options.location);
    Error::new(
        ErrorKind::NotFound,
        format!(
            "thin pool {pool} is not active; activate it, or say in the config file of what it \
             is made (pool.data, pool.metadata)"
        ),
    )
}

/// The location for messages.
pub(crate) fn shown(location: &Location) -> String {
    match location {
        Location::Name(name) => format!("{name:?}"),
        Location::Path(path) => format!("{path:?}"),
    }
}

/// The pool, if it is active.
///
/// # Errors
/// `Unsupported` for what is no pool, or somebody else's; `Busy` for one that is suspended.
pub(crate) fn find(dm: Dm<'_>, options: &Options) -> Result<Option<FoundPool>> {
    let Some(info) = look_at_rest(dm, &options.location)? else {
        return Ok(None);
    };
    let pool = shown(&options.location);
    if let Some(owner) = naming::owner(&info.uuid, &info.name) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("thin pool {pool} is {owner}'s; two that manage one pool destroy it"),
        ));
    }
    if !info.is_active() {
        // On its way, or left on its way: activation finds out, if it is ours.
        return match options.devices {
            Some(_) if info.uuid.starts_with(naming::SUBSYSTEM) => Ok(None),
            _ => Err(Error::new(
                ErrorKind::Unsupported,
                format!("device {pool} of device-mapper has no table"),
            )),
        };
    }
    if info.is_suspended() {
        return Err(Error::new(
            ErrorKind::Busy,
            format!(
                "thin pool {pool} is suspended; {}",
                remedy::dmsetup("resume", &[&info.name], "")
            ),
        ));
    }
    let number = DeviceNumber::from(info.dev);
    let lines = dm.table(By::Number(info.dev));
    let lines = lines.context(|| format!("cannot ask thin pool {pool} for its table"))?;
    let (table, length) = PoolTable::of(&lines)?.ok_or_else(|| {
        let target = lines.first().map_or("nothing", |line| &line.target);
        Error::new(
            ErrorKind::Unsupported,
            format!("{pool} is no thin pool, but {target}"),
        )
    })?;
    if let Some(devices) = &options.devices {
        check_devices(&pool, devices, &table)?;
    }
    Ok(Some(FoundPool {
        name: info.name,
        uuid: info.uuid,
        number,
        table,
        length,
    }))
}

/// A pool that gets another table is suspended for that moment, and says so to whoever asks: it is
/// looked at again.
///
/// Kernel: `do_resume`, drivers/md/dm-ioctl.c, which suspends the device without `_hash_lock`.
fn look_at_rest(dm: Dm<'_>, location: &Location) -> Result<Option<DeviceInfo>> {
    let start = Instant::now();
    loop {
        match look(dm, location)? {
            Some(info) if info.is_suspended() && start.elapsed() < PATIENCE => {
                std::thread::sleep(LOOK_AGAIN);
            }
            found => return Ok(found),
        }
    }
}

fn look(dm: Dm<'_>, location: &Location) -> Result<Option<DeviceInfo>> {
    let found = match location {
        Location::Name(name) => dm.info(By::Name(name)),
        // Nobody had to make a node for an active pool, and one that is there can be stale.
        Location::Path(path) => match name_in_mapper(path).map(|name| dm.info(By::Name(name))) {
            Some(Ok(None)) | None => match block_device::number(path) {
                Ok(number) => dm.info(By::Number(number.dev())),
                Err(error) if error.kind() == ErrorKind::NotFound && is_name(path) => Ok(None),
                Err(error) => return Err(error),
            },
            Some(found) => found,
        },
    };
    found.context(|| format!("cannot ask for thin pool {}", shown(location)))
}

fn is_name(path: &Path) -> bool {
    name_in_mapper(path).is_some()
}

/// The name that a pool has, or is to have.
pub(crate) fn pool_name(location: &Location) -> Result<&str> {
    match location {
        Location::Name(name) => Ok(name),
        Location::Path(path) => name_in_mapper(path).ok_or_else(|| {
            Error::config(
                "location",
                "a pool that Mosaic activates is told by its name in device-mapper",
            )
        }),
    }
}

/// Refuses a pool of this name that is not made of what the config says.
fn check_devices(pool: &str, devices: &PoolDevices, table: &PoolTable) -> Result<()> {
    let (data, metadata) = idle_pool::numbers(devices)?;
    for (path, number, has) in [
        (&devices.metadata, metadata, table.metadata),
        (&devices.data, data, table.data),
    ] {
        if number != has {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "thin pool {pool} is active with device {has}, and not {path:?} ({number})"
                ),
            ));
        }
    }
    Ok(())
}
