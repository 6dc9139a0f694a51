// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens in a child between fork and exec.
//!
//! The child of a program with threads may only make async-signal-safe calls there (fork(2)): no
//! allocation, no lock, plain system calls.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal};

/// The kernel's `_NSIG`.
const SIGNALS: libc::c_int = 64;
/// Bytes of the kernel's `sigset_t`: a bit per signal.
const SIGNAL_SET_BYTES: usize = 8;

/// What the child does when the thread that started it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parting {
    /// It is killed.
    Dies,
    /// It goes on to its end, and writes to a pipe that nobody reads any more do not kill it.
    GoesOn,
}

/// Gives the child its own process group, default signals, none of our descriptors, and `parting`.
///
/// `PR_SET_PDEATHSIG` (prctl(2)) follows the **thread** that forks, not the process: whoever starts
/// the command must wait for it on the same thread. It is cleared when a set-user-ID program is
/// executed, and children of the child do not inherit it.
pub(crate) fn isolate(command: &mut Command, parting: Parting) {
    let parent = rustix::process::getpid();
    command.process_group(0);
    // SAFETY: the closure owns what it uses and makes only system calls that signal-safety(7)
    // allows; it neither allocates nor locks nor panics.
    unsafe { command.pre_exec(move || prepare(parent, parting)) };
}

/// Runs in the child.
fn prepare(parent: Pid, parting: Parting) -> io::Result<()> {
    reset_signals(parting);
    if parting == Parting::Dies {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the line above: then nobody sends the signal.
        if rustix::process::getppid() != Some(parent) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
    }
    close_rest_on_exec()
}

/// Dispositions and mask as at login: an ignored signal would stay ignored over exec.
///
/// By the system call itself, since libc's function refuses the two signals that libc uses, which
/// a careless ancestor may have set to be ignored.
fn reset_signals(parting: Parting) {
    // Of any architecture's kernel_sigaction, all zeroes is SIG_DFL with no flags.
    let default = [0u64; 8];
    for number in 1..=SIGNALS {
        // SAFETY: the kernel reads at most 8 words; the old action is not asked for. That SIGKILL
        // and SIGSTOP are refused (EINVAL) changes nothing.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                SIGNAL_SET_BYTES,
            )
        };
    }
    if parting == Parting::GoesOn {
        // SAFETY: SIG_IGN is no function that could be called.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    }
    // SAFETY: sigset_t is plain data that sigemptyset fills; the old mask is not asked for.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Marks all but the standard three descriptors close-on-exec, also those that another library in
/// this process opened without it. Kernel: `CLOSE_RANGE_CLOEXEC`, since Linux 5.11.
fn close_rest_on_exec() -> io::Result<()> {
    // SAFETY: three integers; no descriptor is closed here, only flagged.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if done == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}
