// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a config to an active pool with an open catalog.
//!
//! Finding needs no lock. Making a device does: two commands that find the pool or its catalog not
//! active would both make it. Who does holds flock(2) on a node that only root can open, the pool's
//! or its metadata device's, as systemd's block device locking has it; so a device without an active
//! table, found under that lock, is a killed command's.

use std::path::Path;
use std::time::{Duration, Instant};

use mosaic_core::command::Command;
use mosaic_core::{Bytes, Context, Error, ErrorKind, Host, Result};
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use crate::block_device::{self, BlockDevice};
use crate::catalog_device;
use crate::config::{Options, PoolDevices};
use crate::idle_pool::{self, IdlePool};
use crate::kernel_pool::{KernelPool, cannot_create};
use crate::locate::{self, FoundPool};
use crate::naming;
use crate::remedy;
use crate::removal;
use crate::target::{DeviceNumber, PoolFeatures, PoolTable, Sectors};
use crate::thin_metadata::{Blocks, Superblock};
use mosaic_core::dm::By;
use mosaic_core::dm::{Audience, Dm};

/// How long another command's activation is waited for. It may be checking the metadata.
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Finds the pool, activates it if the config says of what, and opens its catalog.
///
/// # Errors
/// `NotFound` if it is not active and nothing says of what it is made; `Unsupported` for what is no
/// pool, somebody else's, or without a catalog; `Busy` for one that is suspended.
pub fn open<'a>(dm: Dm<'a>, host: &'a Host, options: &Options) -> Result<KernelPool<'a>> {
    let found = match (locate::find(dm, options)?, &options.devices) {
        (Some(found), _) => found,
        (None, None) => return Err(locate::not_active(options)),
        (None, Some(devices)) => {
            let metadata = block_device::number(&devices.metadata)?;
            let _lock = ActivationLock::take(host, metadata)?;
            activate(dm, host, options, devices, Expected::Catalog)?
        }
    };
    let catalog = catalog_device::open(dm, host, &found)?;
    let ours = options.devices.is_some();
    Ok(KernelPool::new(dm, host, found, catalog, ours))
}

/// A lock that ends with the process, or when it is dropped, also if another thread has forked and its
/// child has a copy.
pub(crate) struct ActivationLock {
    file: BlockDevice,
}

impl Drop for ActivationLock {
    fn drop(&mut self) {
        // It cannot fail on a descriptor that is open, and closing it does the same in most cases.
        let _ = rustix::fs::flock(&self.file, FlockOperation::NonBlockingUnlock);
    }
}

impl ActivationLock {
    /// Takes flock(2) on a device's node, waiting for who has it. Who waits does not have it open:
    /// the kernel would count that ([`IdlePool::claim`]).
    pub(crate) fn take(host: &Host, device: DeviceNumber) -> Result<Self> {
        let start = Instant::now();
        loop {
            let file = BlockDevice::open(device, OFlags::RDONLY)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { file }),
                Err(Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => {
                    drop(file);
                    host.check_cancelled()?;
                    std::thread::sleep(LOOK_AGAIN);
                }
                Err(errno) => {
                    let text = format!("cannot lock {:?} to activate it", file.path());
                    return Err(Error::io(errno, text));
                }
            }
        }
    }
}

/// What an idle pool has to hold to be activated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// A catalog.
    Catalog,
    /// What a killed init left: perhaps nothing.
    Beginning,
}

/// Activates a pool, with the metadata device's lock in hand.
///
/// Steps: see that nobody else uses the devices and that they hold a pool; check its metadata; see
/// that it has a catalog, which is on that data device; DEV_CREATE, TABLE_LOAD, **commit**: resume.
/// Killed before that a device without an active table is left, which the next one with the lock
/// removes.
///
/// # Errors
/// `Busy`; `NotFound` if they hold no pool; `Unsupported` for a pool without a catalog; `Corrupt`;
/// the kernel's.
pub(crate) fn activate(
    dm: Dm<'_>,
    host: &Host,
    options: &Options,
    devices: &PoolDevices,
    expected: Expected,
) -> Result<FoundPool> {
    if let Some(found) = locate::find(dm, options)? {
        return Ok(found);
    }
    let pool = locate::shown(&options.location);
    let failed = || format!("cannot activate thin pool {pool}");
    let (data, metadata) = idle_pool::numbers(devices)?;
    let name = locate::pool_name(&options.location)?;
    remove_left(dm, name, metadata).context(failed)?;
    let idle = IdlePool::claim(dm, devices).context(failed)?;
    let superblock = superblock(&idle.metadata, &devices.metadata).context(failed)?;
    let node = block_device::node(metadata)?;
    let idle = idle.lend_metadata(|| check_metadata(host, &node));
    let idle = idle.context(failed)?;
    let table = table(devices, data, metadata, superblock.data_block);
    if expected == Expected::Catalog {
        let by_hand = remedy::activate(name, &table, &superblock);
        idle.require_catalog(&superblock, &by_hand)
            .context(failed)?;
    }
    let room = whole_blocks(idle.data.size()?, table.block);
    if room.0 / table.block.0 < superblock.data_blocks {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "{:?} has {} data blocks, and thin pool {pool} has {}: it is not all there",
                devices.data,
                room.0 / table.block.0,
                superblock.data_blocks
            ),
        ));
    }
    // The kernel would take more for good, asked or not: that is for check --repair.
    let length = match superblock.data_blocks {
        0 => room,
        blocks => Sectors(blocks * table.block.0),
    };
    // The kernel claims them itself.
    drop(idle);
    make(dm, name, &table, length).context(failed)
}

/// Makes a pool's device and activates it. What fails leaves nothing.
pub(crate) fn make(
    dm: Dm<'_>,
    name: &str,
    table: &PoolTable,
    length: Sectors,
) -> Result<FoundPool> {
    let uuid = naming::pool_uuid(table.metadata);
    let by = By::Uuid(&uuid);
    let info = dm.create(name, &uuid);
    let info = info.map_err(|errno| cannot_create(dm, name, &uuid, errno))?;
    let activated = dm
        .load(by, &table.line(length), false)
        .and_then(|()| dm.resume(by, Audience::Ourselves));
    if let Err(errno) = activated {
        let error = Error::io(errno, format!("the kernel takes no thin pool {name:?}"));
        let removed = removal::remove(dm, by).context(|| format!("left device {name:?}"));
        return Err(error.after_undo(removed));
    }
    Ok(FoundPool {
        name: name.to_owned(),
        uuid,
        number: info.dev.into(),
        table: table.clone(),
        length,
    })
}

/// Removes what a killed activation left. Only with the lock.
pub(crate) fn remove_left(dm: Dm<'_>, name: &str, metadata: DeviceNumber) -> Result<()> {
    let uuid = naming::pool_uuid(metadata);
    let failed = || format!("cannot remove what a killed command left of thin pool {name:?}");
    if let Some(info) = dm.info(By::Uuid(&uuid)).context(failed)? {
        if info.is_active() {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("the pool is active under the name {:?}", info.name),
            ));
        }
        removal::remove(dm, By::Uuid(&uuid)).context(failed)?;
    }
    Ok(())
}

/// The superblock on a metadata device that is not in use.
fn superblock(metadata: &BlockDevice, path: &Path) -> Result<Superblock> {
    let block = metadata.block(0)?;
    if !Superblock::is_marked(&block[..]) {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("{path:?} holds no metadata of a thin pool; init makes one on blank devices"),
        ));
    }
    let superblock = Superblock::decode(&block[..])?;
    if superblock.needs_check {
        let commands = remedy::check_metadata(&remedy::quoted_path(path));
        return Err(Error::new(
            ErrorKind::Io,
            format!("it met an error of its metadata and needs a check: {commands}"),
        ));
    }
    Ok(superblock)
}

/// Has thin_check read all of a pool's metadata. The kernel does not: it takes a pool with damaged
/// mappings without a word.
pub(crate) fn check_metadata(host: &Host, metadata: &Path) -> Result<()> {
    host.progress(0, 0, "checking the pool's metadata");
    let checked = Command::new("thin_check").arg("-q").arg(metadata).run(host);
    checked.map(|_| ()).map_err(|error| match error.kind() {
        ErrorKind::Unsupported => error.context(
            "a pool's metadata is checked before it is activated; install thin-provisioning-tools",
        ),
        ErrorKind::Io => {
            let path = remedy::quoted_path(metadata);
            error.with_kind(ErrorKind::Corrupt).context(format!(
                "the metadata on {path} is damaged; thin_repair -i {path} -o SPARE, and SPARE in its \
                 place"
            ))
        }
        _ => error,
    })
}

/// The table of a pool of these devices.
pub(crate) fn table(
    devices: &PoolDevices,
    data: DeviceNumber,
    metadata: DeviceNumber,
    block: Sectors,
) -> PoolTable {
    PoolTable {
        metadata,
        data,
        block,
        low_water: devices.low_water_blocks(block),
        features: PoolFeatures {
            skip_block_zeroing: devices.skip_zeroing,
            error_if_no_space: devices.error_if_no_space,
            others: Vec::new(),
        },
    }
}

/// What a pool on this data device can have: whole blocks.
pub(crate) fn pool_length(data: DeviceNumber, block: Sectors) -> Result<Sectors> {
    let size = BlockDevice::open(data, OFlags::RDONLY)?.size()?;
    Ok(whole_blocks(size, block))
}

fn whole_blocks(size: Bytes, block: Sectors) -> Sectors {
    let sectors = Sectors::in_bytes(size.0);
    Sectors(sectors.0 / block.0 * block.0)
}
