// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes: opened, closed, asked for their names and sizes.

use std::ffi::{c_int, c_ulong};

use mosaic_core::size::SECTOR;
use mosaic_core::{Error, ErrorKind};

use crate::c::{Buffer, Out, Text};
use crate::call::{look, manage};
use crate::flags::Flags;
use crate::handle::{Handle, OpenMosaic, OpenVolume};

#[unsafe(no_mangle)]
extern "C" fn mosaic_open_vol(
    mosaic: Handle<OpenMosaic>,
    name: Text,
    flags: Flags,
) -> Handle<OpenVolume> {
    look(|| {
        flags.none()?;
        let (mosaic, name) = (mosaic.get()?, name.utf8("volume name")?);
        mosaic.core.volume(name)?;
        Handle::open(OpenVolume::new(mosaic, name))
    })
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_close_vol(volume: Handle<OpenVolume>) {
    manage(|| volume.close());
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_get_vol_name(volume: Handle<OpenVolume>, buf: Buffer, len: c_int) -> c_int {
    look(|| buf.write(len, volume.get()?.name().as_bytes()))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_have_vol(mosaic: Handle<OpenMosaic>, name: Text, flags: Flags) -> c_int {
    look(|| {
        flags.none()?;
        let there = mosaic.get()?.core.have(name.utf8("volume name")?)?;
        Ok(c_int::from(there))
    })
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_get_vol_size(volume: Handle<OpenVolume>, blocks: Out<c_ulong>) -> c_int {
    look(|| {
        blocks.check("blocks")?;
        let volume = volume.enter()?;
        let name = volume.name();
        let unsupported =
            |why: &str| Error::new(ErrorKind::Unsupported, format!("volume {name:?} has {why}"));
        let size = volume.core().volume(name)?.size;
        let size = size.ok_or_else(|| unsupported("no size"))?;
        let number = c_ulong::try_from(size.0 / SECTOR);
        blocks.put(
            "blocks",
            number.map_err(|_| unsupported("more blocks than fit a long"))?,
        )?;
        Ok(0)
    })
}
