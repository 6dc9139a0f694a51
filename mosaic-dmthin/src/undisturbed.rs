// SPDX-License-Identifier: MIT OR Apache-2.0
//! A thread that holds up a volume's writes, and must come to the call that lets them go.
//!
//! Two things could keep it from there. A page of its own code or data that is not in memory, if
//! that is to be read from the very volume: it would wait for itself, and no signal ends that. And a
//! signal that stops or ends it: whoever writes to the volume waits until somebody types `fg`.
//!
//! What stops a process is kept from it before the suspend, since it would take effect on the way back
//! from that call, with the device suspended. So is what only would interrupt that call, which may wait
//! for a slow disk: a program's timer would have it begin again each time. What asks a process to end
//! must be able to, and is kept from it after; a kill in between the next command puts right.
//!
//! All that is true of this thread. In a program with more of them another one takes a signal to the
//! process: its handler runs there, and changes nothing here. A signal without a handler, such as an
//! unhandled SIGTERM, ends or stops all threads wherever they are, as SIGKILL does, and the device stays
//! suspended until the next command. Such a program handles SIGTERM, or blocks it in all threads but
//! one that waits for it.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::mm::MlockAllFlags;

/// What asks a process to end, and what its own faults send it (signal(7)); all others wait.
const HEARD: [Signal; 11] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGABRT,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGTRAP,
    Signal::SIGSYS,
];

/// Memory that stays, and signals that wait, until this is dropped.
#[derive(Debug)]
pub(crate) struct Undisturbed {
    /// It is ours to unpin.
    is_pinned: bool,
    /// The signals that waited before.
    before: Option<SigSet>,
}

impl Undisturbed {
    /// Has all memory of the process read in, and kept, and lets signals wait that do not ask this thread
    /// to end, but the one that nobody can. What may not pin memory goes on without: then only a program or a
    /// swap on a volume that it clones can be met by it (mlockall(2)).
    pub(crate) fn begin() -> Self {
        // A program that has pinned its memory wants that afterwards too.
        let is_pinned = !has_pinned() && rustix::mm::mlockall(MlockAllFlags::CURRENT).is_ok();
        let mut wait = SigSet::all();
        HEARD.into_iter().for_each(|heard| wait.remove(heard));
        Self {
            is_pinned,
            before: wait.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok(),
        }
    }

    /// Lets all other signals to this thread wait too.
    pub(crate) fn block_signals(&self) {
        // The kernel takes any set.
        let _ = SigSet::all().thread_block();
    }
}

/// `VmLck` in /proc/self/status, proc_pid_status(5).
fn has_pinned() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    line.is_some_and(|size| size.trim() != "0 kB")
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        if self.is_pinned {
            // It is no less right for being pinned.
            let _ = rustix::mm::munlockall();
        }
        if let Some(before) = self.before.take() {
            // The kernel takes any set.
            let _ = before.thread_set_mask();
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;

    use super::*;

    /// One test: memory is pinned for the whole process.
    #[test]
    fn memory_stays_and_signals_wait_until_it_is_dropped() {
        let mine = || SigSet::thread_get_mask().unwrap();
        let mut before = SigSet::empty();
        before.add(Signal::SIGUSR2);
        before.thread_block().unwrap();
        let undisturbed = Undisturbed::begin();
        assert_eq!(has_pinned(), undisturbed.is_pinned);
        for waits in [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGALRM] {
            assert!(mine().contains(waits), "{waits}");
        }
        for ends in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            assert!(!mine().contains(ends), "{ends}");
        }
        undisturbed.block_signals();
        for signal in [Signal::SIGTSTP, Signal::SIGINT, Signal::SIGUSR2] {
            assert!(mine().contains(signal), "{signal}");
        }
        drop(undisturbed);
        assert!(!has_pinned());
        assert!(!mine().contains(Signal::SIGTSTP));
        assert!(mine().contains(Signal::SIGUSR2));
    }
}
