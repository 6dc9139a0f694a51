// SPDX-License-Identifier: MIT OR Apache-2.0
//! What only a drop asks of the kernel: directories by their numbers, and the end of the cleaning.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use linux_raw_sys::btrfs::{BTRFS_SUBVOL_SYNC_WAIT_FOR_ONE, btrfs_ioctl_subvol_wait};
use nix::libc;
use rustix::io::{Errno, Result};
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// Opens a directory of subvolume `tree` by its inode, wherever the two are in the file system that
/// `dir` is in, for reading. Needs CAP_DAC_READ_SEARCH.
///
/// Kernel: `open_by_handle_at` with the handle of fs/btrfs/export.h, `FILEID_BTRFS_WITHOUT_PARENT`;
/// generation 0 stands for any.
///
/// # Errors
/// `ESTALE` if there is no such directory; `EPERM`; the kernel's.
pub fn open_directory(dir: impl AsFd, tree: u64, inode: u64) -> Result<OwnedFd> {
    const HANDLE: i32 = 0x4d;
    // Length and type of the handle, then the handle: inode, tree, generation.
    let mut handle = [0_u32; 7];
    handle[0] = 20;
    handle[1] = HANDLE.cast_unsigned();
    for (at, number) in [(2, inode), (4, tree)] {
        let bytes = number.to_ne_bytes();
        for half in 0..2 {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[half * 4..][..4]);
            handle[at + half] = u32::from_ne_bytes(word);
        }
    }
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let fd = dir.as_fd().as_raw_fd();
    // SAFETY: `handle` is one struct file_handle with the 20 bytes that its first field speaks of; the
    // kernel only reads it.
    let opened = unsafe { libc::open_by_handle_at(fd, handle.as_mut_ptr().cast(), flags) };
    if opened < 0 {
        let errno = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&errno).unwrap_or(Errno::IO));
    }
    // SAFETY: the kernel has just opened it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(opened) })
}

/// Returns when the subvolume of this id was dropped and is cleaned, and the transaction that did so
/// is on disk; the kernel looks once a second (Linux 6.13, without privilege).
///
/// # Errors
/// `EEXIST` if it was not dropped; `EINTR`; `ENOTTY` on an older kernel.
pub fn await_cleaned(dir: impl AsFd, id: u64) -> Result<()> {
    const OPCODE: Opcode = opcode::write::<btrfs_ioctl_subvol_wait>(0x94, 65);
    let args = btrfs_ioctl_subvol_wait {
        subvolid: id,
        mode: BTRFS_SUBVOL_SYNC_WAIT_FOR_ONE,
        count: 0,
    };
    // SAFETY: BTRFS_IOC_SUBVOL_SYNC_WAIT reads one such struct, and fills it only in other modes.
    match unsafe { ioctl(dir, Setter::<OPCODE, _>::new(args)) } {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
