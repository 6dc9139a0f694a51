// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes of mounted file systems: ioctls of ext4, xfs and btrfs on any directory in them.

use std::os::fd::{AsRawFd, BorrowedFd};

use linux_raw_sys::btrfs::{btrfs_ioctl_dev_info_args, btrfs_ioctl_vol_args};
use rustix::io::{Errno, Result};
use rustix::ioctl::{Getter, Opcode, Setter, Updater, ioctl, opcode};

/// `_IOW('f', 16, __u64)`: fs/ext4/ext4.h, in uapi/linux/ext4.h since Linux 6.0.
const EXT4_IOC_RESIZE_FS: Opcode = opcode::write::<u64>(b'f', 16);
/// `_IOR('X', 100, struct xfs_fsop_geom_v1)`: fs/xfs/libxfs/xfs_fs.h.
const XFS_IOC_FSGEOMETRY_V1: Opcode = opcode::read::<XfsGeometry>(b'X', 100);
/// `_IOW('X', 110, struct xfs_growfs_data)`: fs/xfs/libxfs/xfs_fs.h.
const XFS_IOC_FSGROWFSDATA: Opcode = opcode::write::<XfsGrow>(b'X', 110);
/// `_IOW(0x94, 3, struct btrfs_ioctl_vol_args)`: uapi/linux/btrfs.h.
const BTRFS_IOC_RESIZE: Opcode = opcode::write::<btrfs_ioctl_vol_args>(0x94, 3);
/// `_IOWR(0x94, 30, struct btrfs_ioctl_dev_info_args)`: uapi/linux/btrfs.h.
const BTRFS_IOC_DEV_INFO: Opcode = opcode::read_write::<btrfs_ioctl_dev_info_args>(0x94, 30);

/// `struct xfs_fsop_geom_v1`: fs/xfs/libxfs/xfs_fs.h.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct XfsGeometry {
    /// Bytes in a block.
    pub block_size: u32,
    rt_extent_size: u32,
    /// Blocks in an allocation group; the last one may have less.
    pub ag_blocks: u32,
    /// Allocation groups.
    pub ag_count: u32,
    log_blocks: u32,
    sector_size: u32,
    inode_size: u32,
    /// How many percent of the space inodes may take.
    pub inode_max_percent: u32,
    /// Blocks in the data section.
    pub data_blocks: u64,
    rt_blocks: u64,
    rt_extents: u64,
    log_start: u64,
    uuid: [u8; 16],
    stripe: [u32; 2],
    version: i32,
    flags: u32,
    log_sector_size: u32,
    rt_sector_size: u32,
    dir_block_size: u32,
}

/// `struct xfs_growfs_data`: fs/xfs/libxfs/xfs_fs.h.
#[repr(C)]
struct XfsGrow {
    new_blocks: u64,
    inode_max_percent: u32,
}

/// Grows a mounted ext4 to `blocks` blocks. Needs `CAP_SYS_RESOURCE`.
pub(crate) fn ext4_resize(dir: BorrowedFd<'_>, blocks: u64) -> Result<()> {
    // SAFETY: the opcode takes a pointer to one u64, which Setter holds; the kernel only reads it.
    unsafe { ioctl(dir, Setter::<EXT4_IOC_RESIZE_FS, u64>::new(blocks)) }
}

/// The geometry of a mounted xfs.
pub(crate) fn xfs_geometry(dir: BorrowedFd<'_>) -> Result<XfsGeometry> {
    // SAFETY: the kernel writes one xfs_fsop_geom_v1, the type that the opcode was made with; it
    // is integers only, so every value of it is valid.
    unsafe { ioctl(dir, Getter::<XFS_IOC_FSGEOMETRY_V1, XfsGeometry>::new()) }
}

/// Grows the data section of a mounted xfs to `blocks` blocks.
pub(crate) fn xfs_grow(dir: BorrowedFd<'_>, blocks: u64, inode_max_percent: u32) -> Result<()> {
    let grow = XfsGrow {
        new_blocks: blocks,
        inode_max_percent,
    };
    // SAFETY: the opcode takes a pointer to one xfs_growfs_data, which Setter holds; the kernel
    // only reads it.
    unsafe { ioctl(dir, Setter::<XFS_IOC_FSGROWFSDATA, XfsGrow>::new(grow)) }
}

/// Sets the size of the device with id 1 in a mounted btrfs: `max`, or bytes in decimal.
///
/// `EBUSY` also if a balance, replace or another resize is running, which the kernel tells by a
/// positive number (`enum btrfs_err_code`, uapi/linux/btrfs.h).
pub(crate) fn btrfs_resize(dir: BorrowedFd<'_>, amount: &str) -> Result<()> {
    let mut arguments = btrfs_ioctl_vol_args {
        fd: 0,
        name: [0; 4088],
    };
    // The last byte stays NUL.
    if amount.len() >= arguments.name.len() {
        return Err(Errno::INVAL);
    }
    for (to, from) in arguments.name.iter_mut().zip(amount.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the kernel reads one btrfs_ioctl_vol_args, the type that the opcode was made with,
    // which lives until the call returns.
    let done = unsafe {
        libc::ioctl(
            dir.as_raw_fd(),
            libc::Ioctl::from(BTRFS_IOC_RESIZE),
            &raw const arguments,
        )
    };
    match done {
        0 => Ok(()),
        -1 => Err(last_errno()),
        _ => Err(Errno::BUSY),
    }
}

/// Bytes that a mounted btrfs takes of its device with id 1.
pub(crate) fn btrfs_device_size(dir: BorrowedFd<'_>) -> Result<u64> {
    // SAFETY: a C structure of integers and arrays of them: all zeroes is a value of it.
    let mut info: btrfs_ioctl_dev_info_args = unsafe { std::mem::zeroed() };
    info.devid = 1;
    // SAFETY: the kernel reads and writes one btrfs_ioctl_dev_info_args, the type that the opcode
    // was made with, which outlives the call.
    unsafe {
        ioctl(
            dir,
            Updater::<BTRFS_IOC_DEV_INFO, btrfs_ioctl_dev_info_args>::new(&mut info),
        )
    }?;
    Ok(info.total_bytes)
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_raw_sys::ioctl as numbers;

    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!(EXT4_IOC_RESIZE_FS, 0x4008_6610);
        assert_eq!(EXT4_IOC_RESIZE_FS, numbers::EXT4_IOC_RESIZE_FS);
        assert_eq!(XFS_IOC_FSGEOMETRY_V1, 0x8070_5864);
        assert_eq!(XFS_IOC_FSGROWFSDATA, 0x4010_586e);
        assert_eq!(BTRFS_IOC_RESIZE, 0x5000_9403);
        assert_eq!(BTRFS_IOC_RESIZE, numbers::BTRFS_IOC_RESIZE);
        assert_eq!(BTRFS_IOC_DEV_INFO, 0xd000_941e);
        assert_eq!(BTRFS_IOC_DEV_INFO, numbers::BTRFS_IOC_DEV_INFO);
    }

    #[test]
    fn other_file_systems_refuse() {
        use std::os::fd::AsFd;
        let dir = std::fs::File::open("/proc").unwrap();
        assert!(xfs_geometry(dir.as_fd()).is_err());
        assert!(btrfs_device_size(dir.as_fd()).is_err());
        assert!(btrfs_resize(dir.as_fd(), "max").is_err());
        assert_eq!(
            btrfs_resize(dir.as_fd(), &"9".repeat(5000)),
            Err(Errno::INVAL)
        );
    }
}
