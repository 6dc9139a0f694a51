// SPDX-License-Identifier: MIT OR Apache-2.0
//! Panics in what others call: caught on this side of a border, where each is an error and no line on
//! standard error.
//!
//! A driver and the C library have a copy of the standard library each, and so a hook of their own:
//! that of the program around them is untouched.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::error::{Error, ErrorKind, Result};

thread_local! {
    /// Whether this thread is inside of [`caught`].
    static IN_CALL: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic in one was.
    static PANIC_AT: Cell<Option<String>> = const { Cell::new(None) };
}

/// From now on notes where something panics inside of [`caught`] instead of printing it: the error says
/// it. Elsewhere, in a thread of our own, it is printed if `prints_elsewhere`; else only whoever waits
/// for that thread hears of it.
pub fn note(prints_elsewhere: impl FnOnce() -> bool) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let prints_elsewhere = prints_elsewhere();
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| match IN_CALL.get() {
            true => {
                let at = info.location().map(ToString::to_string);
                // A thread that is coming to its end has no place for it any more.
                let _ = PANIC_AT.try_with(|place| place.set(at));
            }
            false if prints_elsewhere => print(info),
            false => {}
        }));
    });
}

/// Runs what must not panic, and makes an error of it if it does; `who` panicked.
///
/// # Errors
/// `Io` for a panic.
pub fn caught<T>(who: &str, body: impl FnOnce() -> T) -> Result<T> {
    let outer = IN_CALL.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(body));
    IN_CALL.set(outer);
    outcome.map_err(|payload| panicked(who, payload.as_ref()))
}

/// The error that stands for a panic.
fn panicked(who: &str, payload: &(dyn Any + Send)) -> Error {
    let at = PANIC_AT.try_with(Cell::take).ok().flatten();
    let at = at.map_or(String::new(), |at| format!(" at {at}"));
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("without a message");
    Error::new(
        ErrorKind::Io,
        format!("{who} panicked{at}, which is a fault in it: {text}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_says_where() {
        note(|| true);
        let outer = caught("the outer", || {
            let inner = caught("the inner", || -> () { panic!("no {}", "way") });
            let error = inner.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io);
            let text = error.to_string();
            assert!(text.starts_with("the inner panicked at "), "{text}");
            assert!(text.contains("src/panics.rs:"), "{text}");
            assert!(text.ends_with("which is a fault in it: no way"), "{text}");
            7
        });
        assert_eq!(outer.unwrap(), 7);
        assert!(!IN_CALL.get());
    }
}
