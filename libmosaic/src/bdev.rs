// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes as block devices.

use std::ffi::c_int;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use mosaic_core::Result;
use mosaic_core::mosaic::Changed;
use mosaic_core::volume::Lifetime;

use crate::c::Buffer;
use crate::call::change;
use crate::flags::{EXIST_OK, Flags, Known, MISSING_OK, RDONLY};
use crate::handle::{Entered, Handle, OpenVolume};

/// Attaches the volume, or finds that it is attached as this handle has done before.
fn attach(volume: &Entered, flags: Known) -> Result<(PathBuf, Changed)> {
    let _turn = volume.turn()?;
    let (core, name, read_only) = (volume.core(), volume.name(), flags.has(RDONLY));
    if let Some(given) = volume.given_device() {
        let there = core.volume(name)?.attachment;
        let is_same = there.is_some_and(|there| {
            let explicit = there.lifetime == Lifetime::Explicit && !there.foreign;
            there.device == given && there.read_only == read_only && explicit
        });
        if is_same {
            return Ok((given, Changed::Unchanged));
        }
    }
    let (changed, attachment) = core.attach(name, read_only, flags.has(EXIST_OK))?;
    volume.set_given_device(Some(attachment.device.clone()));
    Ok((attachment.device, changed))
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
        let (device, changed) = attach(&volume, flags)?;
        let length = dev.write(len, device.as_os_str().as_bytes())?;
        Ok((length, changed))
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
