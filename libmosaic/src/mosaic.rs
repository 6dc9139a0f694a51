// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mosaics: opened, closed, made, asked for their names and features.

use std::ffi::{c_char, c_int, c_ulonglong};

use mosaic_core::mosaic::Mosaic;
use mosaic_core::volume::InitOptions as CoreInitOptions;
use mosaic_core::volume::{Capability, capability};
use mosaic_core::{Error, ErrorKind, Result};

use crate::c::{Buffer, Data, Each, InitOptions, MosaicOptions, Options, Out, Text};
use crate::call::{change, look, manage};
use crate::environment::environment;
use crate::flags::Flags;
use crate::handle::{Handle, OpenMosaic};
use crate::services::Callbacks;
use crate::tell::tell_lines;

/// Each capability that has a bit, with its `MOSAIC_FEATURE_`.
const FEATURES: [(&str, u32); 8] = [
    (capability::CLONE, 0),
    (capability::VOLSIZE, 1),
    (capability::BDEV, 2),
    (capability::FS, 4),
    (capability::DISK, 5),
    (capability::GROW, 6),
    (capability::SHRINK, 7),
    (capability::RENAME, 8),
];

fn open(name: &Text, options: &Options<MosaicOptions>, flags: Flags) -> Result<Handle<OpenMosaic>> {
    flags.none()?;
    let callbacks = Callbacks::of_program();
    let environment = environment(options, &callbacks)?;
    let core = Mosaic::open(&environment, name.os("the name of the mosaic")?)?;
    Handle::open(OpenMosaic {
        core,
        callbacks,
        lock_timeout: environment.lock_timeout,
    })
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_open(name: Text, flags: Flags) -> Handle<OpenMosaic> {
    look(|| open(&name, &Options::NONE, flags))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_open_with(
    name: Text,
    options: Options<MosaicOptions>,
    flags: Flags,
) -> Handle<OpenMosaic> {
    look(|| open(&name, &options, flags))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_close(mosaic: Handle<OpenMosaic>) {
    manage(|| mosaic.close());
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_get_name(mosaic: Handle<OpenMosaic>, buf: Buffer, len: c_int) -> c_int {
    look(|| buf.write(len, mosaic.get()?.core.config().name.as_bytes()))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_init(
    name: Text,
    options: Options<MosaicOptions>,
    init: Options<InitOptions>,
    function: Each<c_char>,
    data: Data,
    flags: Flags,
) -> c_int {
    change(|| {
        flags.none()?;
        let environment = environment(&options, &Callbacks::of_program())?;
        let init = init.read("struct mosaic_init_options")?;
        let init = init.as_ref().map(wanted).transpose()?.unwrap_or_default();
        let name = name.os("the name of the mosaic")?;
        let (changed, made) = Mosaic::init(&environment, name, &init)?;
        tell_lines(&made, &function, data);
        Ok((0, changed))
    })
}

fn wanted(options: &InitOptions) -> Result<CoreInitOptions> {
    Ok(CoreInitOptions {
        quota: options.quota.utf8_if_given("quota")?.map(str::to_owned),
        adopt: is_set("adopt", options.adopt)?,
        force: is_set("force", options.force)?,
    })
}

/// Whether a member is 1. What else it may be was never set, and `force` destroys.
fn is_set(member: &str, number: c_int) -> Result<bool> {
    match number {
        0 => Ok(false),
        1 => Ok(true),
        _ => {
            let why = format!("{member} is {number} and should be 0 or 1; set it");
            Err(Error::new(ErrorKind::Invalid, why).context("struct mosaic_init_options"))
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_get_features(mosaic: Handle<OpenMosaic>, bits: Out<c_ulonglong>) -> c_int {
    look(|| {
        bits.check("bits")?;
        let capabilities = mosaic.get()?.core.capabilities()?;
        bits.put("bits", features(&capabilities))?;
        Ok(0)
    })
}

fn features(capabilities: &[Capability]) -> c_ulonglong {
    let can = |name: &str| {
        let mut capabilities = capabilities.iter();
        capabilities.any(|can| can.name == name && can.refusal.is_none())
    };
    let there = FEATURES.iter().filter(|(name, _)| can(name));
    there.fold(0, |bits, (_, bit)| bits | 1 << bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_have_the_bits_of_the_header() {
        let header = include_str!("../include/mosaic/mosaic.h");
        for (name, bit) in FEATURES {
            let word = match name {
                capability::VOLSIZE => "DISK_SIZE_MGMT".to_owned(),
                name => name.to_uppercase(),
            };
            let line = format!("#define MOSAIC_FEATURE_{word} (1ULL << {bit})");
            assert!(header.contains(&line), "{line}");
            assert_eq!(features(&[Capability::yes(name)]), 1 << bit);
            assert_eq!(features(&[Capability::no(name, "it cannot")]), 0);
        }
        let known: Vec<_> = FEATURES.iter().map(|(name, _)| *name).collect();
        assert!(capability::ALL.iter().all(|name| known.contains(name)));
        assert_eq!(features(&[Capability::yes("a driver's own")]), 0);
    }

    #[test]
    fn what_was_never_set_destroys_nothing() {
        assert!(!is_set("force", 0).unwrap());
        assert!(is_set("force", 1).unwrap());
        for never_set in [2, -1, c_int::MIN, 4711] {
            let error = is_set("force", never_set).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{never_set}");
        }
    }
}
