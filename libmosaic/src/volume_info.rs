// SPDX-License-Identifier: MIT OR Apache-2.0
//! What there is to be known of a volume, and of all of them.

use std::ffi::{c_char, c_int};
use std::ptr;

use mosaic_core::Bytes;
use mosaic_core::mosaic::VolumeInfo;
use mosaic_core::volume::{Access, Attachment, Capability, Kind, Lifetime};

use crate::c::{Arena, Data, Each, Strings, ends_with};
use crate::call::{look, manage};
use crate::flags::Flags;
use crate::handle::{Handle, OpenMosaic, OpenVolume};
use crate::info::{CapabilityC, FactC, capabilities, facts};
use crate::results::Results;
use crate::tell::tell;

/// `MOSAIC_UNKNOWN`.
pub(crate) const UNKNOWN: u64 = u64::MAX;

/// `struct mosaic_attachment`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct AttachmentC {
    pub(crate) size: usize,
    pub(crate) device: *const c_char,
    pub(crate) lifetime: c_int,
    pub(crate) read_only: c_int,
    pub(crate) foreign: c_int,
    pub(crate) reserved: c_int,
}

ends_with!(AttachmentC, reserved);

/// `struct mosaic_vol_info`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct VolumeInfoC {
    pub(crate) size: usize,
    pub(crate) name: *const c_char,
    pub(crate) stored: *const c_char,
    pub(crate) origin: *const c_char,
    pub(crate) kind: c_int,
    pub(crate) access: c_int,
    pub(crate) fs: *const c_char,
    pub(crate) fs_assumed: c_int,
    pub(crate) read_only: c_int,
    pub(crate) size_bytes: u64,
    pub(crate) used_bytes: u64,
    pub(crate) exclusive_bytes: u64,
    pub(crate) state: *const c_char,
    pub(crate) attachment: *const AttachmentC,
    pub(crate) mounted: Strings,
    pub(crate) notes: Strings,
    pub(crate) facts: *const *const FactC,
    pub(crate) capabilities: *const *const CapabilityC,
}

ends_with!(VolumeInfoC, capabilities);

fn attachment(arena: &mut Arena, attachment: &Attachment) -> AttachmentC {
    AttachmentC {
        size: size_of::<AttachmentC>(),
        device: arena.text(&attachment.device),
        lifetime: match attachment.lifetime {
            Lifetime::Explicit => 1,
            Lifetime::Mount => 2,
        },
        read_only: c_int::from(attachment.read_only),
        foreign: c_int::from(attachment.foreign),
        reserved: 0,
    }
}

fn of_volume(arena: &mut Arena, info: &VolumeInfo, can: Option<&[Capability]>) -> VolumeInfoC {
    let volume = &info.volume;
    let (kind, fs, assumed) = match &volume.kind {
        Kind::Disk => (1, None, false),
        Kind::Fs { fs, assumed } => (2, fs.as_deref(), *assumed),
    };
    let bytes = |bytes: Option<Bytes>| bytes.map_or(UNKNOWN, |bytes| bytes.0);
    let attached = volume.attachment.as_ref().map(|found| {
        let made = attachment(arena, found);
        arena.keep(made).cast_const()
    });
    VolumeInfoC {
        size: size_of::<VolumeInfoC>(),
        name: arena.text(&info.name),
        stored: arena.text(&volume.stored),
        origin: arena.text_if_any(info.origin.as_deref()),
        kind,
        access: match volume.access {
            Access::Directory => 1,
            Access::Device => 2,
        },
        fs: arena.text_if_any(fs),
        fs_assumed: c_int::from(assumed),
        read_only: c_int::from(volume.read_only),
        size_bytes: bytes(volume.size),
        used_bytes: bytes(volume.used),
        exclusive_bytes: bytes(volume.exclusive),
        state: arena.text(info.state()),
        attachment: attached.unwrap_or(ptr::null()),
        mounted: arena.paths(&info.mounted),
        notes: arena.texts(&volume.notes),
        facts: facts(arena, &volume.facts),
        capabilities: can.map_or(ptr::null(), |can| capabilities(arena, can)),
    }
}

/// What programs have not freed yet.
static GIVEN: Results = Results::new("struct mosaic_vol_info");

#[unsafe(no_mangle)]
extern "C" fn mosaic_get_vol_info(volume: Handle<OpenVolume>, flags: Flags) -> *mut VolumeInfoC {
    look(|| {
        flags.none()?;
        let volume = volume.enter()?;
        let (info, can) = volume.core().volume_info(volume.name())?;
        Ok(GIVEN.give(|arena| of_volume(arena, &info, Some(&can))))
    })
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_free_vol_info(info: *mut VolumeInfoC) {
    manage(|| GIVEN.free(info));
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_list_vols(
    mosaic: Handle<OpenMosaic>,
    function: Each<VolumeInfoC>,
    data: Data,
    flags: Flags,
) -> c_int {
    look(|| {
        flags.none()?;
        function.check()?;
        let volumes = mosaic.get()?.core.list()?;
        let show = |arena: &mut Arena, info: &_| of_volume(arena, info, None);
        Ok(tell(&volumes, show, &function, data))
    })
}
