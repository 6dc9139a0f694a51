// SPDX-License-Identifier: MIT OR Apache-2.0
//! What tests write to volumes, and look for again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Each byte of it: not 0, which a hole has too.
const BYTE: u8 = b'#';

/// Writes a file of that many MiB, and makes it durable.
///
/// # Errors
/// The file system's: what is asked for may be more than there is.
pub fn fill(path: &Path, mib: usize) -> io::Result<()> {
    let mut file = File::create(path)?;
    let block = vec![BYTE; 1 << 20];
    for _ in 0..mib {
        file.write_all(&block)?;
    }
    file.sync_all()
}

/// What [`fill`] wrote is there, all of it.
///
/// # Panics
/// It is not, or cannot be read.
#[track_caller]
pub fn assert_filled(path: &Path, mib: usize) {
    let bytes = fs::read(path).expect("the file can be read");
    let whole = bytes.len() == mib << 20 && bytes.iter().all(|byte| *byte == BYTE);
    assert!(whole, "{path:?} is not whole: {} bytes", bytes.len());
}

/// Writes a file and reads it back, again and again until it is told to stop; how often.
///
/// # Panics
/// It cannot be written, or reads as something else.
pub fn write_until(path: &Path, stop: &AtomicBool) -> u32 {
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        fill(path, 1).expect("the file can be written");
        assert_filled(path, 1);
        rounds += 1;
    }
    rounds
}
