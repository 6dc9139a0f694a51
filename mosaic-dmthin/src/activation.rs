// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a config to an active pool with an open catalog.
//!
//! Finding needs no lock. Making a device does: two commands that find the pool or its catalog not
//! active would both make it. Who does holds flock(2) on a node that only root can open, the pool's
//! or its metadata device's, as systemd's block device locking has it; so a device without an active
//! table, found under that lock, is a killed command's.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mosaic_core::command::Command;
use mosaic_core::{Context, Error, ErrorKind, Host, Result};
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use crate::block_device::{self, BlockDevice};
use crate::catalog::slot::SPACING;
use crate::config::{Location, Options, PoolDevices};
use crate::dm::{Audience, DeviceInfo, Dm};
use crate::kernel_pool::{FoundPool, KernelPool};
use crate::naming;
use crate::packet::By;
use crate::target::{DeviceNumber, PoolFeatures, PoolTable, Sectors, ThinId, ThinTable};
use crate::thin_metadata::{Blocks, Superblock};

/// How long another command's activation is waited for. It may be checking the metadata.
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Finds the pool, activates it if the config says of what, and opens its catalog.
///
/// # Errors
/// `NotFound` if it is not active and nothing says of what it is made; `Unsupported` for what is no
/// pool, somebody else's, or without a catalog; `Busy` for one that is suspended.
pub fn open<'a>(dm: Dm<'a>, host: &'a Host, options: &Options) -> Result<KernelPool<'a>> {
    let found = match find(dm, options)? {
        Some(found) => found,
        None => {
            let devices = options
                .devices
                .as_ref()
                .ok_or_else(|| not_active(options))?;
            activate(dm, host, options, devices)?
        }
    };
    let catalog = open_catalog(dm, host, &found)?;
    let ours = options.devices.is_some();
    Ok(KernelPool::new(dm, host, found, catalog, ours))
}

fn not_active(options: &Options) -> Error {
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
/// As [`open`].
pub(crate) fn find(dm: Dm<'_>, options: &Options) -> Result<Option<FoundPool>> {
    let Some(info) = look(dm, &options.location)? else {
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
                "thin pool {pool} is suspended; dmsetup resume {}",
                info.name
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
        number,
        table,
        length,
    }))
}

fn look(dm: Dm<'_>, location: &Location) -> Result<Option<DeviceInfo>> {
    let found = match location {
        Location::Name(name) => dm.info(By::Name(name)),
        Location::Path(path) => match block_device::number(path) {
            Ok(number) => dm.info(By::Number(number.dev())),
            // Nobody had to make a node for an active pool.
            Err(error) if error.kind() == ErrorKind::NotFound => match name_in_mapper(path) {
                Some(name) => dm.info(By::Name(name)),
                None => return Err(error),
            },
            Err(error) => return Err(error),
        },
    };
    found.context(|| format!("cannot ask for thin pool {}", shown(location)))
}

/// The name of device-mapper that a path stands for: `/dev/mapper/NAME`.
fn name_in_mapper(path: &Path) -> Option<&str> {
    let name = path.strip_prefix("/dev/mapper").ok()?.to_str()?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
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
    for (path, has) in [
        (&devices.metadata, table.metadata),
        (&devices.data, table.data),
    ] {
        let number = block_device::number(path)?;
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

/// A lock that ends with the process.
pub(crate) struct ActivationLock {
    _file: BlockDevice,
}

impl ActivationLock {
    /// Takes flock(2) on a device's node, waiting for who has it.
    pub(crate) fn take(host: &Host, device: DeviceNumber) -> Result<Self> {
        let file = BlockDevice::open(device, OFlags::RDONLY)?;
        let start = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => {
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

/// Opens the catalog's device, made active if it is not.
fn open_catalog(dm: Dm<'_>, host: &Host, pool: &FoundPool) -> Result<BlockDevice> {
    let uuid = naming::uuid(pool.number, ThinId::CATALOG);
    let by = By::Uuid(&uuid);
    let failed = || "cannot ask for the catalog's device".to_owned();
    let info = match dm.info(by).context(failed)? {
        Some(info) if info.is_active() => info,
        _ => {
            let _lock = ActivationLock::take(host, pool.number)?;
            activate_catalog(dm, pool, by)?
        }
    };
    if info.is_suspended() {
        return Err(Error::new(
            ErrorKind::Busy,
            format!(
                "the catalog's device is suspended; dmsetup resume {}",
                info.name
            ),
        ));
    }
    BlockDevice::open(info.dev.into(), OFlags::RDWR | OFlags::DIRECT)
}

/// With the lock: whatever is there without an active table, nobody is at work on.
fn activate_catalog(dm: Dm<'_>, pool: &FoundPool, by: By<'_>) -> Result<DeviceInfo> {
    let failed = || "cannot activate the catalog's device".to_owned();
    match dm.info(by).context(failed)? {
        Some(info) if info.is_active() => return Ok(info),
        Some(_) => dm.remove(by).context(failed)?,
        None => {}
    }
    let name = naming::name(pool.number, &pool.name, ThinId::CATALOG);
    let uuid = naming::uuid(pool.number, ThinId::CATALOG);
    dm.create(&name, &uuid).context(failed)?;
    let line = catalog_line(pool.number);
    let activated = dm
        .load(by, &line, false)
        .and_then(|()| dm.resume(by, Audience::Ourselves));
    activated.map_err(|errno| {
        let removed = dm.remove(by).context(|| format!("left device {name:?}"));
        let error = match errno {
            Errno::NODATA => no_catalog(&pool.name),
            _ => Error::io(errno, failed()),
        };
        error.after_undo(removed)
    })
}

/// The table of the catalog's device: room for two slots.
pub(crate) fn catalog_line(pool: DeviceNumber) -> crate::packet::Line {
    let table = ThinTable {
        pool,
        id: ThinId::CATALOG,
        external_origin: None,
    };
    table.line(Sectors::in_bytes(2 * SPACING))
}

fn no_catalog(pool: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "thin pool {pool:?} has no catalog of Mosaic; init --adopt makes one in a pool that \
             was never used"
        ),
    )
}

/// Steps: take the lock; see that nobody else uses the devices and that they hold a pool; check its
/// metadata; DEV_CREATE, TABLE_LOAD, **commit**: resume. Killed before that a device without an active
/// table is left, which the next one with the lock removes.
fn activate(
    dm: Dm<'_>,
    host: &Host,
    options: &Options,
    devices: &PoolDevices,
) -> Result<FoundPool> {
    let pool = shown(&options.location);
    let failed = || format!("cannot activate thin pool {pool}");
    let (data, metadata) = (
        block_device::number(&devices.data)?,
        block_device::number(&devices.metadata)?,
    );
    let _lock = ActivationLock::take(host, metadata)?;
    if let Some(found) = find(dm, options)? {
        return Ok(found);
    }
    let name = pool_name(&options.location)?;
    remove_left(dm, name, metadata).context(failed)?;
    for device in [data, metadata] {
        // Also proof that no pool of another name has it.
        BlockDevice::open(device, OFlags::RDWR | OFlags::EXCL).context(failed)?;
    }
    let superblock = superblock(metadata, &devices.metadata)?;
    if superblock.needs_check {
        let path = devices.metadata.display();
        return Err(Error::new(
            ErrorKind::Io,
            format!(
                "thin pool {pool} met an error of its metadata and needs a check: thin_check \
                 --clear-needs-check-flag {path} (if it fails: thin_repair -i {path} -o SPARE, and \
                 SPARE in its place)"
            ),
        ));
    }
    check_metadata(host, &block_device::node(metadata)?).context(failed)?;
    let table = table(devices, data, metadata, superblock.data_block);
    let length = pool_length(data, table.block)?;
    if length.0 / table.block.0 < superblock.data_blocks {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "{:?} has {} data blocks, and thin pool {pool} has used {}: it is not all there",
                devices.data,
                length.0 / table.block.0,
                superblock.data_blocks
            ),
        ));
    }
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
    let info = info.context(|| format!("cannot make device {name:?} of device-mapper"))?;
    let activated = dm
        .load(by, &table.line(length), false)
        .and_then(|()| dm.resume(by, Audience::Ourselves));
    if let Err(errno) = activated {
        let error = Error::io(errno, format!("the kernel takes no thin pool {name:?}"));
        let removed = dm.remove(by).context(|| format!("left device {name:?}"));
        return Err(error.after_undo(removed));
    }
    Ok(FoundPool {
        name: name.to_owned(),
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
        dm.remove(By::Uuid(&uuid)).context(failed)?;
    }
    Ok(())
}

/// The superblock on a metadata device that is not in use.
pub(crate) fn superblock(metadata: DeviceNumber, path: &Path) -> Result<Superblock> {
    let device = BlockDevice::open(metadata, OFlags::RDONLY | OFlags::DIRECT)?;
    let block = device.block(0)?;
    if !Superblock::is_marked(&block[..]) {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("{path:?} holds no metadata of a thin pool; init makes one on blank devices"),
        ));
    }
    Superblock::decode(&block[..])
}

/// Has thin_check read all of a pool's metadata. The kernel does not: it takes a pool with damaged
/// mappings without a word.
pub(crate) fn check_metadata(host: &Host, metadata: &PathBuf) -> Result<()> {
    let checked = Command::new("thin_check").arg("-q").arg(metadata).run(host);
    checked.map(|_| ()).map_err(|error| match error.kind() {
        ErrorKind::Unsupported => error.context(
            "a pool's metadata is checked before it is activated; install thin-provisioning-tools",
        ),
        ErrorKind::Io => {
            let path = metadata.display();
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
        low_water: devices.low_water.map_or(0, |bytes| bytes.0 / block.bytes()),
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
    let sectors = Sectors::in_bytes(size.0);
    Ok(Sectors(sectors.0 / block.0 * block.0))
}
