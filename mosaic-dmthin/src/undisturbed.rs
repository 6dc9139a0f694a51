// SPDX-License-Identifier: MIT OR Apache-2.0
//! A thread that holds up a volume's writes, and must come to the call that lets them go.
//!
//! Two things could keep it from there. A page of its own code or data that is not in memory, if
//! that is to be read from the very volume: it would wait for itself, and no signal ends that. And a
//! signal that stops or ends it: whoever writes to the volume waits until somebody types `fg`.

use nix::sys::signal::SigSet;
use rustix::mm::MlockAllFlags;

/// Memory that stays, and signals that wait, until this is dropped.
#[derive(Debug)]
pub(crate) struct Undisturbed {
    /// It is ours to unpin.
    is_pinned: bool,
    /// The signals that waited before.
    before: Option<SigSet>,
}

impl Undisturbed {
    /// Has all memory of the process read in, and kept. What may not do that goes on without: then
    /// only a program or a swap on a volume that it clones can be met by it (mlockall(2)).
    pub(crate) fn pin() -> Self {
        // A program that has pinned its memory wants that afterwards too.
        let is_pinned = !has_pinned() && rustix::mm::mlockall(MlockAllFlags::CURRENT).is_ok();
        Self {
            is_pinned,
            before: None,
        }
    }

    /// Lets signals to this thread wait, but those that nobody can.
    pub(crate) fn block_signals(&mut self) {
        if self.before.is_none() {
            self.before = SigSet::all()
                .thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)
                .ok();
        }
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
        let mut undisturbed = Undisturbed::pin();
        assert_eq!(has_pinned(), undisturbed.is_pinned);
        assert!(!mine().contains(Signal::SIGTSTP));
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
