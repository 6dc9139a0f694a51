// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lock of libploop up to 7: flock(2) on a file beside the descriptor.
//!
//! It is all that those versions look at besides the kernel's ploop devices, so whoever has a disk
//! open holds it for as long. It belongs to the open file, and so to all who were given that.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use mosaic_core::busy;
use mosaic_core::{Context, Error, ErrorKind, Result};
use rustix::fs::{FlockOperation, Mode, OFlags, ResolveFlags, flock, openat2};
use rustix::io::Errno;

/// Name of the file. It is never removed.
pub const LOCK_FILE: &str = "DiskDescriptor.xml.lck";

/// How long somebody else's lock is waited for: libploop has it for as long as an operation takes,
/// and so have we where nothing is attached.
const PATIENCE: Duration = Duration::from_secs(5);

/// For what a disk is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To change it: nobody else has it.
    Change,
    /// To show it for reading: nobody changes it. The lock file is made where it can be.
    Show,
    /// To look at it: nobody changes it. Leaves no trace: a lock file that is not there is not made.
    Look,
}

/// The lock. One that was taken here and lent to nobody ends when it is dropped, also if another thread
/// has forked and its child has a copy. Any other ends with the last who has it open.
#[derive(Debug)]
pub struct LockFile {
    file: OwnedFd,
    /// Nobody else is meant to have it.
    is_ours_alone: bool,
}

impl LockFile {
    /// Locks the disk in a folder; `None`: there is no lock file. While somebody else has the lock,
    /// `pause` is called again and again, and an error of it ends the waiting.
    ///
    /// # Errors
    /// `Busy`, with the holder; `pause`'s; the kernel's.
    ///
    /// flock(2); openat2(2), Linux 5.6. libploop up to 7: lib/lock.c, `do_lock`.
    pub fn take(
        folder: impl AsFd,
        purpose: Purpose,
        mut pause: impl FnMut() -> Result<()>,
    ) -> Result<Option<Self>> {
        let failed = || format!("cannot lock {LOCK_FILE:?}");
        let operation = match purpose {
            Purpose::Change => FlockOperation::NonBlockingLockExclusive,
            Purpose::Show | Purpose::Look => FlockOperation::NonBlockingLockShared,
        };
        let opened = match purpose {
            Purpose::Change => open(&folder, OFlags::RDWR | OFlags::CREATE),
            Purpose::Show => match open(&folder, OFlags::RDONLY | OFlags::CREATE) {
                // Nobody can make it, or it is there and not ours.
                Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => open(&folder, OFlags::RDONLY),
                other => other,
            },
            Purpose::Look => open(&folder, OFlags::RDONLY),
        };
        let file = match opened {
            Err(Errno::NOENT) => return Ok(None),
            other => other.context(failed)?,
        };
        let start = Instant::now();
        loop {
            match flock(&file, operation) {
                Ok(()) => {
                    return Ok(Some(Self {
                        file,
                        is_ours_alone: true,
                    }));
                }
                Err(Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => pause()?,
                Err(Errno::WOULDBLOCK) => return Err(held(file.as_fd())),
                Err(errno) => return Err(errno).context(failed),
            }
        }
    }

    /// One that another process holds too, which gave it to us.
    pub fn given(file: OwnedFd) -> Self {
        Self {
            file,
            is_ours_alone: false,
        }
    }

    /// To be given to another process, which then holds it too: from here on it does not end when this
    /// is dropped, but with the last who has it open.
    pub fn lend(&mut self) -> BorrowedFd<'_> {
        self.is_ours_alone = false;
        self.file.as_fd()
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if self.is_ours_alone {
            // It cannot fail on a descriptor that is open, and closing it does the same in most cases.
            let _ = flock(&self.file, FlockOperation::NonBlockingUnlock);
        }
    }
}

fn open(folder: impl AsFd, access: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mode = match access.contains(OFlags::CREATE) {
        true => Mode::RUSR | Mode::WUSR,
        false => Mode::empty(),
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(folder, LOCK_FILE, flags, mode, resolve)
}

fn held(file: BorrowedFd<'_>) -> Error {
    let by = busy::flock_holder(file).map_or_else(
        || "a program that is not to be seen from here".to_owned(),
        |(pid, command)| format!("pid {pid} ({command})"),
    );
    let why = format!("in use: {LOCK_FILE} is locked by {by}");
    Error::new(ErrorKind::Busy, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_look_share_it_and_who_changes_has_it_alone() {
        let folder = tempfile::tempdir().unwrap();
        let open = || std::fs::File::open(folder.path()).unwrap();
        let gone = || Err(Error::new(ErrorKind::Interrupted, "enough"));
        let take = |purpose| LockFile::take(open(), purpose, gone);
        assert!(take(Purpose::Look).unwrap().is_none());
        assert!(folder.path().read_dir().unwrap().next().is_none());
        let change = take(Purpose::Change).unwrap();
        for purpose in [Purpose::Look, Purpose::Change] {
            let error = take(purpose).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Interrupted);
        }
        drop(change);
        let mut look = take(Purpose::Look).unwrap().unwrap();
        take(Purpose::Look).unwrap().unwrap();
        take(Purpose::Show).unwrap().unwrap();
        take(Purpose::Change).unwrap_err();
        // Who was lent it holds it.
        let given = LockFile::given(look.lend().try_clone_to_owned().unwrap());
        drop(look);
        take(Purpose::Change).unwrap_err();
        drop(given);
        std::fs::remove_file(folder.path().join(LOCK_FILE)).unwrap();
        let show = take(Purpose::Show).unwrap().unwrap();
        take(Purpose::Change).unwrap_err();
        drop(show);
        let change = take(Purpose::Change).unwrap().unwrap();
        // A copy that nobody asked for, such as a forked child's, does not hold it.
        let copy = change.file.try_clone().unwrap();
        drop(change);
        take(Purpose::Change).unwrap().unwrap();
        drop(copy);
    }
}
