// SPDX-License-Identifier: MIT OR Apache-2.0
//! The marker that says which loop device shows an image: one byte-range lock on the image.
//!
//! Before a file is bound to `/dev/loopN`, its descriptor gets an open-file-description read lock on
//! byte 2^62 + N. The kernel keeps the description for exactly as long as the device is bound, so
//! the lock is there exactly as long, and one `F_OFD_GETLK` finds N among any number of devices.
//!
//! It is a hint: whoever can open the image can hold such a lock. Callers verify what they find by
//! asking the device, and other programs' attachments have no marker at all.
//!
//! fcntl(2), "Open file description locks", Linux 3.15.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Far beyond any image's end: no program locks data there.
const BASE: i64 = 1 << 62;
/// One byte for each possible loop device; the kernel has at most 2^20 minor numbers.
const RANGE: i64 = 1 << 21;

/// What the locks on an image say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// No marker: not attached by us.
    Absent,
    /// It should be attached at this loop device.
    Device(u32),
    /// Some other lock covers the markers' range; it says nothing.
    Obscured,
}

/// `F_RDLCK` and its like: int in the header, short in `struct flock`.
#[expect(clippy::cast_possible_truncation, reason = "they are 0, 1 and 2")]
mod short {
    use nix::libc;

    pub const READ: i16 = libc::F_RDLCK as i16;
    pub const WRITE: i16 = libc::F_WRLCK as i16;
    pub const UNLOCK: i16 = libc::F_UNLCK as i16;
    pub const FROM_START: i16 = libc::SEEK_SET as i16;
}

fn range(kind: i16, start: i64, len: i64) -> libc::flock {
    libc::flock {
        l_type: kind,
        l_whence: short::FROM_START,
        l_start: start,
        l_len: len,
        l_pid: 0,
    }
}

fn at(number: u32) -> Result<i64, Errno> {
    let number = i64::from(number);
    if number >= RANGE {
        return Err(Errno::ERANGE);
    }
    Ok(BASE + number)
}

/// Marks the image, through the descriptor that is going to be bound, which must be readable.
///
/// # Errors
/// `EAGAIN` if somebody holds a write lock there; the kernel's.
pub fn set(image: impl AsFd, number: u32) -> Result<(), Errno> {
    let lock = range(short::READ, at(number)?, 1);
    fcntl(image, FcntlArg::F_OFD_SETLK(&lock)).map(drop)
}

/// Takes the mark back, when binding failed.
///
/// # Errors
/// The kernel's.
pub fn clear(image: impl AsFd, number: u32) -> Result<(), Errno> {
    let lock = range(short::UNLOCK, at(number)?, 1);
    fcntl(image, FcntlArg::F_OFD_SETLK(&lock)).map(drop)
}

/// Reads the marker, through a descriptor that is not itself the bound one.
///
/// # Errors
/// The kernel's.
pub fn find(image: impl AsFd) -> Result<Marker, Errno> {
    let mut lock = range(short::WRITE, BASE, RANGE);
    fcntl(image, FcntlArg::F_OFD_GETLK(&mut lock))?;
    if lock.l_type == short::UNLOCK {
        return Ok(Marker::Absent);
    }
    let ours = lock.l_type == short::READ && lock.l_len == 1;
    match u32::try_from(lock.l_start - BASE) {
        Ok(number) if ours => Ok(Marker::Device(number)),
        _ => Ok(Marker::Obscured),
    }
}

/// Whether the image has the marker of this device, whatever other locks are in the way.
///
/// Read locks let each other be, so a write lock on that byte proves that no marker is there. A read
/// lock that covers more may hide one: then the kernel's list of all locks says it.
///
/// # Errors
/// The kernel's.
pub fn is_set(image: impl AsFd, number: u32) -> Result<bool, Errno> {
    let byte = at(number)?;
    let mut lock = range(short::WRITE, byte, 1);
    fcntl(&image, FcntlArg::F_OFD_GETLK(&mut lock))?;
    if lock.l_type != short::READ {
        return Ok(false);
    }
    if (lock.l_start, lock.l_len) == (byte, 1) {
        return Ok(true);
    }
    let inode = nix::sys::stat::fstat(&image)?.st_ino;
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    Ok(locks.lines().any(|line| is_marker(line, inode, byte)))
}

/// Whether a line of `/proc/locks` is the marker on this byte of a file with this inode number, such
/// as `3: OFDLCK ADVISORY  READ  -1 00:1f:257 4611686018427387911 4611686018427387911`. Which file
/// system it is on is not compared: on btrfs it is another number than stat(2) gives.
///
/// proc_locks(5).
fn is_marker(line: &str, inode: u64, byte: i64) -> bool {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, "OFDLCK", _, "READ", _, file, start, end] = fields[..] else {
        return false;
    };
    let is_byte = |field: &str| field.parse() == Ok(byte);
    let same = file.rsplit(':').next().and_then(|field| field.parse().ok());
    is_byte(start) && is_byte(end) && same == Some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn image() -> (tempfile::NamedTempFile, File, File) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, other) = (file.reopen().unwrap(), file.reopen().unwrap());
        (file, one, other)
    }

    #[test]
    fn others_see_it_until_the_description_goes() {
        let (_file, bound, reader) = image();
        assert_eq!(find(&reader).unwrap(), Marker::Absent);
        set(&bound, 4711).unwrap();
        assert_eq!(find(&reader).unwrap(), Marker::Device(4711));
        assert_eq!(find(&bound).unwrap(), Marker::Absent, "one's own is none");
        let kept = bound.try_clone().unwrap();
        drop(bound);
        assert_eq!(find(&reader).unwrap(), Marker::Device(4711));
        drop(kept);
        assert_eq!(find(&reader).unwrap(), Marker::Absent);
    }

    #[test]
    fn it_can_be_taken_back() {
        let (_file, bound, reader) = image();
        set(&bound, 1).unwrap();
        clear(&bound, 1).unwrap();
        assert_eq!(find(&reader).unwrap(), Marker::Absent);
        assert_eq!(set(&bound, 1 << 21).unwrap_err(), Errno::ERANGE);
    }

    #[test]
    fn a_lock_of_another_kind_is_no_marker() {
        let (_file, other, reader) = image();
        let whole = range(short::WRITE, 0, 0);
        fcntl(&other, FcntlArg::F_OFD_SETLK(&whole)).unwrap();
        assert_eq!(find(&reader).unwrap(), Marker::Obscured);
        assert!(!is_set(&reader, 7).unwrap());
        drop(other);
        assert!(!is_set(&reader, 7).unwrap());
    }

    #[test]
    fn a_wider_lock_does_not_hide_the_marker_nor_stand_for_one() {
        let (_file, other, reader) = image();
        let wide = range(short::READ, 0, 0);
        fcntl(&other, FcntlArg::F_OFD_SETLK(&wide)).unwrap();
        assert_eq!(find(&reader).unwrap(), Marker::Obscured);
        assert!(!is_set(&reader, 7).unwrap());
        let bound = _file.reopen().unwrap();
        set(&bound, 7).unwrap();
        assert!(is_set(&reader, 7).unwrap());
        assert!(!is_set(&reader, 8).unwrap());
    }

    #[test]
    fn only_the_markers_own_line_is_one() {
        let is = |line| is_marker(line, 257, BASE + 7);
        assert!(is(
            "3: OFDLCK ADVISORY  READ  -1 00:1f:257 4611686018427387911 4611686018427387911"
        ));
        for line in [
            "3: OFDLCK ADVISORY  READ  -1 00:1f:258 4611686018427387911 4611686018427387911",
            "3: OFDLCK ADVISORY  READ  -1 00:1f:257 0 EOF",
            "3: OFDLCK ADVISORY  WRITE -1 00:1f:257 4611686018427387911 4611686018427387911",
            "3: POSIX  ADVISORY  READ  12 00:1f:257 4611686018427387911 4611686018427387911",
            "3: -> OFDLCK ADVISORY  READ  -1 00:1f:257 4611686018427387911 4611686018427387911",
            "",
        ] {
            assert!(!is(line), "{line}");
        }
    }
}
