// SPDX-License-Identifier: MIT OR Apache-2.0
//! All mount namespaces, those without a process too, and what is mounted in one of them.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::foreign::without_signals;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// `_IOR(0xb7, 11, struct mnt_ns_info)` in include/uapi/linux/nsfs.h.
const NS_MNT_GET_NEXT: u32 = 0x8010_b70b;
/// `_IOR(0xb7, 12, struct mnt_ns_info)` in include/uapi/linux/nsfs.h.
const NS_MNT_GET_PREV: u32 = 0x8010_b70c;

/// `struct mnt_ns_info` in include/uapi/linux/nsfs.h, as of `MNT_NS_INFO_SIZE_VER0`. The kernel would take
/// a null pointer as well; who watches our system calls cannot know that.
#[derive(Debug, Default)]
#[repr(C)]
struct MountNamespaceFacts {
    size: u32,
    mounts: u32,
    id: u64,
}

const _: () =
    assert!(size_of::<MountNamespaceFacts>() == (NS_MNT_GET_NEXT as usize >> 16) & 0x3fff);

/// Shows each mount namespace besides this one. Only one is open at a time: an open one keeps all
/// its mounts.
///
/// # Errors
/// `ENOTTY` before Linux 6.12; `EPERM` without `CAP_SYS_ADMIN` over the initial user namespace.
pub(crate) fn each_other_mount_namespace(
    own: BorrowedFd<'_>,
    mut visit: impl FnMut(BorrowedFd<'_>),
) -> rustix::io::Result<()> {
    for direction in [NS_MNT_GET_NEXT, NS_MNT_GET_PREV] {
        let mut last = neighbour(own, direction)?;
        while let Some(namespace) = last {
            visit(namespace.as_fd());
            last = neighbour(namespace.as_fd(), direction)?;
        }
    }
    Ok(())
}

/// The mount namespace that was made after, or before, this one; `None` after the last.
fn neighbour(of: BorrowedFd<'_>, direction: u32) -> rustix::io::Result<Option<OwnedFd>> {
    let mut facts = MountNamespaceFacts::default();
    // SAFETY: the kernel writes at most the size that is part of `direction`, which is that of `facts`.
    let fd = unsafe { libc::ioctl(of.as_raw_fd(), direction.into(), &raw mut facts) };
    if fd >= 0 {
        // SAFETY: the kernel has just opened this descriptor for us (close-on-exec), nobody else
        // has it.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }));
    }
    let errno = std::io::Error::last_os_error().raw_os_error();
    match Errno::from_raw_os_error(errno.unwrap_or(libc::EIO)) {
        Errno::NOENT => Ok(None),
        errno => Err(errno),
    }
}

/// The mountinfo of a namespace, as seen from its root.
///
/// A thread of its own goes there for it: this process and its other threads stay where they are.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN` and `CAP_SYS_CHROOT`.
///
/// Kernel: setns(2), which asks for a thread that shares root and working directory with no other.
pub(crate) fn mountinfo_of(namespace: BorrowedFd<'_>) -> rustix::io::Result<Vec<u8>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty())?;
    let there = || -> rustix::io::Result<Vec<u8>> {
        // SAFETY: only root and working directory are unshared; nothing in this thread relies on
        // sharing them, and the thread ends here. Descriptors stay shared.
        unsafe { unshare_unsafe(UnshareFlags::FS) }?;
        move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount))?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&proc, "thread-self/mountinfo", flags, Mode::empty())?;
        let mut text = Vec::new();
        let read = std::fs::File::from(file).read_to_end(&mut text);
        read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(text)
    };
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new();
        let thread = without_signals(|| builder.spawn_scoped(scope, there));
        thread
            .map_err(|_| Errno::AGAIN)?
            .join()
            .unwrap_or(Err(Errno::IO))
    })
}
