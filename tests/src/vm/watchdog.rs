// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hard end of a machine that hangs.

use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Kills a process that does not end in time.
#[derive(Debug)]
pub(super) struct Watchdog(Arc<AtomicBool>);

impl Watchdog {
    /// Watches over a child that was not waited for yet.
    ///
    /// # Errors
    /// The kernel gives no descriptor for it.
    pub(super) fn new(child: &Child, limit: Duration) -> Result<Self> {
        let process =
            pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context("cannot watch QEMU")?;
        let bitten = Arc::new(AtomicBool::new(false));
        let told = bitten.clone();
        let limit = Timespec::try_from(limit)?;
        std::thread::spawn(move || {
            let ended = rustix::io::retry_on_intr(|| {
                poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit))
            });
            if ended == Ok(0) {
                told.store(true, Ordering::Relaxed);
                // If it has ended just now, that is as good.
                let _ = pidfd_send_signal(&process, Signal::KILL);
            }
        });
        Ok(Self(bitten))
    }

    /// Whether it did.
    pub(super) fn has_killed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
