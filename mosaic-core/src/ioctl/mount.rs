// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mount_setattr` and the btrfs ioctls that tell which devices a mounted file system is on.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use linux_raw_sys::btrfs::{btrfs_ioctl_dev_info_args, btrfs_ioctl_fs_info_args};
use linux_raw_sys::general::{AT_EMPTY_PATH, MS_PRIVATE, mount_attr};
use linux_raw_sys::ioctl::{BTRFS_IOC_DEV_INFO, BTRFS_IOC_FS_INFO};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

/// Highest btrfs device id that is asked for. Ids are never reused, so they can have holes.
const BTRFS_MAX_DEVID: u64 = 4096;

/// Clears, then sets attributes of the one mount that the descriptor stands for, and makes its
/// propagation private. Mounts beneath it are left alone.
///
/// Where a part of [`MountAttrFlags::MOUNT_ATTR__ATIME`] is to be set, `clear` has to hold all of it.
///
/// # Errors
/// `ENOSYS` before Linux 5.12; `EINVAL` for an attribute that the kernel does not know; `EPERM`.
///
/// Kernel: mount_setattr(2), `struct mount_attr` in include/uapi/linux/mount.h, since Linux 5.12.
pub fn mount_setattr_private(
    mount: BorrowedFd<'_>,
    set: MountAttrFlags,
    clear: MountAttrFlags,
) -> rustix::io::Result<()> {
    let attr = mount_attr {
        attr_set: set.bits().into(),
        attr_clr: clear.bits().into(),
        propagation: MS_PRIVATE.into(),
        userns_fd: 0,
    };
    // SAFETY: the path is an empty C string, `attr` lives over the call and its size is what is
    // passed; the kernel only reads both. The descriptor is borrowed and stays the caller's.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            AT_EMPTY_PATH,
            &raw const attr,
            size_of::<mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(last()) }
}

/// The paths of the block devices that a mounted btrfs is on, as the kernel knows them.
///
/// The descriptor is any file or directory in it, open for reading (not `O_PATH`).
///
/// # Errors
/// `ENOTTY` where it is no btrfs.
///
/// Kernel: `BTRFS_IOC_FS_INFO`, `BTRFS_IOC_DEV_INFO` in include/uapi/linux/btrfs.h. The mount table
/// shows an anonymous device number for btrfs, so that it cannot be used for this.
pub fn btrfs_devices(inside: BorrowedFd<'_>) -> rustix::io::Result<Vec<PathBuf>> {
    // SAFETY: the struct is plain integers, for which all zeros is a value.
    let mut info: btrfs_ioctl_fs_info_args = unsafe { std::mem::zeroed() };
    // SAFETY: the number carries the struct's size, and the kernel writes no more than that.
    let result =
        unsafe { libc::ioctl(inside.as_raw_fd(), BTRFS_IOC_FS_INFO.into(), &raw mut info) };
    if result != 0 {
        return Err(last());
    }
    let mut devices = Vec::new();
    for devid in 0..=info.max_id.min(BTRFS_MAX_DEVID) {
        match btrfs_device(inside, devid) {
            Ok(path) => devices.push(path),
            Err(Errno::NODEV) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(devices)
}

/// One device of a btrfs; `ENODEV` where the id is not in use.
fn btrfs_device(inside: BorrowedFd<'_>, devid: u64) -> rustix::io::Result<PathBuf> {
    // SAFETY: the struct is plain integers, for which all zeros is a value.
    let mut info: btrfs_ioctl_dev_info_args = unsafe { std::mem::zeroed() };
    info.devid = devid;
    // SAFETY: the number carries the struct's size, and the kernel writes no more than that.
    let result =
        unsafe { libc::ioctl(inside.as_raw_fd(), BTRFS_IOC_DEV_INFO.into(), &raw mut info) };
    if result != 0 {
        return Err(last());
    }
    let path = info.path.split(|byte| *byte == 0).next();
    Ok(PathBuf::from(OsStr::from_bytes(path.unwrap_or_default())))
}

/// The errno of the call before.
fn last() -> Errno {
    let errno = std::io::Error::last_os_error().raw_os_error();
    Errno::from_raw_os_error(errno.unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes_are_the_headers() {
        assert_eq!(BTRFS_IOC_FS_INFO, 0x8400_941f);
        assert_eq!(BTRFS_IOC_DEV_INFO, 0xd000_941e);
        assert_eq!(size_of::<btrfs_ioctl_fs_info_args>(), 1024);
        assert_eq!(size_of::<btrfs_ioctl_dev_info_args>(), 4096);
        assert_eq!(size_of::<mount_attr>(), 32);
    }

    #[test]
    fn a_directory_on_another_file_system_has_no_btrfs_devices() {
        use std::os::fd::AsFd;
        let proc = std::fs::File::open("/proc").unwrap();
        assert_eq!(btrfs_devices(proc.as_fd()), Err(Errno::NOTTY));
    }
}
