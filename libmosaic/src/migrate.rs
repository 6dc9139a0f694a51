// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sending a volume to another mosaic, as far as its functions are there.

use std::ffi::c_int;

use mosaic_core::{Error, ErrorKind, Result};

use crate::call::look;
use crate::flags::Flags;
use crate::handle::{Handle, OpenVolume};

fn refuse(volume: &Handle<OpenVolume>) -> Result<c_int> {
    let volume = volume.enter()?;
    let name = volume.name();
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("cannot migrate volume {name:?}: this version of Mosaic has no streams of volumes"),
    ))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_migrate_vol_send_start(
    volume: Handle<OpenVolume>,
    _fd: c_int,
    flags: Flags,
) -> c_int {
    look(|| flags.none().and_then(|()| refuse(&volume)))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_migrate_vol_recv_start(
    volume: Handle<OpenVolume>,
    _fd: c_int,
    flags: Flags,
) -> c_int {
    look(|| flags.none().and_then(|()| refuse(&volume)))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_migrate_vol_send_more(volume: Handle<OpenVolume>) -> c_int {
    look(|| refuse(&volume))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_migrate_vol_stop(volume: Handle<OpenVolume>) -> c_int {
    look(|| refuse(&volume))
}
