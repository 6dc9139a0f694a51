// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device that goes with whoever holds it, be that a step of ours or a mount.
//!
//! It is made, loaded, opened, told to go with its last close, and only then made active: so there
//! is no moment in which a kill would leave it.

use std::os::fd::OwnedFd;
use std::path::Path;

use mosaic_core::{Bytes, Context, Error, Result};
use rustix::fs::OFlags;

use crate::block_device::BlockDevice;
use crate::ioctl;
use crate::kernel_pool::KernelPool;
use crate::target::{DeviceNumber, ThinId};
use crate::thin_pool::{HeldDevice, Setup, ThinPool};
use mosaic_core::dm::Audience;
use mosaic_core::dm::By;

/// How much is discarded before the user's wish to stop is looked at.
const DISCARD_STEP: u64 = 1 << 30;

/// An active device that is held open.
#[derive(Debug)]
pub struct Held<'p, 'a> {
    pool: &'p KernelPool<'a>,
    id: ThinId,
    device: BlockDevice,
}

impl<'p, 'a> Held<'p, 'a> {
    /// Sets a device up.
    ///
    /// # Errors
    /// `Busy` if there is one; the kernel's. Nothing is left then.
    pub fn new(
        pool: &'p KernelPool<'a>,
        id: ThinId,
        setup: Setup,
        audience: Audience,
    ) -> Result<Self> {
        let info = pool.load(id, setup)?;
        let activated = activate(pool, id, info.dev.into(), setup, audience);
        match activated {
            Ok(device) => Ok(Self { pool, id, device }),
            Err(error) => Err(error.after_undo(pool.remove(id))),
        }
    }

    /// The descriptor that keeps it.
    pub fn into_fd(self) -> OwnedFd {
        self.device.into_fd()
    }
}

fn activate(
    pool: &KernelPool<'_>,
    id: ThinId,
    number: DeviceNumber,
    setup: Setup,
    audience: Audience,
) -> Result<BlockDevice> {
    let uuid = pool.uuid(id);
    let by = By::Uuid(&uuid);
    let access = match setup.read_only {
        true => OFlags::RDONLY,
        false => OFlags::RDWR,
    };
    let device = BlockDevice::open(number, access)?;
    pool.dm
        .remove_at_close(by)
        .context(|| format!("cannot bind the device of thin id {id} to us"))?;
    let resumed = pool.dm.resume(by, audience);
    resumed.context(|| format!("cannot activate the device of thin id {id}"))?;
    Ok(device)
}

impl HeldDevice for Held<'_, '_> {
    fn path(&self) -> &Path {
        self.device.path()
    }

    fn sync(&self) -> Result<()> {
        self.device.sync()
    }

    fn discard(&self, from: Bytes, to: Bytes) -> Result<()> {
        let path = self.device.path();
        self.pool.host.debug(&format!(
            "BLKDISCARD {path:?} from byte {} to {}",
            from.0, to.0
        ));
        let mut at = from.0;
        while at < to.0 {
            self.pool.host.check_cancelled()?;
            let length = (to.0 - at).min(DISCARD_STEP);
            ioctl::discard(&self.device, at, length)
                .map_err(|errno| Error::io(errno, format!("cannot discard {path:?}")))?;
            at += length;
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        let Self { pool, id, device } = *self;
        drop(device);
        pool.await_gone(id)
    }
}
