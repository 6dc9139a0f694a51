// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flushes of one file for which several ask at once.
//!
//! The kernel tells each open file once that something was not written: of two who wait in fdatasync
//! at the same time one gets the error, and the other is told that all is well (errseq_t,
//! Documentation/core-api/errseq.rst, Linux 4.13 and later). What was lost may be either's.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

/// Lets one flush of a file follow another.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    /// How many have failed.
    failed: AtomicU64,
    /// Of whose turn it is: the last error.
    last: Mutex<Option<io::Error>>,
    /// Whether one has failed of which nobody was told.
    owes_failure: AtomicBool,
}

impl Flushes {
    /// Lets the next one fail, whatever the kernel says.
    pub(super) fn owe_failure(&self) {
        self.owes_failure.store(true, Ordering::Release);
    }

    /// How many have failed until now.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Acquire)
    }

    /// Has its turn, or fails as another one did that ended while this one waited.
    ///
    /// # Errors
    /// Those of `flush`.
    pub(super) fn run(&self, flush: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let before = self.failed();
        // Nothing is left half-done there by one that panics.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if self.failed() != before
            && let Some(error) = &*last
        {
            return Err(same(error));
        }
        let flushed = match (flush(), self.owes_failure.swap(false, Ordering::AcqRel)) {
            (Ok(()), true) => Err(Errno::IO.into()),
            (flushed, _) => flushed,
        };
        if let Err(error) = &flushed {
            *last = Some(same(error));
            self.failed.fetch_add(1, Ordering::Release);
        }
        flushed
    }
}

/// The error once more.
fn same(error: &io::Error) -> io::Error {
    let errno = error.raw_os_error().map(io::Error::from_raw_os_error);
    errno.unwrap_or_else(|| error.kind().into())
}
