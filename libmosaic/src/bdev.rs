// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes as block devices.

use std::ffi::c_int;
use std::os::unix::ffi::OsStrExt;

use mosaic_core::Result;
use mosaic_core::mosaic::{Attached, Changed, Earlier};

use crate::c::Buffer;
use crate::call::change;
use crate::flags::{EXIST_OK, Flags, Known, MISSING_OK, RDONLY};
use crate::handle::{Entered, Handle, OpenVolume};

/// Attaches the volume, or finds that it is attached as this handle has done before.
fn attach(volume: &Entered, flags: Known) -> Result<Attached> {
    let _turn = volume.turn()?;
    let given = volume.given_device();
    let earlier = match (flags.has(EXIST_OK), &given) {
        (true, _) => Earlier::Accepted,
        (false, Some(given)) => Earlier::Only(given),
        (false, None) => Earlier::Refused,
    };
    let attached = volume
        .core()
        .attach(volume.name(), flags.has(RDONLY), earlier)?;
    volume.set_given_device(Some(attached.identity.clone()));
    Ok(attached)
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_get_vol_bdev(
    volume: Handle<OpenVolume>,
    dev: Buffer,
    len: c_int,
    flags: Flags,
) -> c_int {
    change(|| {
        let flags = flags.only(RDONLY | EXIST_OK)?;
        let volume = volume.enter()?;
        // Before anything is attached.
        dev.check(len)?;
        let attached = attach(&volume, flags)?;
        let device = attached.attachment.device.as_os_str();
        let length = dev.write(len, device.as_bytes())?;
        Ok((length, attached.changed))
    })
}

fn detach(volume: &Handle<OpenVolume>, missing_ok: bool) -> Result<(c_int, Changed)> {
    let volume = volume.enter()?;
    let _turn = volume.turn()?;
    let changed = volume.core().detach(volume.name(), missing_ok)?;
    volume.set_given_device(None);
    Ok((0, changed))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_put_vol_bdev(volume: Handle<OpenVolume>) -> c_int {
    change(|| detach(&volume, false))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_put_vol_bdev_with(volume: Handle<OpenVolume>, flags: Flags) -> c_int {
    change(|| detach(&volume, flags.only(MISSING_OK)?.has(MISSING_OK)))
}
