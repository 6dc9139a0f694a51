// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who holds a lock, on a range of bytes or on a file as a whole.
//!
//! `/proc/locks` shows -1 as the holder of an open file description's lock; the `lock:` lines in the
//! holder's own fdinfo show that lock with the descriptor that holds it.

use std::os::fd::BorrowedFd;

use rustix::fs::Statx;

use super::processes;
use crate::mounts::device::{device_of, statx_of};

/// A process that holds a lock on some of these bytes of a file, and its command; `len` 0: to the
/// end. One that locked them for writing comes first. `None`: nobody, or nobody to be seen.
///
/// This process counts too: another thread of it may hold the lock.
///
/// Kernel: `lock:` in proc_pid_fdinfo(5), since Linux 4.1.
pub fn lock_holder(file: BorrowedFd<'_>, start: u64, len: u64) -> Option<(u32, String)> {
    let end = match len {
        0 => u64::MAX,
        len => start.saturating_add(len - 1),
    };
    holder(file, |line| {
        parse(line).filter(|lock| lock.start <= end && lock.end >= start)
    })
}

/// A process that holds a lock of flock(2) on a file, and its command. One that locked it
/// exclusively comes first. `None`: nobody, or nobody to be seen.
pub fn flock_holder(file: BorrowedFd<'_>) -> Option<(u32, String)> {
    holder(file, |line| parse_as(line, &["FLOCK"]))
}

/// A process with a lock on a file that `counts` takes from a line.
fn holder(file: BorrowedFd<'_>, counts: impl Fn(&str) -> Option<Range>) -> Option<(u32, String)> {
    let wanted = statx_of(file).ok()?;
    let mut writer = None;
    let mut reader = None;
    let scanned = processes::scan(|process| {
        for name in process.names("fd")? {
            let same = |stat: Statx| {
                stat.stx_ino == wanted.stx_ino && device_of(&stat) == device_of(&wanted)
            };
            // A descriptor that was closed meanwhile holds nothing.
            if !process.look(&format!("fd/{name}")).is_ok_and(same) {
                continue;
            }
            let text = process.read(&format!("fdinfo/{name}")).unwrap_or_default();
            for lock in String::from_utf8_lossy(&text).lines().filter_map(&counts) {
                let place = if lock.writes {
                    &mut writer
                } else {
                    &mut reader
                };
                place.get_or_insert_with(|| (process.pid, process.command()));
            }
        }
        Ok(())
    });
    scanned.ok()?;
    writer.or(reader)
}

/// A byte-range lock.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    writes: bool,
    start: u64,
    /// The last byte.
    end: u64,
}

/// Reads `lock:\t1: OFDLCK  ADVISORY  WRITE -1 08:01:1234 0 EOF`; `None` for any other line.
fn parse(line: &str) -> Option<Range> {
    parse_as(line, &["OFDLCK", "POSIX"])
}

/// The same of a lock of one of these kinds.
fn parse_as(line: &str, kinds: &[&str]) -> Option<Range> {
    let mut fields = line.strip_prefix("lock:")?.split_ascii_whitespace();
    fields.next()?;
    if !kinds.contains(&fields.next()?) {
        return None;
    }
    fields.next()?;
    let writes = fields.next()? == "WRITE";
    let mut fields = fields.skip(2);
    let start = fields.next()?.parse().ok()?;
    let end = match fields.next()? {
        "EOF" => u64::MAX,
        end => end.parse().ok()?,
    };
    Some(Range { writes, start, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_byte_ranges_are_read() {
        let range = |writes, start, end| Some(Range { writes, start, end });
        for (line, expected) in [
            (
                "lock:\t1: OFDLCK  ADVISORY  WRITE -1 08:01:1234 0 EOF",
                range(true, 0, u64::MAX),
            ),
            (
                "lock:\t2: POSIX  ADVISORY  READ 4121 00:1f:9 17 17",
                range(false, 17, 17),
            ),
            ("lock:\t1: FLOCK  ADVISORY  WRITE 1 08:01:1234 0 EOF", None),
            ("lock:\t1: LEASE  ACTIVE  WRITE 1 08:01:1234 0 EOF", None),
            ("lock:\t1: OFDLCK  ADVISORY  WRITE -1 08:01:1234 0", None),
            (
                "lock:\t1: OFDLCK  ADVISORY  WRITE -1 08:01:1234 x EOF",
                None,
            ),
            ("pos:\t0", None),
            ("", None),
        ] {
            assert_eq!(parse(line), expected, "{line}");
        }
    }
}
