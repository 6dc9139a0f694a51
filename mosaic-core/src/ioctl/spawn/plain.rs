// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plain system calls, for copies of a process that may have threads: no allocation, no lock, no
//! point where a thread can be cancelled, nothing of the C library but `syscall` and `errno`.
//!
//! Of memory they use what they are given, so that they can be made where little is left of it
//! ([`super::unmap`]). Nothing larger than a few words is copied or zeroed there, which may be a call
//! of memcpy or memset: a program may have its own, with memory of their own.

use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;

use libc::{c_int, c_long};
use rustix::process::Signal;

/// The kernel's `_NSIG`.
const SIGNALS: c_int = 64;
/// Bytes of the kernel's `sigset_t`: a bit per signal.
const SIGNAL_SET_BYTES: c_long = 8;
/// `PR_SET_NAME` and `PR_SET_PDEATHSIG` in include/uapi/linux/prctl.h.
const PR_SET_NAME: c_long = 15;
const PR_SET_PDEATHSIG: c_long = 1;

/// Makes a copy of this process; 0 in the copy, else its id, or -1.
///
/// # Safety
/// As of fork(2) in a program with threads. `pidfd` is written to if `flags` have `CLONE_PIDFD`.
pub(super) unsafe fn copy(flags: c_long, pidfd: *mut c_int) -> c_long {
    let (stack, none) = (ptr::null_mut::<u8>(), ptr::null_mut::<u8>());
    // SAFETY: the caller's. s390x has the first two arguments the other way round (clone(2)).
    unsafe {
        if cfg!(target_arch = "s390x") {
            libc::syscall(libc::SYS_clone, stack, flags, pidfd, none, none)
        } else {
            libc::syscall(libc::SYS_clone, flags, stack, pidfd, none, none)
        }
    }
}

/// Dispositions as at login, but for what is to be ignored: an ignored signal stays so over exec,
/// and a handler of ours would run in a copy.
///
/// By the system call itself: libc's functions refuse the two signals that libc uses, which a careless
/// ancestor may have set to be ignored, and a program may have functions of its own in their place,
/// with locks.
///
/// # Errors
/// The kernel's for SIGCHLD: the end of a child would not be known.
pub(super) fn default_dispositions(ignored: &[Signal]) -> Result<(), c_int> {
    for number in 1..=SIGNALS {
        // That SIGKILL and SIGSTOP are refused changes nothing.
        if set_disposition(number, libc::SIG_DFL) < 0 && number == libc::SIGCHLD {
            return Err(last_errno());
        }
    }
    for signal in ignored {
        set_disposition(signal.as_raw(), libc::SIG_IGN);
    }
    Ok(())
}

/// Kernel: `struct sigaction` in include/linux/signal_types.h, Linux 4.15: but for MIPS, whose sets of
/// signals are larger than ours, it begins with the disposition. It has at most 8 words, and the
/// others are 0: no flags, no signals.
fn set_disposition(signal: c_int, disposition: libc::sighandler_t) -> c_long {
    let mut action = [0_usize; 8];
    action[0] = disposition;
    let action = address(action.as_ptr());
    let arguments = [c_long::from(signal), action, 0, SIGNAL_SET_BYTES];
    call(libc::SYS_rt_sigaction, arguments)
}

/// Names this process, as ps(1) shows it.
pub(super) fn set_name(name: &std::ffi::CStr) {
    call(libc::SYS_prctl, [PR_SET_NAME, address(name.as_ptr()), 0, 0]);
}

/// Has a signal sent to this process when its parent ends; `false`: that has happened already.
pub(super) fn dies_with(parent: c_long, signal: Signal) -> bool {
    let signal = c_long::from(signal.as_raw());
    call(libc::SYS_prctl, [PR_SET_PDEATHSIG, signal, 0, 0]);
    call(libc::SYS_getppid, [0, 0, 0, 0]) == parent
}

/// Sets this thread's mask, the signals of libc among it; the one before.
pub(super) fn set_mask(mask: u64) -> u64 {
    let mut before = 0_u64;
    let to = address(ptr::from_mut(&mut before));
    let how = c_long::from(libc::SIG_SETMASK);
    let arguments = [how, address(&raw const mask), to, SIGNAL_SET_BYTES];
    call(libc::SYS_rt_sigprocmask, arguments);
    before
}

/// Waits for SIGCHLD or SIGTERM, which are blocked, and so come even if they are ignored: whether it
/// was SIGTERM.
pub(super) fn is_told_to_stop() -> bool {
    let set: u64 = 1 << (libc::SIGCHLD - 1) | 1 << (libc::SIGTERM - 1);
    let arguments = [address(&raw const set), 0, 0, SIGNAL_SET_BYTES];
    call(libc::SYS_rt_sigtimedwait, arguments) == c_long::from(libc::SIGTERM)
}

pub(super) fn kill(process: c_long, signal: Signal) {
    let signal = c_long::from(signal.as_raw());
    call(libc::SYS_kill, [process, signal, 0, 0]);
}

/// Whether a child has ended; it is still to be waited for. An error: nobody knows.
pub(super) fn has_ended(child: c_long) -> Result<bool, c_int> {
    // Room for a siginfo_t, 128 bytes. Not zeroed: that may be a call of memset.
    let mut info = MaybeUninit::<[u64; 16]>::uninit();
    let flags = c_long::from(libc::WEXITED | libc::WNOWAIT | libc::WNOHANG);
    // SAFETY: the kernel writes one siginfo_t to where it is told, and no usage.
    let asked = unsafe {
        let (all, none) = (c_long::from(libc::P_PID), ptr::null_mut::<u8>());
        libc::syscall(libc::SYS_waitid, all, child, info.as_mut_ptr(), flags, none)
    };
    match (asked, last_errno()) {
        // SAFETY: the first word is written then: the signal, 0 if no child has ended.
        (0, _) => Ok(unsafe { info.as_ptr().cast::<c_int>().read() } != 0),
        (_, libc::EINTR) => Ok(false),
        (_, errno) => Err(errno),
    }
}

/// Waits for a child: its status as of wait(2); `None`: nobody knows.
pub(super) fn reap(child: c_long) -> Option<c_int> {
    let mut status: c_int = 0;
    let to = address(ptr::from_mut(&mut status));
    loop {
        let waited = call(libc::SYS_wait4, [child, to, 0, 0]);
        if waited >= 0 || last_errno() != libc::EINTR {
            return (waited == child).then_some(status);
        }
    }
}

/// Closes all descriptors but these, which are in ascending order.
pub(super) fn close_all_but(kept: &[RawFd]) {
    let mut first = 0;
    for fd in kept {
        let fd = c_long::from(*fd);
        if fd > first {
            call(libc::SYS_close_range, [first, fd - 1, 0, 0]);
        }
        first = fd + 1;
    }
    let last = c_long::from(u32::MAX);
    call(libc::SYS_close_range, [first, last, 0, 0]);
}

pub(super) fn leave(status: c_long) -> ! {
    loop {
        call(libc::SYS_exit_group, [status, 0, 0, 0]);
    }
}

pub(super) fn address<T>(of: *const T) -> c_long {
    of.expose_provenance().cast_signed() as c_long
}

/// A system call; -1 and an errno if it failed.
pub(super) fn call(number: c_long, arguments: [c_long; 4]) -> c_long {
    let [a, b, c, d] = arguments;
    // SAFETY: whoever calls this function, private to its folder, passes what the manual of that
    // call asks for: numbers, and addresses of what lives until it returns.
    unsafe { libc::syscall(number, a, b, c, d) }
}

pub(super) fn last_errno() -> c_int {
    // SAFETY: it is this thread's, and an int.
    unsafe { libc::__errno_location().read() }
}
