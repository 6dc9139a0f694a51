// SPDX-License-Identifier: MIT OR Apache-2.0
//! The thin driver's own ioctl: the only file here with `unsafe`. No policy.
//!
//! Numbers are those of include/uapi/linux/fs.h (Linux 6.1).

#![allow(unsafe_code, reason = "ioctl(2) has no safe form")]

use std::os::fd::AsFd;

use linux_raw_sys::ioctl::BLKDISCARD;
use rustix::io::Result;
use rustix::ioctl::{Opcode, Setter, ioctl};

/// Gives back what backs a range of a block device. Both numbers are bytes.
///
/// # Errors
/// `EOPNOTSUPP` where the device knows no discard; `EINVAL` for a range that is not in whole blocks
/// of the device, or not in it.
pub fn discard(device: impl AsFd, start: u64, length: u64) -> Result<()> {
    // SAFETY: BLKDISCARD reads two u64.
    unsafe {
        let range = Setter::<{ BLKDISCARD as Opcode }, _>::new([start, length]);
        ioctl(device, range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn the_number_is_that_of_the_header() {
        assert_eq!(BLKDISCARD, 0x1277);
    }

    #[test]
    fn a_plain_file_is_not_discarded() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(discard(&file, 0, 512), Err(Errno::NOTTY));
    }
}
