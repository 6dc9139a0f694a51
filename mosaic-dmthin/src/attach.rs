// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attach, detach, and the device that a mount gets.
//!
//! What stays and what goes is the kernel's to know: a device for a mount is bound to go with its
//! last close, an explicit one is not. There is no other record.

use std::time::{Duration, Instant};

use mosaic_core::busy;
use mosaic_core::volume::{Attachment, Lifetime, MountSource};
use mosaic_core::{Bytes, Context, Error, ErrorKind, Result};
use rustix::fs::OFlags;

use crate::block_device::BlockDevice;
use crate::catalog::{Content, Entry};
use crate::doubt::certain;
use crate::held::Held;
use crate::identity::{require_made, require_metadata};
use crate::info::{doubt, metadata_of, readable_truth, truth};
use crate::kernel_pool::KernelPool;
use crate::removal::{in_use, open_elsewhere};
use crate::target::ThinId;
use crate::thin_pool::{Setup, ThinDevice, ThinPool};
use mosaic_core::dm::Audience;
use mosaic_core::dm::By;

/// How long an opener that comes and goes is waited for.
const PASSING: Duration = Duration::from_secs(1);

/// Steps: prove that no device shows the volume; DEV_CREATE, TABLE_LOAD; **commit**: resume. Killed
/// before the commit a device without an active table is left, which the next command removes;
/// after it the device is attached.
///
/// # Errors
/// `NotFound`; `Busy`, saying where it is in use; the kernel's.
pub fn attach(pool: &KernelPool<'_>, stored: &str, read_only: bool) -> Result<Attachment> {
    let entry = &known(pool, stored)?;
    require_made(pool, entry)?;
    pool.prove_unused(entry.id)?;
    let setup = Setup {
        size: entry.size,
        read_only,
    };
    let info = pool.load(entry.id, setup)?;
    let uuid = pool.uuid(entry.id);
    // The node is there already; where nobody made one, nothing is attached.
    let activated = BlockDevice::open(info.dev.into(), OFlags::RDONLY).and_then(|device| {
        let resumed = pool.dm.resume(By::Uuid(&uuid), Audience::Everybody);
        resumed.context(|| "cannot activate the volume's device".to_owned())?;
        Ok(device.path().to_owned())
    });
    match activated {
        Ok(device) => Ok(Attachment {
            device,
            lifetime: Lifetime::Explicit,
            read_only,
            foreign: false,
        }),
        Err(error) => Err(error.after_undo(pool.remove(entry.id))),
    }
}

/// Steps: find the device of an earlier attach; **commit**: DEV_REMOVE, which the kernel refuses while
/// anybody has it open.
///
/// # Errors
/// `NotFound` if there is none; `Busy`, saying who has it open.
pub fn detach(pool: &KernelPool<'_>, stored: &str) -> Result<()> {
    let truth = readable_truth(pool)?;
    // Of a volume that was just renamed, or not, the device is the same.
    let doubt = doubt(pool, &truth)?;
    let before = doubt.as_ref().and_then(|doubt| doubt.other.find(stored));
    let id = match (truth.catalog.find(stored), before) {
        (Some(entry), _) | (None, Some(entry)) => entry.id,
        (None, None) => truth.catalog.require(stored)?.id,
    };
    match pool.device(id)? {
        None => {
            pool.refuse_others(id)?;
            Err(Error::new(
                ErrorKind::NotFound,
                format!("volume {stored:?} is not attached"),
            ))
        }
        Some(device) if device.lifetime == Lifetime::Mount => {
            Err(in_use(&device.path).context("it is there for a mount; umount ends it"))
        }
        Some(_) => pool.remove(id),
    }
}

/// The device for a mount of a volume, or of the metadata (`None`).
///
/// Steps: find the volume's device, and hold it; or make one that goes with its last close. Killed at
/// any point the kernel takes a device away that nothing is mounted from.
///
/// # Errors
/// `NotFound`; `Invalid` for a disk; `Busy` if somebody else uses it.
pub fn mount_source(
    pool: &KernelPool<'_>,
    stored: Option<&str>,
    read_only: bool,
) -> Result<MountSource> {
    let (id, size) = match stored {
        None => {
            let catalog = truth(pool)?.catalog;
            let size = metadata_of(pool, &catalog)?.size;
            require_metadata(pool)?;
            (ThinId::METADATA, size)
        }
        Some(stored) => {
            let entry = &known(pool, stored)?;
            if entry.content == Content::Disk {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    "it is a disk, whose content is its user's",
                ));
            }
            require_made(pool, entry)?;
            (entry.id, entry.size)
        }
    };
    pool.refuse_others(id)?;
    let start = Instant::now();
    while let Some(device) = pool.device(id)? {
        if device.is_active
            && let Some(open) = hold(pool, &device)?
        {
            return share(pool, &device, open, read_only);
        }
        // It is just going away.
        if start.elapsed() > PASSING {
            return Err(in_use(&device.path));
        }
        pool.host.check_cancelled()?;
        std::thread::sleep(Duration::from_millis(2));
    }
    fresh(pool, id, size, read_only)
}

/// The volume of a stored name, which is there, and as it is said to be.
fn known(pool: &KernelPool<'_>, stored: &str) -> Result<Entry> {
    let truth = truth(pool)?;
    let doubt = doubt(pool, &truth)?;
    certain(&truth.catalog, doubt.as_ref(), stored)?;
    truth.catalog.require(stored).cloned()
}

fn fresh(pool: &KernelPool<'_>, id: ThinId, size: Bytes, read_only: bool) -> Result<MountSource> {
    let setup = Setup { size, read_only };
    let held = Held::new(pool, id, setup, Audience::Ourselves)?;
    Ok(MountSource::Device {
        path: crate::thin_pool::HeldDevice::path(&held).to_owned(),
        handle: held.into_fd(),
    })
}

/// Opens a device, so that it stays; `None`: it went meanwhile, or is another's now.
fn hold(pool: &KernelPool<'_>, device: &ThinDevice) -> Result<Option<BlockDevice>> {
    let Some(info) = pool.info(device.id)? else {
        return Ok(None);
    };
    match BlockDevice::open(info.dev.into(), OFlags::RDONLY) {
        Ok(open) => {
            let now = pool.info(device.id)?;
            Ok(now.is_some_and(|now| now.dev == info.dev).then_some(open))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A device that is there already: another mount's, which any number of mounts can share, or an
/// explicitly attached one that nobody else works on.
fn share(
    pool: &KernelPool<'_>,
    device: &ThinDevice,
    open: BlockDevice,
    read_only: bool,
) -> Result<MountSource> {
    if device.is_read_only && !read_only {
        return Err(in_use(&device.path).context("it is attached read-only"));
    }
    if device.lifetime == Lifetime::Explicit || !is_mounted(device)? {
        refuse_shared_use(pool, device)?;
    }
    Ok(MountSource::Device {
        path: device.path.clone(),
        handle: open.into_fd(),
    })
}

fn is_mounted(device: &ThinDevice) -> Result<bool> {
    busy::mounts_of_device(&device.path).map(|found| !found.is_empty())
}

/// Refuses a device of which we have one descriptor, if more have it open than us and its mounted file
/// system, after a look or two: programs that list devices open them for a moment.
///
/// The kernel counts them, those too that no process of ours can see. A file system has its device
/// open once, however often it is mounted.
///
/// Kernel: `dm_blk_open`, `dm_open_count`, drivers/md/dm.c.
fn refuse_shared_use(pool: &KernelPool<'_>, device: &ThinDevice) -> Result<()> {
    let start = Instant::now();
    loop {
        // Mounted all the time, as it is counted.
        let was_mounted = is_mounted(device)?;
        let count = pool.info(device.id)?.map(|info| info.open_count);
        let known = match was_mounted && is_mounted(device)? {
            true => 2,
            false => 1,
        };
        if count.is_some_and(|count| count <= known) {
            return Ok(());
        }
        if start.elapsed() > PASSING {
            return Err(open_elsewhere(&device.path));
        }
        pool.host.check_cancelled()?;
        std::thread::sleep(Duration::from_millis(20));
    }
}
