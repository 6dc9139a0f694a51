// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the two copies of this process do: the waiter, and what becomes the program.

use std::ffi::c_char;
use std::os::fd::RawFd;
use std::{ptr, slice};

use libc::{c_int, c_long};
use rustix::process::Signal;

use super::Manner;
use super::plain::{self, address, call, leave, set_mask};
use super::unmap::{self, Kept};

/// What a child that did not execute its program ends with; nobody looks at it.
const NOT_RUN: c_long = 127;

/// What a waiter says: a word, and a number that belongs to it.
pub(super) const SAYS_NOT_RUN: c_int = 1;
pub(super) const SAYS_ENDED: c_int = 2;
pub(super) const SAYS_ELSEWHERE: c_int = 3;
/// It is told to stop; another word follows.
pub(super) const SAYS_HEARD: c_int = 4;
/// It has what it needs, and runs the program now; another word follows.
pub(super) const SAYS_BEGINS: c_int = 5;

/// What the copies need, ready to be used without allocating.
pub(super) struct Plan<'a> {
    /// Path, arguments and environment, each ended by a NUL.
    #[expect(dead_code, reason = "what the pointers point into")]
    pub(super) texts: Vec<u8>,
    /// Where in them the path is, then the arguments and the environment, both with a null at the
    /// end.
    pub(super) pointers: Vec<*const c_char>,
    /// The first pointer of the environment.
    pub(super) environment: usize,
    pub(super) streams: [RawFd; 3],
    pub(super) report: RawFd,
    /// What the program has besides.
    pub(super) passed: &'a [RawFd],
    /// All of these, in ascending order.
    pub(super) kept: Vec<RawFd>,
    pub(super) manner: Manner,
    pub(super) parent: c_long,
    /// The memory that the waiter keeps; `None`: all of it.
    pub(super) memory: Option<Vec<Kept>>,
}

/// The waiter: runs the program, waits for it, kills what is left of its group, says how it ended.
pub(super) fn wait(plan: &Plan<'_>) -> ! {
    // Of what others in this process have open, and of its directory, nothing is kept in use.
    plain::close_all_but(&plan.kept);
    call(libc::SYS_chdir, [address(c"/".as_ptr()), 0, 0, 0]);
    call(libc::SYS_setpgid, [0, 0, 0, 0]);
    plain::set_name(c"mosaic-waiter");
    let manner = &plan.manner;
    if let Err(errno) = plain::default_dispositions(manner.ignored) {
        say(plan.report, SAYS_NOT_RUN, errno);
        leave(NOT_RUN);
    }
    // Who is in no namespace of ours is nobody.
    if call(libc::SYS_getppid, [0, 0, 0, 0]) == 0 {
        say(plan.report, SAYS_ELSEWHERE, 0);
        leave(NOT_RUN);
    }
    if manner.dies_with_us && !plain::dies_with(plan.parent, Signal::TERM) {
        leave(NOT_RUN);
    }
    if let Some(memory) = &plan.memory {
        // SAFETY: this process has one thread, with all signals blocked. This never returns, nor does
        // `execute`; both use the plan, which our caller has just put on this stack, its lists, and
        // plain system calls.
        unsafe { unmap::unmap_all_but(memory) };
    }
    // Whatever else a system call needs here, or its error, it misses now: nothing has begun.
    call(libc::SYS_close, [-1, 0, 0, 0]);
    say(plan.report, SAYS_BEGINS, 0);
    let us = call(libc::SYS_getpid, [0, 0, 0, 0]);
    // SAFETY: this process has one thread; the copy only runs `execute`, which never returns.
    let program = unsafe { plain::copy(c_long::from(libc::SIGCHLD), ptr::null_mut()) };
    if program == 0 {
        execute(plan, us);
    }
    if program < 0 {
        say(plan.report, SAYS_NOT_RUN, plain::last_errno());
        leave(NOT_RUN);
    }
    // Once more there, so that it is done before anybody is told to stop.
    call(libc::SYS_setpgid, [program, program, 0, 0]);
    plain::close_all_but(slice::from_ref(&plan.report));
    let mut heard = false;
    let mut known = plain::has_ended(program);
    while known == Ok(false) {
        if plain::is_told_to_stop() && manner.can_be_stopped {
            // It may have left its group.
            plain::kill(program, Signal::KILL);
            plain::kill(-program, Signal::KILL);
            if !heard {
                say(plan.report, SAYS_HEARD, 0);
            }
            heard = true;
        }
        known = plain::has_ended(program);
    }
    // Its number is its own, and its group's, as long as it is not waited for.
    if known == Ok(true) && manner.takes_group_along {
        plain::kill(-program, Signal::KILL);
    }
    // If nobody knew, it is not stopped: this waits for it, or fails as well.
    if let Some(status) = plain::reap(program) {
        say(plan.report, SAYS_ENDED, status);
    }
    leave(0)
}

/// Becomes the program.
fn execute(plan: &Plan<'_>, waiter: c_long) -> ! {
    call(libc::SYS_setpgid, [0, 0, 0, 0]);
    if plan.manner.dies_with_us && !plain::dies_with(waiter, Signal::KILL) {
        leave(NOT_RUN);
    }
    take_stream(plan, 0);
    take_stream(plan, 1);
    take_stream(plan, 2);
    call(libc::SYS_chdir, [address(c"/".as_ptr()), 0, 0, 0]);
    // All but the standard three and those of the image, also those that others in this process
    // opened carelessly. Kernel: `CLOSE_RANGE_CLOEXEC`, since Linux 5.11.
    let all = c_long::from(u32::MAX);
    let closed = c_long::from(libc::CLOSE_RANGE_CLOEXEC);
    if call(libc::SYS_close_range, [3, all, closed, 0]) == 0 {
        for fd in plan.passed {
            call(
                libc::SYS_fcntl,
                [c_long::from(*fd), c_long::from(libc::F_SETFD), 0, 0],
            );
        }
        set_mask(0);
        let path = address(plan.pointers[0]);
        let arguments = address(&raw const plan.pointers[1]);
        let environment = address(&raw const plan.pointers[plan.environment]);
        call(libc::SYS_execve, [path, arguments, environment, 0]);
    }
    say(plan.report, SAYS_NOT_RUN, plain::last_errno());
    leave(NOT_RUN)
}

/// Gives the program a stream by its number.
fn take_stream(plan: &Plan<'_>, number: u8) {
    let stream = c_long::from(plan.streams[usize::from(number)]);
    // Ours are beyond 2, so this never meets a descriptor with itself.
    if call(libc::SYS_dup3, [stream, number.into(), 0, 0]) < 0 {
        say(plan.report, SAYS_NOT_RUN, plain::last_errno());
        leave(NOT_RUN);
    }
}

/// Writes what [`super::Waiter::reap`] understands. Signals are blocked: a reader that is gone kills
/// nobody.
fn say(report: RawFd, word: c_int, number: c_int) {
    let message = [word, number];
    let bytes = address(message.as_ptr());
    call(libc::SYS_write, [c_long::from(report), bytes, 8, 0]);
}
