// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drivers, and the config keys of one.

use std::ffi::{c_char, c_int};

use mosaic_core::Key;
use mosaic_core::loader::{self, InstalledDriver};

use crate::c::{Arena, Data, Each, MosaicOptions, Options, Strings, Text, ends_with};
use crate::call::look;
use crate::environment::environment;
use crate::flags::Flags;
use crate::services::Callbacks;
use crate::tell::tell;

/// `struct mosaic_driver`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct DriverC {
    pub(crate) size: usize,
    pub(crate) r#type: *const c_char,
    pub(crate) aliases: Strings,
    pub(crate) version: *const c_char,
    pub(crate) abi: *const c_char,
    pub(crate) description: *const c_char,
    pub(crate) file: *const c_char,
    pub(crate) refusal: *const c_char,
}

ends_with!(DriverC, refusal);

/// `struct mosaic_key`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct KeyC {
    pub(crate) size: usize,
    pub(crate) key: *const c_char,
    pub(crate) r#type: *const c_char,
    pub(crate) choices: Strings,
    pub(crate) default_value: *const c_char,
    pub(crate) help: *const c_char,
}

ends_with!(KeyC, help);

fn of_driver(arena: &mut Arena, driver: &InstalledDriver) -> DriverC {
    DriverC {
        size: size_of::<DriverC>(),
        r#type: arena.text(&driver.type_name),
        aliases: arena.texts(&driver.aliases),
        version: arena.text(&driver.version),
        abi: arena.text(&driver.abi),
        description: arena.text(&driver.description),
        file: arena.text(&driver.file),
        refusal: arena.text_if_any(driver.refusal.as_deref()),
    }
}

fn of_key(arena: &mut Arena, key: &Key) -> KeyC {
    KeyC {
        size: size_of::<KeyC>(),
        key: arena.text(&key.path),
        r#type: arena.text(key.kind.name()),
        choices: arena.texts(key.kind.choices()),
        default_value: arena.text_if_any(key.default.as_deref()),
        help: arena.text(&key.help),
    }
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_list_drivers(
    options: Options<MosaicOptions>,
    function: Each<DriverC>,
    data: Data,
    flags: Flags,
) -> c_int {
    look(|| {
        flags.none()?;
        function.check()?;
        let environment = environment(&options, &Callbacks::of_program())?;
        let drivers = loader::installed(&environment.search);
        Ok(tell(&drivers, of_driver, &function, data))
    })
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_list_driver_keys(
    driver_type: Text,
    options: Options<MosaicOptions>,
    function: Each<KeyC>,
    data: Data,
    flags: Flags,
) -> c_int {
    look(|| {
        flags.none()?;
        function.check()?;
        let environment = environment(&options, &Callbacks::of_program())?;
        let driver_type = driver_type.utf8("the driver's type")?;
        let driver = loader::describe(&environment.search, driver_type)?;
        Ok(tell(&driver.keys, of_key, &function, data))
    })
}
