// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting a program from inside another one, whatever that has done to its signals, children and
//! descriptors.
//!
//! Between us and the program is a waiter, a small process of our own that waits for the program
//! and says how it ended. The waiter has no exit signal (clone(2)): a program around us that
//! ignores SIGCHLD, or that waits for any child, neither loses nor takes its end, and never hears
//! of it. The program itself could not be started like that: execve(2) gives it SIGCHLD again, and
//! is why the waiter never executes anything.
//!
//! Both start as copies of a process that may have threads: until it executes the program, a copy
//! may only make async-signal-safe calls (fork(2)): no allocation, no lock, plain system calls. All
//! signals are blocked from before the copy is made, so that no handler of ours runs in it.
//!
//! The waiter has a copy-on-write copy of our memory until the program has ended, but none of our
//! descriptors and not our directory.

use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_int, c_long};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

/// The kernel's `_NSIG`.
const SIGNALS: c_int = 64;
/// Bytes of the kernel's `sigset_t`: a bit per signal.
const SIGNAL_SET_BYTES: usize = 8;
/// `CLONE_PIDFD` in include/uapi/linux/sched.h, Linux 5.2: the descriptor goes where the third
/// argument points.
const CLONE_PIDFD: c_long = 0x1000;
/// `PR_SET_NAME` and `PR_SET_PDEATHSIG` in include/uapi/linux/prctl.h.
const PR_SET_NAME: c_long = 15;
const PR_SET_PDEATHSIG: c_long = 1;
/// `P_PIDFD` of waitid(2), Linux 5.4.
const P_PIDFD: c_long = 3;
/// What a child that did not execute its program ends with; nobody looks at it.
const NOT_RUN: c_long = 127;

/// What becomes of the program when the thread that started it ends, and of what it has started
/// when it ends itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parting {
    /// It is killed; so is what it leaves behind.
    Dies,
    /// It goes on to its end. Neither a write to a pipe that nobody reads any more kills it, nor
    /// what a service that is stopped, or a terminal that is closed, sends to it or its waiter:
    /// SIGTERM, SIGHUP and SIGINT, unless it has a handler of its own. What it leaves behind is
    /// killed.
    GoesOn,
    /// It goes on, and so does what it leaves behind.
    Leaves,
}

/// What is to be executed.
#[derive(Debug)]
pub(crate) struct Image {
    /// An absolute path.
    pub(crate) path: CString,
    /// Its arguments, the first of which is its name.
    pub(crate) arguments: Vec<CString>,
    /// Its whole environment.
    pub(crate) environment: Vec<CString>,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// It could not be executed.
    NotRun(Errno),
    /// It was, and this is its status as of wait(2).
    Ended(c_int),
}

/// The process that waits for a program. Whoever drops it has called [`Waiter::reap`].
#[derive(Debug)]
pub(crate) struct Waiter {
    /// A pidfd: readable when the waiter has ended, and so the program, unless the waiter was
    /// killed.
    pub(crate) end: OwnedFd,
    report: OwnedFd,
}

/// What the copies need, ready to be used without allocating.
struct Plan {
    path: *const c_char,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    streams: [RawFd; 3],
    report: RawFd,
    /// The streams and the report, in ascending order.
    kept: [RawFd; 4],
    parting: Parting,
    parent: c_long,
}

/// Starts a program with these standard streams, in a process group of its own, with `/` as its
/// directory, default signals, and none of our other descriptors.
///
/// `PR_SET_PDEATHSIG` (prctl(2)) follows the **thread** that starts it, not the process: whoever starts
/// a program that [`Parting::Dies`] must wait for it on the same thread.
pub(crate) fn start(
    image: &Image,
    streams: [BorrowedFd<'_>; 3],
    parting: Parting,
) -> io::Result<Waiter> {
    let (report, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&report, true)?;
    // Beyond the numbers that they are to have: 0 to 2 may have been closed when ours were opened.
    let beyond = |fd: BorrowedFd<'_>| fcntl_dupfd_cloexec(fd, 3);
    let [stdin, stdout, stderr] = streams;
    let streams = [beyond(stdin)?, beyond(stdout)?, beyond(stderr)?];
    let theirs = fcntl_dupfd_cloexec(theirs, 3)?;
    let pointers = |texts: &[CString]| -> Vec<*const c_char> {
        let texts = texts.iter().map(|text| text.as_ptr());
        texts.chain([ptr::null()]).collect()
    };
    let [stdin, stdout, stderr] = [0, 1, 2].map(|at: usize| streams[at].as_raw_fd());
    let mut kept = [stdin, stdout, stderr, theirs.as_raw_fd()];
    kept.sort_unstable();
    let plan = Plan {
        path: image.path.as_ptr(),
        arguments: pointers(&image.arguments),
        environment: pointers(&image.environment),
        streams: [stdin, stdout, stderr],
        report: theirs.as_raw_fd(),
        kept,
        parting,
        parent: c_long::from(rustix::process::getpid().as_raw_nonzero().get()),
    };
    let mut end: c_int = -1;
    let before = set_mask(u64::MAX);
    // SAFETY: no memory is shared, so the copy is as of fork(2); it only runs `wait`, which makes
    // system calls and never returns. The kernel writes one int to `end`, in the parent.
    let waiter = unsafe { copy(CLONE_PIDFD, &raw mut end) };
    if waiter == 0 {
        wait(&plan);
    }
    let failed = io::Error::last_os_error();
    set_mask(before);
    if waiter < 0 {
        return Err(failed);
    }
    // SAFETY: the kernel has just opened it for us (close-on-exec), nobody else has it.
    let end = unsafe { OwnedFd::from_raw_fd(end) };
    Ok(Waiter { end, report })
}

impl Waiter {
    /// Has a program that [`Parting::Dies`] killed, and its group, also if the waiter was stopped.
    /// The waiter is still to be waited for.
    pub(crate) fn stop(&self) {
        for signal in [Signal::TERM, Signal::CONT] {
            // It can only be gone already.
            let _ = rustix::process::pidfd_send_signal(&self.end, signal);
        }
    }

    /// Waits for the waiter's end, and says what it has said. `None`: it was killed before, or
    /// could not learn how the program ended; the program may still be at work.
    pub(crate) fn reap(&self) -> Option<Report> {
        let fd = c_long::from(self.end.as_raw_fd());
        let flags = c_long::from(libc::WEXITED | libc::__WALL);
        loop {
            // SAFETY: waitid(2) by the system call, with its fifth argument, which libc's function
            // does not have: both pointers are null, so nothing is written.
            let waited = unsafe {
                let null = ptr::null_mut::<u8>();
                libc::syscall(libc::SYS_waitid, P_PIDFD, fd, null, flags, null)
            };
            // ECHILD: somebody waits for really all (__WALL); it has ended then.
            if waited == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                break;
            }
        }
        let mut message = [0_u8; 8];
        let got = rustix::io::retry_on_intr(|| rustix::io::read(&self.report, &mut message));
        let word = |at: usize| i32::from_ne_bytes(std::array::from_fn(|byte| message[at + byte]));
        match got {
            Ok(8) if word(0) != 0 => Some(Report::NotRun(Errno::from_raw_os_error(word(0)))),
            Ok(8) => Some(Report::Ended(word(4))),
            _ => None,
        }
    }
}

/// Makes a copy of this process; 0 in the copy, else its id, or -1.
///
/// # Safety
/// As of fork(2) in a program with threads. `pidfd` is written to if `flags` have `CLONE_PIDFD`.
unsafe fn copy(flags: c_long, pidfd: *mut c_int) -> c_long {
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

/// The waiter: runs the program, waits for it, kills what is left of its group, says how it ended.
fn wait(plan: &Plan) -> ! {
    // Of what others in this process have open, and of its directory, nothing is kept in use.
    close_all_but(&plan.kept);
    call(libc::SYS_chdir, [address(c"/".as_ptr()), 0, 0, 0]);
    call(libc::SYS_setpgid, [0, 0, 0, 0]);
    call(
        libc::SYS_prctl,
        [PR_SET_NAME, address(c"mosaic-waiter".as_ptr()), 0, 0],
    );
    if let Err(errno) = default_dispositions(plan.parting) {
        say(plan.report, errno, 0);
        leave(NOT_RUN);
    }
    if plan.parting == Parting::Dies {
        dies_with(plan.parent, libc::SIGTERM);
    }
    let us = call(libc::SYS_getpid, [0; 4]);
    // SAFETY: this process has one thread; the copy only runs `execute`, which never returns.
    let program = unsafe { copy(c_long::from(libc::SIGCHLD), ptr::null_mut()) };
    if program == 0 {
        execute(plan, us);
    }
    if program < 0 {
        say(plan.report, last_errno(), 0);
        leave(NOT_RUN);
    }
    // Once more there, so that it is done before anybody is told to stop.
    call(libc::SYS_setpgid, [program, program, 0, 0]);
    close_all_but(&[plan.report]);
    let group = |signal: c_int| {
        call(libc::SYS_kill, [-program, c_long::from(signal), 0, 0]);
    };
    let mut known = has_ended(program);
    while known == Ok(false) {
        if next_signal() == c_long::from(libc::SIGTERM) && plan.parting == Parting::Dies {
            // It may have left its group.
            call(libc::SYS_kill, [program, c_long::from(libc::SIGKILL), 0, 0]);
            group(libc::SIGKILL);
        }
        known = has_ended(program);
    }
    // Its number is its own, and its group's, as long as it is not waited for.
    if known == Ok(true) && plan.parting != Parting::Leaves {
        group(libc::SIGKILL);
    }
    // If that was not answered, it is not stopped: this waits for it, or fails as well.
    let mut status: c_int = 0;
    let to = ptr::from_mut(&mut status).expose_provenance().cast_signed() as c_long;
    let waited = loop {
        let waited = call(libc::SYS_wait4, [program, to, 0, 0]);
        if waited >= 0 || last_errno() != libc::EINTR {
            break waited;
        }
    };
    if waited == program {
        say(plan.report, 0, status);
    }
    leave(0)
}

/// Becomes the program.
fn execute(plan: &Plan, waiter: c_long) -> ! {
    call(libc::SYS_setpgid, [0, 0, 0, 0]);
    if plan.parting == Parting::Dies {
        dies_with(waiter, libc::SIGKILL);
    }
    for (number, stream) in (0..).zip(plan.streams) {
        // Ours are beyond 2, so this never meets a descriptor with itself.
        if call(libc::SYS_dup3, [c_long::from(stream), number, 0, 0]) < 0 {
            say(plan.report, last_errno(), 0);
            leave(NOT_RUN);
        }
    }
    call(libc::SYS_chdir, [address(c"/".as_ptr()), 0, 0, 0]);
    // All but the standard three, also those that others in this process opened carelessly. Kernel:
    // `CLOSE_RANGE_CLOEXEC`, since Linux 5.11.
    let all = c_long::from(u32::MAX);
    let closed = c_long::from(libc::CLOSE_RANGE_CLOEXEC);
    if call(libc::SYS_close_range, [3, all, closed, 0]) == 0 {
        set_mask(0);
        let pointers = [
            address(plan.path),
            address(plan.arguments.as_ptr()),
            address(plan.environment.as_ptr()),
            0,
        ];
        call(libc::SYS_execve, pointers);
    }
    say(plan.report, last_errno(), 0);
    leave(NOT_RUN)
}

/// Dispositions as at login: an ignored signal would stay ignored over exec, and a handler of ours
/// would run in the waiter.
///
/// By the system call itself, since libc's function refuses the two signals that libc uses, which
/// a careless ancestor may have set to be ignored.
///
/// # Errors
/// The kernel's for SIGCHLD: the end of the program would not be known.
fn default_dispositions(parting: Parting) -> Result<(), c_int> {
    // Of any architecture's kernel_sigaction, all zeroes is SIG_DFL with no flags.
    let default = [0u64; 8];
    for number in 1..=SIGNALS {
        let bytes = SIGNAL_SET_BYTES as c_long;
        // The kernel reads at most 8 words; that SIGKILL and SIGSTOP are refused changes nothing.
        let arguments = [c_long::from(number), address(default.as_ptr()), 0, bytes];
        if call(libc::SYS_rt_sigaction, arguments) < 0 && number == libc::SIGCHLD {
            return Err(last_errno());
        }
    }
    let ignored: &[c_int] = match parting {
        Parting::Dies => &[],
        Parting::GoesOn => &[libc::SIGPIPE, libc::SIGTERM, libc::SIGHUP, libc::SIGINT],
        Parting::Leaves => &[libc::SIGPIPE],
    };
    for number in ignored {
        // SAFETY: SIG_IGN is no function that could be called.
        unsafe { libc::signal(*number, libc::SIG_IGN) };
    }
    Ok(())
}

/// Has a signal sent to this process when its parent ends; it ends now if that has happened
/// already.
fn dies_with(parent: c_long, signal: c_int) {
    call(
        libc::SYS_prctl,
        [PR_SET_PDEATHSIG, c_long::from(signal), 0, 0],
    );
    if call(libc::SYS_getppid, [0; 4]) != parent {
        leave(NOT_RUN);
    }
}

/// Sets this thread's mask, the signals of libc among it; the one before.
fn set_mask(mask: u64) -> u64 {
    let mut before = 0_u64;
    let to = ptr::from_mut(&mut before).expose_provenance().cast_signed() as c_long;
    let how = c_long::from(libc::SIG_SETMASK);
    let bytes = SIGNAL_SET_BYTES as c_long;
    call(
        libc::SYS_rt_sigprocmask,
        [how, address(&raw const mask), to, bytes],
    );
    before
}

/// Waits for SIGCHLD or SIGTERM, which are blocked, and so come even if they are ignored: which of
/// them came.
fn next_signal() -> c_long {
    let set: u64 = [libc::SIGCHLD, libc::SIGTERM]
        .iter()
        .fold(0, |set, signal| set | 1 << (signal - 1));
    let bytes = SIGNAL_SET_BYTES as c_long;
    call(
        libc::SYS_rt_sigtimedwait,
        [address(&raw const set), 0, 0, bytes],
    )
}

/// Whether a child has ended; it is still to be waited for. An error: nobody knows.
fn has_ended(child: c_long) -> Result<bool, c_int> {
    // SAFETY: siginfo_t is integers and pointers, of which all zeroes are values.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;
    // SAFETY: the kernel writes one siginfo_t to where it is told.
    let asked = unsafe {
        let null = ptr::null_mut::<u8>();
        let all = libc::P_PID as c_long;
        libc::syscall(
            libc::SYS_waitid,
            all,
            child,
            &raw mut info,
            c_long::from(flags),
            null,
        )
    };
    match (asked, last_errno()) {
        // SAFETY: after waitid(2) it has a pid, 0 if no child was in that state.
        (0, _) => Ok(unsafe { info.si_pid() } != 0),
        (_, libc::EINTR) => Ok(false),
        (_, errno) => Err(errno),
    }
}

/// Writes what [`Waiter::reap`] understands. Signals are blocked: a reader that is gone kills
/// nobody.
fn say(report: RawFd, errno: c_int, status: c_int) {
    let message = [errno, status];
    let bytes = address(message.as_ptr());
    call(libc::SYS_write, [c_long::from(report), bytes, 8, 0]);
}

/// Closes all descriptors but these, which are in ascending order.
fn close_all_but(kept: &[RawFd]) {
    let mut first = 0;
    for fd in kept.iter().copied().map(c_long::from) {
        if fd > first {
            call(libc::SYS_close_range, [first, fd - 1, 0, 0]);
        }
        first = fd + 1;
    }
    let last = c_long::from(u32::MAX);
    call(libc::SYS_close_range, [first, last, 0, 0]);
}

fn leave(status: c_long) -> ! {
    loop {
        call(libc::SYS_exit_group, [status, 0, 0, 0]);
    }
}

fn address<T>(of: *const T) -> c_long {
    of.expose_provenance().cast_signed() as c_long
}

/// A system call; -1 and an errno if it failed.
fn call(number: c_long, arguments: [c_long; 4]) -> c_long {
    let [a, b, c, d] = arguments;
    // SAFETY: whoever calls this file-private function passes what the manual of that call asks
    // for: numbers, and addresses of what lives until it returns.
    unsafe { libc::syscall(number, a, b, c, d) }
}

fn last_errno() -> c_int {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}
