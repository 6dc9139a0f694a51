// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each function of the header runs in: no panic leaves it, what fails is kept for the thread.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_int};
use std::rc::Rc;

use mosaic_core::foreign::without_size_signal;
use mosaic_core::mosaic::Changed;
use mosaic_core::{Error, ErrorKind, Level, Result, panics, printable};
use nix::errno::Errno;

use crate::c::{owned, uncancelled};
use crate::error::words;
use crate::log;

/// What a function gives that failed.
pub(crate) trait Failed {
    /// That.
    const FAILED: Self;
}

impl Failed for c_int {
    const FAILED: Self = -1;
}

impl<T> Failed for *mut T {
    const FAILED: Self = std::ptr::null_mut();
}

impl Failed for () {
    const FAILED: Self = ();
}

/// A call that failed.
#[derive(Debug)]
struct Failure {
    message: CString,
    kind: ErrorKind,
}

/// The call of a thread that failed last, and the one before: a program may ask for the message among
/// the arguments of one C function to which it gives a call's result too, and C does not say which of
/// them comes first.
type Failures = [Option<Rc<Failure>>; 2];

thread_local! {
    static LAST: RefCell<Failures> = const { RefCell::new([None, None]) };
    static CHANGED: Cell<bool> = const { Cell::new(false) };
}

/// A call that only looks.
pub(crate) fn look<T: Failed>(body: impl FnOnce() -> Result<T>) -> T {
    call(|| Ok((body()?, Some(Changed::Unchanged))))
}

/// A call that says whether it changed anything.
pub(crate) fn change<T: Failed>(body: impl FnOnce() -> Result<(T, Changed)>) -> T {
    call(|| body().map(|(value, changed)| (value, Some(changed))))
}

/// A call that is about the library itself: it leaves alone what the one before has changed.
pub(crate) fn manage<T: Failed>(body: impl FnOnce() -> Result<T>) -> T {
    call(|| Ok((body()?, None)))
}

fn call<T: Failed>(body: impl FnOnce() -> Result<(T, Option<Changed>)>) -> T {
    uncancelled(|| settle(|| without_size_signal(body)))
}

fn settle<T: Failed>(body: impl FnOnce() -> Result<(T, Option<Changed>)>) -> T {
    // What panics in a thread of a call's own, whoever waits for it hears of; else it is a test of ours.
    panics::note(|| cfg!(test));
    let errno = Errno::last_raw();
    match caught(body) {
        Ok((value, changed)) => {
            if let Some(changed) = changed {
                CHANGED.set(changed == Changed::Yes);
            }
            Errno::set_raw(errno);
            value
        }
        Err(error) => {
            // A second fault of ours leaves errno as the only word on the first.
            let _ = caught(|| {
                keep(&error);
                Ok(())
            });
            Errno::set_raw(error.errno().unwrap_or(error.kind().errno()));
            T::FAILED
        }
    }
}

/// Makes a panic an error.
fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    panics::caught("libmosaic", body).unwrap_or_else(Err)
}

/// Keeps the error for the thread, and logs it. What the log function calls may fail too; that is not
/// what failed last.
fn keep(error: &Error) {
    let line = error.line_in(words);
    let failure = Rc::new(Failure {
        message: owned(printable(&line).as_bytes()),
        kind: error.kind(),
    });
    let failures = [Some(failure), last()];
    let set = |failures| {
        // A thread that is at its end has nowhere to keep it.
        let _ = LAST.try_with(|last| last.replace(failures));
    };
    set(failures.clone());
    log::line(Level::Error, &line);
    set(failures);
}

/// Shows `look` the message of the last call of this thread that failed.
pub(crate) fn with_last_message<T>(look: impl FnOnce(&CStr) -> T) -> T {
    look(last().as_ref().map_or(c"", |failure| &failure.message))
}

/// The kind of the last call of this thread that failed.
pub(crate) fn last_kind() -> Option<ErrorKind> {
    last().map(|failure| failure.kind)
}

fn last() -> Option<Rc<Failure>> {
    let last = LAST.try_with(|failures| failures.borrow()[0].clone());
    last.ok().flatten()
}

/// Whether the last call of this thread that succeeded changed anything.
pub(crate) fn last_changed() -> bool {
    CHANGED.get()
}

/// The call has changed something, though it fails.
pub(crate) fn set_last_changed() {
    CHANGED.set(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> String {
        with_last_message(|message| message.to_str().unwrap().to_owned())
    }

    fn fail(error: Error) -> c_int {
        look(|| Err(error))
    }

    #[test]
    fn what_failed_last_in_a_thread_is_kept_for_it() {
        assert_eq!((message().as_str(), last_kind()), ("", None));
        let error = Error::new(ErrorKind::Busy, "locked\nby a").context("cannot drop");
        assert_eq!(fail(error), -1);
        assert_eq!(Errno::last_raw(), ErrorKind::Busy.errno());
        assert_eq!(message(), "cannot drop: locked; by a");
        assert_eq!(last_kind(), Some(ErrorKind::Busy));
        Errno::set_raw(4711);
        assert_eq!(look(|| Ok(7)), 7);
        assert_eq!(Errno::last_raw(), 4711);
        assert_eq!(last_kind(), Some(ErrorKind::Busy));
        std::thread::spawn(|| assert_eq!(message(), ""))
            .join()
            .unwrap();
    }

    #[test]
    fn the_message_before_the_last_is_still_there() {
        let kept = || {
            let last = LAST.with_borrow(|failures| failures[0].clone());
            Rc::downgrade(&last.unwrap())
        };
        let busy = || Error::new(ErrorKind::Busy, "x");
        fail(busy());
        let first = kept();
        fail(busy());
        assert!(first.upgrade().is_some());
        fail(busy());
        assert!(first.upgrade().is_none());
    }

    #[test]
    fn the_errno_of_the_kernel_comes_first() {
        fail(Error::io(nix::Error::EACCES, "cannot open"));
        assert_eq!(Errno::last(), Errno::EACCES);
        assert_eq!(last_kind(), Some(ErrorKind::Permission));
        assert_eq!(message(), "cannot open: Permission denied");
    }

    #[test]
    fn a_panic_is_an_error() {
        let failed: c_int = look(|| panic!("no {}", "way"));
        assert_eq!((failed, Errno::last()), (-1, Errno::EIO));
        let text = message();
        assert!(text.contains("src/call.rs:"), "{text}");
        assert!(text.ends_with("a fault in it: no way"), "{text}");
    }

    #[test]
    fn whether_anything_changed_is_what_the_last_good_call_says() {
        let good = |changed| change(|| Ok((0, changed)));
        good(Changed::Yes);
        fail(Error::new(ErrorKind::Io, "x"));
        assert!(last_changed());
        manage(|| Ok(()));
        assert!(last_changed());
        good(Changed::Unchanged);
        assert!(!last_changed());
        good(Changed::Yes);
        look(|| Ok(0));
        assert!(!last_changed());
    }
}
