// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver's panics, caught on its own side: one that reached the border would end the process.

use mosaic_abi::AbiResult;
use mosaic_abi::abi_stable::std_types::{RErr, ROk};

use crate::border;
use crate::error::Result;
use crate::mapped_file::MappedFile;
use crate::panics;

/// Has nothing printed where a method panics, and where a driver that was loaded panics in a thread of
/// its own.
pub(super) fn note_panics() {
    let here = note_panics as fn() as *const ();
    let is_loaded = || MappedFile::of(here).is_some_and(|file| !file.is_the_program());
    panics::note(|| !is_loaded());
}

/// Runs a driver's method: an error is converted, a panic is an error too.
pub(super) fn guard<T>(method: impl FnOnce() -> Result<T>) -> AbiResult<T> {
    // Displaying the driver's own errors is the driver's code too.
    let method = || method().map_err(|error| border::error_out(&error));
    match panics::caught("the driver", method) {
        Ok(Ok(value)) => ROk(value),
        Ok(Err(error)) => RErr(error),
        Err(panicked) => RErr(border::error_out(&panicked)),
    }
}
