// SPDX-License-Identifier: MIT OR Apache-2.0
//! Byte locks on an image, by which QEMU, libploop 8 and later, and we know of each other.
//!
//! QEMU holds a read lock on byte 100 + p for each permission p that it uses, and on 200 + p for each
//! that it lets nobody else have: p 0 reads, 1 writes, 2 writes what is there already, 3 changes the
//! length. Whoever comes later asks whether anybody holds what is in his way. libploop does the same
//! with 200 to 204 on the base of a disk, and with 300 to 304 while it works for long.
//!
//! Ours belong to the open file description, so they go with the descriptor and with no other.
//!
//! QEMU: block/file-posix.c, `RAW_LOCK_PERM_BASE`. fcntl(2), "Open file description locks", Linux 3.15.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mosaic_core::busy;
use mosaic_core::{Error, ErrorKind, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// First byte and number of bytes.
type Range = (i64, i64);

/// What is to be done with an image, as far as others are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// What we lock.
    own: &'static [Range],
    /// What nobody else may have locked.
    others: &'static [Range],
}

impl Hold {
    /// Nobody else reads or writes it: for changes to a disk that is not in use.
    pub const ALONE: Self = Self {
        own: &[(100, 4), (200, 5), (300, 5)],
        others: &[(100, 4), (200, 5), (300, 5)],
    };
    /// Others may read it too, and nobody writes: for a delta that another disk may have as well.
    pub const READ: Self = Self {
        own: &[(100, 1), (201, 1)],
        others: &[(101, 1), (103, 1), (200, 1)],
    };
    /// As [`Hold::READ`], for the base of a disk: libploop is to keep off the disk.
    pub const READ_ALONE: Self = Self {
        own: &[(100, 1), (200, 5)],
        others: &[(101, 1), (103, 1), (200, 5), (300, 5)],
    };
    /// Nobody else writes it, and libploop is to keep off: for the only image of a disk that is shown.
    pub const WRITE_ALONE: Self = Self {
        own: &[(100, 2), (103, 1), (200, 5)],
        others: &[(101, 1), (103, 1), (200, 5), (300, 5)],
    };
    /// What libploop takes on the base of a disk for each of its operations: to be asked for.
    pub const TOOL: Self = Self {
        own: &[(200, 5)],
        others: &[(200, 5)],
    };
    /// Nobody else writes it: for the top of a disk that is shown.
    pub const WRITE: Self = Self {
        own: &[(100, 2), (103, 1), (201, 1), (203, 1)],
        others: &[(101, 1), (103, 1), (200, 2), (203, 1), (300, 5)],
    };
}

/// Locks on one image, for as long as this is.
#[derive(Debug)]
pub struct ImageLock {
    file: OwnedFd,
}

impl ImageLock {
    /// Takes the locks on an image that is open for reading, or for reading and writing. Ours first:
    /// of two that come at the same time at least one sees the other.
    ///
    /// # Errors
    /// `Busy`, with the holder; the kernel's.
    pub fn take(file: OwnedFd, name: &str, hold: &Hold) -> Result<Self> {
        for range in hold.own {
            let lock = lock_of(short::READ, *range);
            match fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)) {
                Err(Errno::EAGAIN | Errno::EACCES) => return Err(locked(&file, name, *range)),
                other => other.map(drop).map_err(|errno| cannot_lock(errno, name))?,
            }
        }
        Self::ask(&file, name, hold)?;
        Ok(Self { file })
    }

    /// Only looks whether the locks of others allow it.
    ///
    /// # Errors
    /// As [`ImageLock::take`].
    pub fn ask(file: &OwnedFd, name: &str, hold: &Hold) -> Result<()> {
        for range in hold.others {
            let mut lock = lock_of(short::WRITE, *range);
            let asked = fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock));
            asked.map_err(|errno| cannot_lock(errno, name))?;
            if lock.l_type != short::UNLOCK {
                return Err(locked(file, name, *range));
            }
        }
        Ok(())
    }

    /// Goes on with a file that has them already.
    pub fn given(file: OwnedFd) -> Self {
        Self { file }
    }

    /// Goes on with the locks of another hold, one that allows others no less: nobody is asked.
    ///
    /// # Errors
    /// The kernel's.
    pub fn change(&self, hold: &Hold) -> Result<()> {
        let is_kept = |byte: i64| {
            let mut own = hold.own.iter();
            own.any(|(start, len)| (*start..start + len).contains(&byte))
        };
        let all = [100..105, 200..205, 300..305];
        for byte in all.into_iter().flatten() {
            let kind = if is_kept(byte) {
                short::READ
            } else {
                short::UNLOCK
            };
            let lock = lock_of(kind, (byte, 1));
            fcntl(&self.file, FcntlArg::F_OFD_SETLK(&lock)).map_err(|errno| {
                let errno = std::io::Error::from_raw_os_error(errno as i32);
                Error::io(errno, "cannot change the locks of an image")
            })?;
        }
        Ok(())
    }

    /// The file that has them: a loop device that is bound to this very descriptor keeps them.
    pub fn into_file(self) -> OwnedFd {
        self.file
    }
}

impl AsFd for ImageLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn cannot_lock(errno: Errno, name: &str) -> Error {
    let errno = std::io::Error::from_raw_os_error(errno as i32);
    Error::io(errno, format!("cannot lock {name:?}"))
}

/// The refusal for an image that somebody else has locked.
fn locked(file: &OwnedFd, name: &str, (start, len): Range) -> Error {
    // Ours are on the same bytes, and would be found.
    let ours = lock_of(short::UNLOCK, (0, 0));
    let _ = fcntl(file, FcntlArg::F_OFD_SETLK(&ours));
    let (start, len) = (start.unsigned_abs(), len.unsigned_abs());
    let by = busy::lock_holder(file.as_fd(), start, len).map_or_else(
        || "a program that is not to be seen from here".to_owned(),
        |(pid, command)| format!("pid {pid} ({command})"),
    );
    Error::new(
        ErrorKind::Busy,
        format!("in use: {name:?} is locked by {by}"),
    )
}

/// `F_RDLCK` and its like: int in the header, short in `struct flock`.
#[expect(clippy::cast_possible_truncation, reason = "they are 0, 1 and 2")]
pub(crate) mod short {
    use nix::libc;

    pub const READ: i16 = libc::F_RDLCK as i16;
    pub const WRITE: i16 = libc::F_WRLCK as i16;
    pub const UNLOCK: i16 = libc::F_UNLCK as i16;
    pub const FROM_START: i16 = libc::SEEK_SET as i16;
}

pub(crate) fn lock_of(kind: i16, (start, len): Range) -> libc::flock {
    libc::flock {
        l_type: kind,
        l_whence: short::FROM_START,
        l_start: start,
        l_len: len,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which pairs of users can have an image at the same time.
    #[test]
    fn readers_share_and_the_rest_excludes_each_other() {
        let all = [
            Hold::ALONE,
            Hold::READ,
            Hold::READ_ALONE,
            Hold::WRITE,
            Hold::WRITE_ALONE,
        ];
        let image = tempfile::NamedTempFile::new().unwrap();
        let open = || OwnedFd::from(image.reopen().unwrap());
        for first in all {
            for second in all {
                let held = ImageLock::take(open(), "i", &first).unwrap();
                let taken = ImageLock::take(open(), "i", &second);
                assert_eq!(
                    taken.is_ok(),
                    first == Hold::READ && second == Hold::READ,
                    "{first:?} {second:?}"
                );
                drop((held, taken));
                ImageLock::take(open(), "i", &Hold::ALONE).unwrap();
            }
        }
    }

    #[test]
    fn who_stops_writing_lets_others_read() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let open = || OwnedFd::from(image.reopen().unwrap());
        for first in [Hold::WRITE, Hold::WRITE_ALONE, Hold::READ_ALONE] {
            let held = ImageLock::take(open(), "i", &first).unwrap();
            held.change(&Hold::READ).unwrap();
            ImageLock::take(open(), "i", &Hold::READ).unwrap();
            ImageLock::take(open(), "i", &Hold::WRITE).unwrap_err();
        }
    }

    /// What a lock of QEMU's, or libploop's, on one byte keeps from.
    #[test]
    fn a_byte_of_anothers_is_in_the_way_of_what_it_stands_for() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let open = || OwnedFd::from(image.reopen().unwrap());
        for (byte, refused) in [
            (100, vec![Hold::ALONE]),
            (101, vec![Hold::ALONE, Hold::READ, Hold::WRITE]),
            (200, vec![Hold::ALONE, Hold::READ, Hold::WRITE]),
            (201, vec![Hold::ALONE, Hold::WRITE]),
            (204, vec![Hold::ALONE]),
            (301, vec![Hold::ALONE, Hold::WRITE]),
        ] {
            let theirs = open();
            let lock = lock_of(short::READ, (byte, 1));
            fcntl(&theirs, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
            for hold in [Hold::ALONE, Hold::READ, Hold::WRITE] {
                let taken = ImageLock::take(open(), "i", &hold);
                assert_eq!(taken.is_err(), refused.contains(&hold), "{byte} {hold:?}");
                if let Err(error) = taken {
                    assert_eq!(error.kind(), ErrorKind::Busy);
                }
            }
        }
    }
}
