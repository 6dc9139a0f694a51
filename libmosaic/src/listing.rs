// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mosaics that there are.

use std::ffi::{c_char, c_int};

use mosaic_core::mosaic::{MosaicEntry, list_mosaics};
use mosaic_core::{Error, printable};

use crate::c::{Arena, Data, Each, MosaicOptions, Options, ends_with};
use crate::call::look;
use crate::environment::environment;
use crate::error::number;
use crate::flags::Flags;
use crate::services::Callbacks;
use crate::tell::tell;

/// `struct mosaic_entry`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct EntryC {
    pub(crate) size: usize,
    pub(crate) name: *const c_char,
    pub(crate) config: *const c_char,
    pub(crate) driver: *const c_char,
    pub(crate) location: *const c_char,
    pub(crate) error: *const c_char,
    pub(crate) error_kind: c_int,
    pub(crate) reserved: c_int,
}

ends_with!(EntryC, reserved);

fn of_entry(arena: &mut Arena, entry: &MosaicEntry) -> EntryC {
    let error = entry.error.as_ref();
    EntryC {
        size: size_of::<EntryC>(),
        name: arena.text(&entry.name),
        config: arena.text(&entry.config),
        driver: arena.text_if_any(entry.driver.as_deref()),
        location: arena.text_if_any(entry.location.as_deref()),
        error: arena.text_if_any(error.map(|error| printable(&error.line()).to_string())),
        error_kind: number(error.map(Error::kind)),
        reserved: 0,
    }
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_list_mosaics(
    options: Options<MosaicOptions>,
    function: Each<EntryC>,
    data: Data,
    flags: Flags,
) -> c_int {
    look(|| {
        flags.none()?;
        function.check()?;
        let entries = list_mosaics(&environment(&options, &Callbacks::of_program())?)?;
        Ok(tell(&entries, of_entry, &function, data))
    })
}
