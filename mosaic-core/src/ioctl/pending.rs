// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals that wait for this thread to take them.

use std::mem::MaybeUninit;
use std::ptr;

use nix::sys::signal::{SigSet, Signal};

/// Whether the signal waits for this thread, or for any of the process: sigpending(2).
pub(crate) fn is_pending(signal: Signal) -> bool {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: one set is written to where it is told.
    if unsafe { libc::sigpending(set.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call has filled it in.
    let set = unsafe { SigSet::from_sigset_t_unchecked(set.assume_init()) };
    set.contains(signal)
}

/// Takes the signal if it waits: sigtimedwait(2) with no time. It is to be blocked.
pub(crate) fn take(signal: Signal) {
    let mut set = SigSet::empty();
    set.add(signal);
    let none = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: both structures live until the call returns; what it says of the signal nobody wants.
    unsafe { libc::sigtimedwait(set.as_ref(), ptr::null_mut(), &raw const none) };
}
