// SPDX-License-Identifier: MIT OR Apache-2.0
//! SIGINT, SIGTERM and SIGHUP: the first asks the command to stop and undo, a second one ends it.
//!
//! Ending it is safe too: what a killed call left is swept by the next one. A signal that was
//! ignored when the program started stays ignored, as `nohup` wants it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::signal::Signal;

const STOP: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// A flag that becomes true when the user asks to stop.
///
/// # Errors
/// The kernel's refusal of a handler.
pub fn stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let ignored =
        std::fs::read_to_string("/proc/self/status").map_or(0, |text| ignored_mask(&text));
    for signal in STOP {
        if ignored & (1 << (signal as u32 - 1)) != 0 {
            continue;
        }
        // The order matters: the handler that looks runs before the one that sets.
        signal_hook::flag::register_conditional_default(signal as i32, Arc::clone(&stop))?;
        signal_hook::flag::register(signal as i32, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// The line `SigIgn:` of /proc/self/status: bit N - 1 is signal N (proc(5)).
fn ignored_mask(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_kernels_mask() {
        assert_eq!(
            ignored_mask("Name:\tx\nSigIgn:\t0000000000001001\n"),
            0x1001
        );
        assert_eq!(ignored_mask("nonsense"), 0);
    }
}
