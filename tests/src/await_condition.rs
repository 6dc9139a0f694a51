// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waits for what the kernel does a moment later: a loop device that goes with its last mount.

use std::time::{Duration, Instant};

/// Asks until the condition holds; false if it does not within ten seconds.
pub fn eventually(condition: impl FnMut() -> bool) -> bool {
    eventually_within(Duration::from_secs(10), condition)
}

/// Asks until the condition holds; false if it does not within `limit`.
pub fn eventually_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
