// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a foreign program does to the process that we run in: signals with handlers that end system
//! calls, and children that live on with copies of all descriptors.

use std::io;
use std::mem::zeroed;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::libc;
use rustix::process::{Pid, Signal, kill_process, waitpid};

extern "C" fn count(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with `SA_SIGINFO` what it knows of the signal.
    let info = unsafe { &*info };
    if info.si_code == libc::SI_TIMER {
        // SAFETY: a signal of a timer has a value; of ours, which alone use this signal, it is the
        // address of a number that is never freed.
        let count = unsafe { info.si_value().sival_ptr.cast::<AtomicU64>().as_ref() };
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// This thread is interrupted by a signal again and again, until this is dropped: system calls that can
/// be interrupted fail with `EINTR`.
#[derive(Debug)]
pub struct Interrupts {
    timer: libc::timer_t,
    /// Never freed: the last signal may come after the timer's end.
    count: &'static AtomicU64,
}

impl Interrupts {
    /// Begins: SIGALRM gets a handler without `SA_RESTART`, which stays.
    ///
    /// # Panics
    /// The kernel refuses, or the period is not between nothing and a second.
    pub fn every(period: Duration) -> Self {
        assert!(
            !period.is_zero() && period < Duration::from_secs(1),
            "{period:?}"
        );
        // SAFETY: a C structure of integers and a pointer, of which all zeroes are a value.
        let mut action: libc::sigaction = unsafe { zeroed() };
        action.sa_sigaction = count as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: the handler only adds to an atomic number, and is never unloaded.
        let set = unsafe { libc::sigaction(libc::SIGALRM, &raw const action, ptr::null_mut()) };
        assert_eq!(set, 0);
        // SAFETY: as above.
        let mut event: libc::sigevent = unsafe { zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGALRM;
        let count: &'static AtomicU64 = Box::leak(Box::default());
        event.sigev_value.sival_ptr = ptr::from_ref(count).cast_mut().cast();
        event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        let mut timer: libc::timer_t = ptr::null_mut();
        // SAFETY: both structures live until the call returns.
        let made =
            unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
        assert_eq!(made, 0, "{}", io::Error::last_os_error());
        let this = Self { timer, count };
        this.set(period);
        this
    }

    /// How many there were, of this one alone.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn set(&self, period: Duration) {
        let period = libc::timespec {
            tv_sec: 0,
            tv_nsec: period.subsec_nanos().into(),
        };
        let times = libc::itimerspec {
            it_interval: period,
            it_value: period,
        };
        // SAFETY: the timer is ours, and the structure lives until the call returns.
        let set = unsafe { libc::timer_settime(self.timer, 0, &raw const times, ptr::null_mut()) };
        assert_eq!(set, 0);
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        // SAFETY: the timer is ours, and nobody uses it afterwards.
        unsafe { libc::timer_delete(self.timer) };
    }
}

/// A child that was forked in the middle of something, and that has a copy of every descriptor of
/// then; it is killed when this is dropped, or when the thread that made it ends.
#[derive(Debug)]
pub struct Lingering(Pid);

impl Lingering {
    /// Forks.
    ///
    /// # Panics
    /// The kernel refuses.
    pub fn fork() -> Self {
        // SAFETY: the child makes system calls only.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: integers only; neither touches memory.
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::pause();
                }
            },
            child => Self(Pid::from_raw(child).expect("fork works")),
        }
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        // It is not waited for yet, so the number is its own.
        let _ = kill_process(self.0, Signal::KILL);
        let _ = waitpid(Some(self.0), rustix::process::WaitOptions::empty());
    }
}
