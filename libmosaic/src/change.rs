// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes are made, cloned, dropped, renamed, and given other sizes.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_long, c_ulong};

use mosaic_core::mosaic::{Changed, DropOptions, ResizeTo, VolumeRequest};
use mosaic_core::{Bytes, Result};

use crate::c::{Data, Each, Text};
use crate::call::{change, set_last_changed};
use crate::flags::{EXIST_OK, Flags, MISSING_OK, SHRINK, WAIT};
use crate::handle::{Handle, OpenMosaic, OpenVolume};
use crate::tell::tell_lines;

/// What `unsigned long blocks` are.
#[allow(clippy::useless_conversion, reason = "it is one on 32 bits")]
fn bytes(blocks: c_ulong) -> Result<Bytes> {
    Bytes::from_sectors(u64::from(blocks))
}

fn make(
    mosaic: &Handle<OpenMosaic>,
    name: &Text,
    request: VolumeRequest,
    blocks: c_ulong,
    flags: Flags,
) -> Result<(c_int, Changed)> {
    let flags = flags.only(EXIST_OK)?;
    let (mosaic, name) = (mosaic.get()?, name.utf8("volume name")?);
    let exist_ok = flags.has(EXIST_OK);
    let changed = mosaic
        .core
        .create(name, request, bytes(blocks)?, exist_ok)?;
    Ok((0, changed))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_make_vol(
    mosaic: Handle<OpenMosaic>,
    name: Text,
    blocks: c_ulong,
    flags: Flags,
) -> c_int {
    change(|| make(&mosaic, &name, VolumeRequest::Disk, blocks, flags))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_make_vol_fs(
    mosaic: Handle<OpenMosaic>,
    name: Text,
    blocks: c_ulong,
    flags: Flags,
) -> c_int {
    change(|| make(&mosaic, &name, VolumeRequest::Fs, blocks, flags))
}

fn clone(
    from: &Handle<OpenVolume>,
    name: &Text,
    blocks: Option<c_ulong>,
    flags: Flags,
) -> Result<(c_int, Changed)> {
    let flags = flags.only(EXIST_OK)?;
    let (from, to) = (from.enter()?, name.utf8("volume name")?);
    let (size, exist_ok) = (blocks.map(bytes).transpose()?, flags.has(EXIST_OK));
    let changed = from.core().clone_volume(from.name(), to, size, exist_ok)?;
    Ok((0, changed))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_clone_vol(from: Handle<OpenVolume>, name: Text, flags: Flags) -> c_int {
    change(|| clone(&from, &name, None, flags))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_clone_vol_sized(
    from: Handle<OpenVolume>,
    name: Text,
    blocks: c_ulong,
    flags: Flags,
) -> c_int {
    change(|| clone(&from, &name, Some(blocks), flags))
}

/// Drops the volume, which closes its handle; what gives its space back later.
///
/// No other call of the handle goes on meanwhile, and none begins afterwards: it would meet whatever
/// others give the name to. A drop that fails, and may have been made all the same, closes it too.
fn remove(handle: &Handle<OpenVolume>, flags: Flags) -> Result<(Vec<String>, Changed)> {
    let flags = flags.only(MISSING_OK | WAIT)?;
    let (volume, name, inside) = handle.enter_alone()?.into_parts();
    let options = DropOptions {
        missing_ok: flags.has(MISSING_OK),
        wait: flags.has(WAIT),
    };
    let is_gone = Cell::new(false);
    let gone = || {
        handle.close_gone(&volume);
        is_gone.set(true);
        drop(inside);
    };
    match volume.core().drop_volume_then(&name, &options, gone) {
        Ok((changed, dropped)) => Ok((dropped.pending, changed)),
        Err(error) => {
            if is_gone.get() {
                set_last_changed();
            }
            Err(error)
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_drop_vol(volume: Handle<OpenVolume>, flags: Flags) -> c_int {
    change(|| remove(&volume, flags).map(|(_, changed)| (0, changed)))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_drop_vol_pending(
    volume: Handle<OpenVolume>,
    function: Each<c_char>,
    data: Data,
    flags: Flags,
) -> c_int {
    change(|| {
        let (pending, changed) = remove(&volume, flags)?;
        tell_lines(&pending, &function, data);
        Ok((0, changed))
    })
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_rename_vol(volume: Handle<OpenVolume>, name: Text, flags: Flags) -> c_int {
    change(|| {
        flags.none()?;
        let to = name.utf8("volume name")?;
        rename(&volume, to)?;
        Ok((0, Changed::Yes))
    })
}

/// Gives the volume and its handle another name; also where that fails when the volume has it. Where
/// nobody can say which it has the handle is closed: either may be given to another volume.
fn rename(handle: &Handle<OpenVolume>, to: &str) -> Result<()> {
    let volume = handle.enter_alone()?;
    let named = |name: Option<&str>| {
        match name {
            Some(name) => volume.set_name(name),
            None => handle.close_gone(&volume),
        }
        set_last_changed();
    };
    volume.core().rename_then(volume.name(), to, named)
}

fn resize(
    volume: &Handle<OpenVolume>,
    to: Result<ResizeTo>,
    flags: Flags,
) -> Result<(c_int, Changed)> {
    let flags = flags.only(SHRINK)?;
    let volume = volume.enter()?;
    let done = volume
        .core()
        .resize(volume.name(), to?, flags.has(SHRINK))?;
    Ok((0, done.changed))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_resize_vol(
    volume: Handle<OpenVolume>,
    blocks: c_ulong,
    flags: Flags,
) -> c_int {
    change(|| resize(&volume, bytes(blocks).map(ResizeTo::Absolute), flags))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_resize_vol_by(
    volume: Handle<OpenVolume>,
    blocks: c_long,
    flags: Flags,
) -> c_int {
    change(|| resize(&volume, difference(blocks), flags))
}

fn difference(blocks: c_long) -> Result<ResizeTo> {
    let by = bytes(blocks.unsigned_abs())?;
    Ok(match blocks < 0 {
        true => ResizeTo::Shrink(by),
        false => ResizeTo::Grow(by),
    })
}

#[cfg(test)]
mod tests {
    use mosaic_core::ErrorKind;

    use super::*;

    #[test]
    fn blocks_are_512_bytes() {
        assert_eq!(bytes(3).unwrap(), Bytes(1536));
        assert_eq!(difference(2).unwrap(), ResizeTo::Grow(Bytes(1024)));
        assert_eq!(difference(-2).unwrap(), ResizeTo::Shrink(Bytes(1024)));
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn more_blocks_than_fit_into_a_file_are_refused() {
        for many in [c_ulong::MAX, c_ulong::MAX / 512 + 1, 1 << 55, 1 << 54] {
            assert_eq!(
                bytes(many).unwrap_err().kind(),
                ErrorKind::Invalid,
                "{many}"
            );
        }
        assert!(difference(c_long::MIN).is_err());
    }
}
