// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flags of a btrfs subvolume: ioctls on its root directory.

use std::os::fd::BorrowedFd;

use rustix::io::Result;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

/// `_IOR(0x94, 25, __u64)`: uapi/linux/btrfs.h.
const BTRFS_IOC_SUBVOL_GETFLAGS: Opcode = opcode::read::<u64>(0x94, 25);
/// `_IOW(0x94, 26, __u64)`: uapi/linux/btrfs.h.
const BTRFS_IOC_SUBVOL_SETFLAGS: Opcode = opcode::write::<u64>(0x94, 26);

/// `BTRFS_SUBVOL_RDONLY`: uapi/linux/btrfs.h.
pub(crate) const READ_ONLY: u64 = 1 << 1;

/// The flags of the subvolume whose root directory this is; `EINVAL` for any other directory.
pub(crate) fn flags(root: BorrowedFd<'_>) -> Result<u64> {
    // SAFETY: the kernel writes one u64, the type that the opcode was made with.
    unsafe { ioctl(root, Getter::<BTRFS_IOC_SUBVOL_GETFLAGS, u64>::new()) }
}

/// Sets them. The subvolume's owner may, and root; `EPERM` also while it is being sent.
pub(crate) fn set_flags(root: BorrowedFd<'_>, flags: u64) -> Result<()> {
    // SAFETY: the opcode takes a pointer to one u64, which Setter holds; the kernel only reads it.
    unsafe { ioctl(root, Setter::<BTRFS_IOC_SUBVOL_SETFLAGS, u64>::new(flags)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_raw_sys::ioctl as numbers;

    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!(BTRFS_IOC_SUBVOL_GETFLAGS, 0x8008_9419);
        assert_eq!(
            BTRFS_IOC_SUBVOL_GETFLAGS,
            numbers::BTRFS_IOC_SUBVOL_GETFLAGS
        );
        assert_eq!(BTRFS_IOC_SUBVOL_SETFLAGS, 0x4008_941a);
        assert_eq!(
            BTRFS_IOC_SUBVOL_SETFLAGS,
            numbers::BTRFS_IOC_SUBVOL_SETFLAGS
        );
    }
}
