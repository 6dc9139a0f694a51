// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver's panics, caught on its own side: one that reached the border would end the process.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use mosaic_abi::AbiResult;
use mosaic_abi::abi_stable::std_types::{RErr, ROk};

use crate::border;
use crate::error::{Error, ErrorKind, Result};
use crate::mapped_file::MappedFile;

thread_local! {
    /// Whether a method of the driver runs on this thread.
    static IN_METHOD: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic in it was.
    static PANIC_AT: Cell<Option<String>> = const { Cell::new(None) };
}

/// Notes where a method panics instead of printing it: the error says it. This is the hook of the
/// driver's own copy of the standard library; the program's is untouched. A driver that was loaded prints
/// nothing at all: what panics in a thread of its own is told to whoever waits for that thread.
pub(super) fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let here = note_panics as fn() as *const ();
        let program = std::env::current_exe().ok();
        let is_loaded = MappedFile::of(here).is_some_and(|file| Some(file.path) != program);
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let in_method = IN_METHOD.try_with(Cell::get).unwrap_or(false);
            if in_method {
                let at = info.location().map(ToString::to_string);
                // A thread that is coming to its end has no place for it any more.
                let _ = PANIC_AT.try_with(|place| place.set(at));
            } else if !is_loaded {
                print(info);
            }
        }));
    });
}

/// Runs a driver's method: an error is converted, a panic is an error too.
pub(super) fn guard<T>(method: impl FnOnce() -> Result<T>) -> AbiResult<T> {
    // Displaying the driver's own errors is the driver's code too.
    let method = || method().map_err(|error| border::error_out(&error));
    let outer = IN_METHOD.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(method));
    IN_METHOD.set(outer);
    match outcome {
        Ok(Ok(value)) => ROk(value),
        Ok(Err(error)) => RErr(error),
        Err(payload) => RErr(border::error_out(&panicked(payload.as_ref()))),
    }
}

/// The error that stands for a panic.
fn panicked(payload: &(dyn Any + Send)) -> Error {
    let at = PANIC_AT
        .take()
        .map_or(String::new(), |at| format!(" at {at}"));
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("without a message");
    Error::new(
        ErrorKind::Io,
        format!("the driver panicked{at}, which is a fault in it: {text}"),
    )
}
