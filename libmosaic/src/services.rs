// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a program lends the core: the log, and for each mosaic who hears of progress and who is asked
//! whether to stop.

use std::cell::Cell;
use std::ffi::c_int;
use std::sync::{Arc, PoisonError, RwLock};

use mosaic_core::{Level, Services, printable};

use crate::c::{Cancel, Data, Progress, owned};
use crate::call;
use crate::handle::{Handle, OpenMosaic};
use crate::log;

thread_local! {
    /// Whether one of the program's functions runs on this thread.
    static IN_FUNCTION: Cell<bool> = const { Cell::new(false) };
}

/// Calls a function of the program's, unless it is one of those that call the library now: what they
/// call would call them again, without an end.
fn unless_inside<T>(call: impl FnOnce() -> T) -> Option<T> {
    if IN_FUNCTION.replace(true) {
        return None;
    }
    let said = call();
    IN_FUNCTION.set(false);
    Some(said)
}

/// The program's functions.
#[derive(Debug, Clone, Copy)]
struct Functions {
    progress: (Progress, Data),
    cancel: (Cancel, Data),
}

/// The program's functions for one mosaic, which can be set at any time.
#[derive(Debug)]
pub(crate) struct Callbacks(RwLock<Functions>);

/// Those for calls without a handle, and for handles that will be opened.
static DEFAULT: Callbacks = Callbacks(RwLock::new(Functions {
    progress: (Progress::NONE, Data::NONE),
    cancel: (Cancel::NONE, Data::NONE),
}));

impl Callbacks {
    /// Those that hold now where there is no handle.
    pub(crate) fn of_program() -> Arc<Self> {
        Arc::new(Self(RwLock::new(DEFAULT.now())))
    }

    /// Copied, so that nothing is held while one of them is called.
    fn now(&self) -> Functions {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, set: impl FnOnce(&mut Functions)) {
        set(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Services for Callbacks {
    fn log(&self, level: Level, message: &str) {
        log::line(level, message);
    }

    fn progress(&self, done: u64, total: u64, what: &str) {
        let (function, data) = self.now().progress;
        if function.is_given() {
            let what = owned(printable(what).as_bytes());
            unless_inside(|| function.call(done, total, &what, data));
        }
    }

    fn cancelled(&self) -> bool {
        let (function, data) = self.now().cancel;
        unless_inside(|| function.call(data)).unwrap_or(false)
    }
}

/// Sets functions of a mosaic, or those for calls without a handle.
fn set(mosaic: &Handle<OpenMosaic>, set: impl FnOnce(&mut Functions)) -> c_int {
    call::manage(|| {
        match mosaic.get_if_given()? {
            Some(mosaic) => mosaic.callbacks.set(set),
            None => DEFAULT.set(set),
        }
        Ok(0)
    })
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_set_progress_fn(
    mosaic: Handle<OpenMosaic>,
    function: Progress,
    data: Data,
) -> c_int {
    set(&mosaic, |functions| functions.progress = (function, data))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_set_cancel_fn(
    mosaic: Handle<OpenMosaic>,
    function: Cancel,
    data: Data,
) -> c_int {
    set(&mosaic, |functions| functions.cancel = (function, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_function_calls_does_not_call_it_again() {
        fn heard() -> u32 {
            1 + unless_inside(heard).unwrap_or(0)
        }
        assert_eq!(unless_inside(heard), Some(1));
        assert_eq!(unless_inside(heard), Some(1));
    }
}
