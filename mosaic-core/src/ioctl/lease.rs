// SPDX-License-Identifier: MIT OR Apache-2.0
//! A write lease: the kernel's word that nobody else has a file open.
//!
//! While it is held, another's open of the file waits until it is released (with `O_NONBLOCK` it is
//! told `EAGAIN`), so that "nobody has it open" stays true over an unlink or a LOOP_CONFIGURE.
//! Hold it briefly: after `/proc/sys/fs/lease-break-time` seconds (45) the kernel lets the waiting
//! opener in. It sees openers in all namespaces, loop devices too; on this host only.
//!
//! Kernel: F_SETLEASE in fcntl(2); file system support seen on ext4, xfs, btrfs, tmpfs.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::error::{Error, Result};

/// `F_SETSIG` in include/uapi/asm-generic/fcntl.h.
const F_SETSIG: i32 = 10;

/// What asking for a lease gave.
#[derive(Debug)]
pub enum LeaseOutcome<'fd> {
    /// Nobody else has the file open, and nobody can until this is dropped.
    Granted(Lease<'fd>),
    /// Somebody else has it open.
    InUse,
    /// No answer: the file system has no leases, or the file is another user's and the caller lacks
    /// `CAP_LEASE`. Scan with [`crate::busy::openers_of_file`] instead.
    Unsupported,
}

/// A held write lease; released when dropped.
#[derive(Debug)]
pub struct Lease<'fd> {
    file: BorrowedFd<'fd>,
}

impl<'fd> Lease<'fd> {
    /// Asks for a write lease on an open regular file.
    ///
    /// The caller's own further descriptors of the file count as somebody else's, unless they are
    /// duplicates of this one. No signal is ever sent to this process because of it.
    ///
    /// # Errors
    /// The kernel's, other than those that [`LeaseOutcome`] stands for.
    pub fn take(file: BorrowedFd<'fd>) -> Result<LeaseOutcome<'fd>> {
        Self::ask(file, libc::F_WRLCK)
    }

    /// Gives the lease back and says if that failed: for a file that stays open after this process,
    /// where the lease would stay too.
    ///
    /// # Errors
    /// The kernel's.
    pub fn give_back(self) -> Result<()> {
        let file = self.file;
        std::mem::forget(self);
        match fcntl(file, libc::F_SETLEASE, libc::F_UNLCK) {
            // The kernel took it away for an opener.
            Ok(()) | Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(Error::io(errno, "cannot give a lease back")),
        }
    }

    fn ask(file: BorrowedFd<'fd>, kind: i32) -> Result<LeaseOutcome<'fd>> {
        // The kernel makes us the owner when it grants the lease, and tells the owner of an opener
        // by SIGIO, which kills by default. Until the owner is cleared it is one that is ignored.
        fcntl(file, F_SETSIG, libc::SIGURG).map_err(failed)?;
        match fcntl(file, libc::F_SETLEASE, kind) {
            Ok(()) => {
                let lease = Lease { file };
                fcntl(file, libc::F_SETOWN, 0).map_err(failed)?;
                Ok(LeaseOutcome::Granted(lease))
            }
            Err(Errno::AGAIN) => Ok(LeaseOutcome::InUse),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::ACCESS | Errno::NOLCK) => {
                Ok(LeaseOutcome::Unsupported)
            }
            Err(errno) => Err(failed(errno)),
        }
    }
}

/// Whether anybody has the file open for writing: a read lease is refused then. `None`: no answer,
/// as [`LeaseOutcome::Unsupported`]. `file` is open for reading only.
///
/// # Errors
/// The kernel's.
pub fn is_open_for_writing(file: BorrowedFd<'_>) -> Result<Option<bool>> {
    Ok(match Lease::ask(file, libc::F_RDLCK)? {
        LeaseOutcome::Granted(_given_back) => Some(false),
        LeaseOutcome::InUse => Some(true),
        LeaseOutcome::Unsupported => None,
    })
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // It can only fail with EAGAIN, when the kernel took the lease away for an opener.
        let _ = fcntl(self.file, libc::F_SETLEASE, libc::F_UNLCK);
    }
}

fn failed(errno: Errno) -> Error {
    Error::io(errno, "cannot take a lease")
}

/// An fcntl whose argument is a number.
fn fcntl(file: BorrowedFd<'_>, command: i32, argument: i32) -> rustix::io::Result<()> {
    // SAFETY: the commands used here take an integer, no pointer; the descriptor is borrowed.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if result == -1 {
        let errno = std::io::Error::last_os_error().raw_os_error();
        return Err(Errno::from_raw_os_error(errno.unwrap_or(libc::EIO)));
    }
    Ok(())
}
