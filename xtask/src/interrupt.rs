// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ctrl-C that lets fixtures clean up: a thread waits for the signal and only raises a flag.
//!
//! The terminal sends it to the running command as well, which ends; then we look at the flag.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

/// Raised by SIGINT, SIGTERM and SIGHUP.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on these signals end nothing but the commands that we run. To be called before any
    /// thread is started: the others inherit the mask. Commands start with an empty one.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn catch() -> Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block().context("cannot block signals")?;
        let raised = Arc::new(AtomicBool::new(false));
        let flag = raised.clone();
        std::thread::spawn(move || {
            while signals.wait().is_ok() {
                flag.store(true, Ordering::Relaxed);
            }
        });
        Ok(Self(raised))
    }

    /// Whether one of them came.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
