// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device of the catalog: made active by whoever looks first, and there from then on.
//!
//! It is what a changing verb opens exclusively, and for writing; who only looks opens it for reading,
//! so that of all who have it open the one who holds it can be told. Nobody who has the pool's lock
//! ([`ActivationLock`]) is at work on one without an active table.

use mosaic_core::{Context, Error, ErrorKind, Host, Result};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::activation::ActivationLock;
use crate::block_device::BlockDevice;
use crate::catalog::slot::SPACING;
use crate::catalog::store::{Medium, UNFINISHED};
use crate::kernel_pool::{KernelPool, cannot_create};
use crate::locate::FoundPool;
use crate::naming;
use crate::remedy;
use crate::removal;
use crate::target::{DeviceNumber, Sectors, ThinId, ThinTable};
use crate::thin_metadata;
use crate::thin_pool::ThinPool;
use mosaic_core::dm::{Audience, DeviceInfo, Dm};
use mosaic_core::dm::{By, Line};

/// Opens it to be read, made active if it is not.
///
/// # Errors
/// `Unsupported` for a pool without a catalog; `Busy` if it is suspended; the kernel's.
pub(crate) fn open(dm: Dm<'_>, host: &Host, pool: &FoundPool) -> Result<BlockDevice> {
    let uuid = naming::uuid(pool.number, ThinId::CATALOG);
    let info = dm.info(By::Uuid(&uuid));
    match info.context(|| "cannot ask for the catalog's device".to_owned())? {
        Some(info) if info.is_active() => opened(&info, OFlags::RDONLY),
        _ => {
            let _lock = ActivationLock::take(host, pool.number)?;
            let metadata = OFlags::RDONLY | OFlags::DIRECT;
            let metadata = BlockDevice::open(pool.table.metadata, metadata)?;
            // A pool of somebody else is not touched to find that out.
            if thin_metadata::find(&metadata, ThinId::CATALOG)?.is_none() {
                return Err(no_catalog(pool));
            }
            opened(&activate(dm, pool, &uuid)?, OFlags::RDONLY)
        }
    }
}

/// The same with the pool's lock in hand, and exclusively: no other command can change anything.
///
/// # Errors
/// As [`open`]; `Busy`, naming who has it.
pub(crate) fn claim(dm: Dm<'_>, pool: &FoundPool) -> Result<BlockDevice> {
    let uuid = naming::uuid(pool.number, ThinId::CATALOG);
    opened(&activate(dm, pool, &uuid)?, OFlags::RDWR | OFlags::EXCL)
}

fn opened(info: &DeviceInfo, how: OFlags) -> Result<BlockDevice> {
    if info.is_suspended() {
        return Err(Error::new(
            ErrorKind::Busy,
            format!(
                "the catalog's device is suspended; {}",
                remedy::dmsetup("resume", &[&info.name], "")
            ),
        ));
    }
    BlockDevice::open(info.dev.into(), how | OFlags::DIRECT)
}

/// With the lock: whatever is there without an active table, nobody is at work on.
///
/// Steps: DEV_CREATE, TABLE_LOAD; **commit**: resume. Killed before that a device without an active
/// table is left, which the next one with the lock removes.
fn activate(dm: Dm<'_>, pool: &FoundPool, uuid: &str) -> Result<DeviceInfo> {
    let by = By::Uuid(uuid);
    let failed = || "cannot activate the catalog's device".to_owned();
    match dm.info(by).context(failed)? {
        Some(info) if info.is_active() => return Ok(info),
        Some(_) => removal::remove(dm, by).context(failed)?,
        None => {}
    }
    let name = naming::name(pool.number, &pool.name, ThinId::CATALOG);
    dm.create(&name, uuid)
        .map_err(|errno| cannot_create(dm, &name, uuid, errno))?;
    let line = table_line(pool.number);
    let activated = dm
        .load(by, &line, false)
        .and_then(|()| dm.resume(by, Audience::Ourselves));
    activated.map_err(|errno| {
        let removed = removal::remove(dm, by).context(|| format!("left device {name:?}"));
        let error = match errno {
            Errno::NODATA => no_catalog(pool),
            _ => Error::io(errno, failed()),
        };
        error.after_undo(removed)
    })
}

/// The catalog. Its device is a number to its reader, and what fails is what is under the pool.
impl Medium for KernelPool<'_> {
    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let read = self.catalog.read(offset, length);
        read.map_err(|error| failed(self, "read", error))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let written = self.writable_catalog();
        let written = written.and_then(|catalog| catalog.write(offset, bytes));
        written.map_err(|error| failed(self, "write", error))
    }

    fn sync(&self) -> Result<()> {
        let synced = self.writable_catalog().and_then(BlockDevice::sync);
        synced.map_err(|error| failed(self, "write", error))
    }
}

fn failed(pool: &KernelPool<'_>, what: &str, error: Error) -> Error {
    error.context(format!(
        "cannot {what} the catalog of {}, whose data are on {}",
        pool.label(),
        pool.data_device()
    ))
}

/// The table of the catalog's device: room for two slots.
fn table_line(pool: DeviceNumber) -> Line {
    let table = ThinTable {
        pool,
        id: ThinId::CATALOG,
        external_origin: None,
    };
    table.line(Sectors::in_bytes(2 * SPACING))
}

fn no_catalog(pool: &FoundPool) -> Error {
    let name = &pool.name;
    // Nobody else makes a pool with such a uuid.
    if pool.uuid.starts_with(naming::SUBSYSTEM) {
        let text = format!("thin pool {name:?} has no catalog: {UNFINISHED}");
        return Error::new(ErrorKind::NotFound, text);
    }
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "thin pool {name:?} has no catalog of Mosaic; init --adopt makes one in a pool that was \
             never used"
        ),
    )
}
