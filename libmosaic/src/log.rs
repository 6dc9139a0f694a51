// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log of all handles: one function of the program, or nobody.

use std::cell::Cell;
use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{PoisonError, RwLock};

use mosaic_core::{Level, printable};

use crate::c::{Log, owned};

/// Up to which level lines are logged.
static LEVEL: AtomicI32 = AtomicI32::new(number(Level::Warning));

/// Who gets them.
static FUNCTION: RwLock<Log> = RwLock::new(Log::NONE);

thread_local! {
    /// Whether the program's function runs on this thread.
    static IN_FUNCTION: Cell<bool> = const { Cell::new(false) };
}

/// The number of a level, one of `enum log_level`.
const fn number(level: Level) -> c_int {
    match level {
        Level::Error => 1,
        Level::Warning => 2,
        Level::Info => 3,
        Level::Debug => 4,
    }
}

/// Logs one line. Nothing in it steers a terminal, or looks like another line. What the program's
/// function calls is not logged: its own lines would have no end.
pub(crate) fn line(level: Level, text: &str) {
    let level = number(level);
    if level > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    // Not held while it is called: it may set another one.
    let function = *FUNCTION.read().unwrap_or_else(PoisonError::into_inner);
    if function.is_given() && !IN_FUNCTION.replace(true) {
        function.line(level, &owned(printable(text).as_bytes()));
        IN_FUNCTION.set(false);
    }
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_set_log_fn(function: Log) {
    *FUNCTION.write().unwrap_or_else(PoisonError::into_inner) = function;
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_set_log_lvl(level: c_int) {
    LEVEL.store(level, Ordering::Relaxed);
}
