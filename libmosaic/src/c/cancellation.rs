// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads that are cancelled (pthread_cancel(3)) while they are in the library.
//!
//! What Rust code waits in are cancellation points. To be cancelled there would be half a call, and
//! the end of the process, because it is an unwinding that must not be stopped.

use std::ffi::c_int;

/// `PTHREAD_CANCEL_DISABLE`: <pthread.h> of glibc 2.36 and of musl 1.2.
const PTHREAD_CANCEL_DISABLE: c_int = 1;

unsafe extern "C" {
    unsafe fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

/// Runs `body` in one piece: that the thread is cancelled takes effect behind it at the earliest.
pub(crate) fn uncancelled<T>(body: impl FnOnce() -> T) -> T {
    let before = set(PTHREAD_CANCEL_DISABLE);
    let value = body();
    // What was disabled before stays so: a call inside of a call is no exception.
    set(before);
    value
}

/// Sets the thread's state; what it was. The states are all that it could fail for.
fn set(state: c_int) -> c_int {
    let mut before = PTHREAD_CANCEL_DISABLE;
    // SAFETY: `before` is a variable of the type that it wants.
    unsafe { pthread_setcancelstate(state, &raw mut before) };
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTHREAD_CANCEL_ENABLE: c_int = 0;

    #[test]
    fn what_was_disabled_before_stays_so() {
        let state = || {
            let now = set(PTHREAD_CANCEL_DISABLE);
            set(now);
            now
        };
        assert_eq!(state(), PTHREAD_CANCEL_ENABLE);
        let seen = uncancelled(|| (state(), uncancelled(state), state()));
        assert_eq!(seen, (1, 1, 1));
        assert_eq!(state(), PTHREAD_CANCEL_ENABLE);
    }
}
