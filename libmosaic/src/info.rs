// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a mosaic is, can do, and how full it is.

use std::ffi::c_char;

use mosaic_core::mosaic::MosaicInfo;
use mosaic_core::volume::{Capability, Space};

use crate::c::{Arena, Strings, ends_with};
use crate::call::{look, manage};
use crate::flags::Flags;
use crate::handle::{Handle, OpenMosaic};
use crate::results::Results;

/// `struct mosaic_fact`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct FactC {
    pub(crate) size: usize,
    pub(crate) name: *const c_char,
    pub(crate) value: *const c_char,
}

ends_with!(FactC, value);

/// `struct mosaic_capability`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct CapabilityC {
    pub(crate) size: usize,
    pub(crate) name: *const c_char,
    pub(crate) refusal: *const c_char,
}

ends_with!(CapabilityC, refusal);

/// `struct mosaic_space`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct SpaceC {
    pub(crate) size: usize,
    pub(crate) name: *const c_char,
    pub(crate) total_bytes: u64,
    pub(crate) used_bytes: u64,
    pub(crate) free_bytes: u64,
}

ends_with!(SpaceC, free_bytes);

/// `struct mosaic_info`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct InfoC {
    pub(crate) size: usize,
    pub(crate) name: *const c_char,
    pub(crate) config: *const c_char,
    pub(crate) driver: *const c_char,
    pub(crate) driver_version: *const c_char,
    pub(crate) driver_abi: *const c_char,
    pub(crate) driver_file: *const c_char,
    pub(crate) location: *const c_char,
    pub(crate) default_fs: *const c_char,
    pub(crate) metadata: *const c_char,
    pub(crate) metadata_mounted: Strings,
    pub(crate) spaces: *const *const SpaceC,
    pub(crate) capabilities: *const *const CapabilityC,
    pub(crate) notes: Strings,
    pub(crate) facts: *const *const FactC,
}

ends_with!(InfoC, facts);

/// A list of facts.
pub(crate) fn facts(arena: &mut Arena, facts: &[(String, String)]) -> *const *const FactC {
    arena.list_of(facts, |arena, (name, value)| FactC {
        size: size_of::<FactC>(),
        name: arena.text(name),
        value: arena.text(value),
    })
}

/// A list of what can be done, and what not.
pub(crate) fn capabilities(
    arena: &mut Arena,
    capabilities: &[Capability],
) -> *const *const CapabilityC {
    arena.list_of(capabilities, |arena, capability| CapabilityC {
        size: size_of::<CapabilityC>(),
        name: arena.text(&capability.name),
        refusal: arena.text_if_any(capability.refusal.as_deref()),
    })
}

fn space(arena: &mut Arena, space: &Space) -> SpaceC {
    SpaceC {
        size: size_of::<SpaceC>(),
        name: arena.text(&space.class),
        total_bytes: space.total.0,
        used_bytes: space.used.0,
        free_bytes: space.free.0,
    }
}

fn of_mosaic(arena: &mut Arena, info: &MosaicInfo) -> InfoC {
    InfoC {
        size: size_of::<InfoC>(),
        name: arena.text(&info.name),
        config: arena.text(&info.config),
        driver: arena.text(&info.driver),
        driver_version: arena.text(&info.driver_version),
        driver_abi: arena.text(&info.driver_abi),
        driver_file: arena.text(&info.driver_file),
        location: arena.text(&info.location),
        default_fs: arena.text_if_any(info.default_fs.as_deref()),
        metadata: arena.text_if_any(info.layout_fs.as_deref()),
        metadata_mounted: arena.paths(&info.metadata_mounted),
        spaces: arena.list_of(&info.space, space),
        capabilities: capabilities(arena, &info.capabilities),
        notes: arena.texts(&info.about.notes),
        facts: facts(arena, &info.about.facts),
    }
}

/// What programs have not freed yet.
static GIVEN: Results = Results::new("struct mosaic_info");

#[unsafe(no_mangle)]
extern "C" fn mosaic_get_info(mosaic: Handle<OpenMosaic>, flags: Flags) -> *mut InfoC {
    look(|| {
        flags.none()?;
        let info = mosaic.get()?.core.info()?;
        Ok(GIVEN.give(|arena| of_mosaic(arena, &info)))
    })
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_free_info(info: *mut InfoC) {
    manage(|| GIVEN.free(info));
}
