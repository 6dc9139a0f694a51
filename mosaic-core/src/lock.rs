// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks of a mosaic whose location is a directory: byte ranges of `.mosaic/lock`.
//!
//! Byte 0 is the mosaic, byte 1 + hash is one name, whether a volume has it or not. The locks are
//! the kernel's (`F_OFD_SETLK`, fcntl(2), Linux 3.15) and belong to one descriptor that no program we
//! run and no loop device ever gets, so they end with the process, however it ends. The file holds
//! nothing and is never removed: whether it is there says nothing about who holds what.
//!
//! A location that cannot be written (its file system went read-only) can still be mounted,
//! unmounted, attached and detached. The file is then open for reading only, which is not enough
//! for an exclusive range: who wants one shares the range, against those who have it from before,
//! and holds the whole file (flock(2)) against others like itself.
//!
//! Order, against deadlock: ascending bytes, so the mosaic comes before its names. Two names of one
//! hash share a byte; that costs a wait, never safety.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use rustix::fs::{self, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use crate::busy;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host_services::Services;
use crate::location::Location;
use crate::scratch::{LOCK_FILE, PRIVATE_DIR, Place, ScratchName};

/// First and longest pause between two tries for a lock.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// Along with others that share it.
    Shared,
    /// Alone.
    Exclusive,
}

/// What a lock is about, and how people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    byte: i64,
    label: String,
}

impl Subject {
    /// The whole mosaic.
    pub(crate) fn mosaic() -> Self {
        Self {
            byte: 0,
            label: "the mosaic".to_owned(),
        }
    }

    /// A volume's stored name.
    pub(crate) fn name(stored: &str) -> Self {
        Self {
            byte: name_byte(stored),
            label: format!("volume {stored:?}"),
        }
    }

    /// An unfinished thing. `.mosaic/...` is nobody's name.
    pub(crate) fn scratch(place: Place, name: &ScratchName) -> Self {
        let path = format!("{PRIVATE_DIR}/{}/{name}", place.folder());
        Self {
            byte: name_byte(&path),
            label: path,
        }
    }
}

/// Byte of a name: FNV-1a of 64 bits, folded into 1..=2^63 - 1. Every version of Mosaic must find
/// the same byte, so this never changes.
fn name_byte(name: &str) -> i64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    1 + i64::try_from(hash % i64::MAX.unsigned_abs()).unwrap_or_default()
}

/// An open lock file. All its locks end when it is dropped, also if another thread has forked meanwhile
/// and the child has a copy of the descriptor, which would keep them.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: OwnedFd,
    /// Open for reading only.
    read_only: bool,
}

impl LockFile {
    /// Opens the location's lock file on a descriptor of its own, made if need be: 0600, for the
    /// location's owner, so that nobody else can hold a lock against us. In a location that cannot
    /// be written one that is there.
    pub(crate) fn open(location: &Location) -> Result<Self> {
        match Self::open_to_write(location) {
            Err(error) if error.errno() == Some(libc::EROFS) => {
                Self::open_to_look(location)?.ok_or(error)
            }
            other => other,
        }
    }

    fn open_to_write(location: &Location) -> Result<Self> {
        let failed = || {
            format!(
                "cannot open {PRIVATE_DIR}/{LOCK_FILE} in {:?}",
                location.path()
            )
        };
        let folder = location.private_root()?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = loop {
            match fs::openat(&folder, LOCK_FILE, flags, Mode::empty()) {
                Err(Errno::NOENT) => {}
                other => break other.context(failed)?,
            }
            let create = flags | OFlags::CREATE | OFlags::EXCL;
            match fs::openat(&folder, LOCK_FILE, create, mode) {
                Err(Errno::EXIST) => {}
                other => {
                    let file = other.context(failed)?;
                    // Whatever the umask said.
                    fs::fchmod(&file, mode).context(failed)?;
                    break file;
                }
            }
        };
        let stat = fs::fstat(&file).context(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::new(ErrorKind::Corrupt, failed()).with_source("not a file"));
        }
        give_to_owner(&file, &stat, location).context(failed)?;
        let read_only = false;
        Ok(Self { file, read_only })
    }

    /// Opens a lock file that is there, to look at what others hold; `Ok(None)` if there is none.
    pub(crate) fn open_to_look(location: &Location) -> Result<Option<Self>> {
        let path = format!("{PRIVATE_DIR}/{LOCK_FILE}");
        match location.open_beneath(&path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => Ok(Some(Self {
                file,
                read_only: true,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::io(
                errno,
                format!("cannot open {path} in {:?}", location.path()),
            )),
        }
    }

    /// Whether somebody else holds the lock at this moment.
    pub(crate) fn is_locked(&self, subject: &Subject) -> bool {
        let mut range = range(subject, libc::F_WRLCK);
        let asked = fcntl(&self.file, FcntlArg::F_OFD_GETLK(&mut range));
        asked.is_ok() && i32::from(range.l_type) != libc::F_UNLCK
    }

    /// Takes all locks in ascending order, waiting until `timeout` is over. All or none.
    ///
    /// # Errors
    /// `Busy`, naming what is locked and by whom; `Interrupted`.
    pub(crate) fn lock(
        &self,
        wanted: &[(Subject, Hold)],
        timeout: Duration,
        services: &dyn Services,
    ) -> Result<()> {
        let mut by_byte: BTreeMap<i64, (&Subject, Hold)> = BTreeMap::new();
        for (subject, hold) in wanted {
            let entry = by_byte.entry(subject.byte).or_insert((subject, *hold));
            entry.1 = entry.1.max(*hold);
        }
        let started = Instant::now();
        for (at, (subject, hold)) in by_byte.values().enumerate() {
            let taken = self.wait_for(subject, *hold, started, timeout, services);
            if let Err(error) = taken {
                for (subject, _) in by_byte.values().take(at) {
                    self.unlock(subject);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Shares all locks of which nobody is the only holder, in ascending order, waiting until
    /// `timeout` is over in all. Why it has not which of them: their place in `wanted`.
    ///
    /// # Errors
    /// `Interrupted`; the kernel's.
    pub(crate) fn share_free(
        &self,
        wanted: &[Subject],
        timeout: Duration,
        services: &dyn Services,
    ) -> Result<BTreeMap<usize, Error>> {
        let mut order: Vec<_> = wanted.iter().enumerate().collect();
        order.sort_by_key(|(_, subject)| subject.byte);
        let started = Instant::now();
        let mut refused = BTreeMap::new();
        for (place, subject) in order {
            match self.wait_for(subject, Hold::Shared, started, timeout, services) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Busy => {
                    refused.insert(place, error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    fn wait_for(
        &self,
        subject: &Subject,
        hold: Hold,
        started: Instant,
        timeout: Duration,
        services: &dyn Services,
    ) -> Result<()> {
        let mut pause = PAUSE.0;
        while !self.try_lock(subject, hold)? {
            if services.cancelled() {
                return Err(Error::new(
                    ErrorKind::Interrupted,
                    format!(
                        "interrupted while waiting for the lock of {}",
                        subject.label
                    ),
                ));
            }
            if started.elapsed() >= timeout {
                return Err(self.refusal(subject, timeout));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE.1);
        }
        Ok(())
    }

    /// Takes one lock if that needs no waiting.
    pub(crate) fn try_lock(&self, subject: &Subject, hold: Hold) -> Result<bool> {
        let kind = match hold {
            Hold::Exclusive if !self.read_only => libc::F_WRLCK,
            Hold::Exclusive if !self.try_lock_all(subject)? => return Ok(false),
            _ => libc::F_RDLCK,
        };
        match self.set(subject, kind) {
            Ok(()) => Ok(true),
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(false),
            Err(errno) => Err(Error::io(errno, format!("cannot lock {}", subject.label))),
        }
    }

    /// Takes the whole file against others who have it open for reading only, until it is closed.
    fn try_lock_all(&self, subject: &Subject) -> Result<bool> {
        match fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(Error::io(errno, format!("cannot lock {}", subject.label))),
        }
    }

    /// Gives one lock back.
    pub(crate) fn unlock(&self, subject: &Subject) {
        // Unlocking a range that the descriptor may have locked cannot fail, and closing the
        // descriptor does it in any case.
        let _ = self.set(subject, libc::F_UNLCK);
    }

    fn set(&self, subject: &Subject, kind: i32) -> nix::Result<()> {
        let range = range(subject, kind);
        fcntl(&self.file, FcntlArg::F_OFD_SETLK(&range)).map(|_| ())
    }

    fn refusal(&self, subject: &Subject, timeout: Duration) -> Error {
        let start = subject.byte.unsigned_abs();
        let holder = busy::lock_holder(self.file.as_fd(), start, 1)
            .map(|(pid, command)| format!(" by pid {pid} ({command})"))
            .unwrap_or_default();
        let waited = if timeout.is_zero() {
            String::new()
        } else {
            format!(" for more than {} s", timeout.as_secs_f32())
        };
        Error::new(
            ErrorKind::Busy,
            format!("{} is locked{holder}{waited}", subject.label),
        )
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        let all = libc::flock {
            l_type: short(libc::F_UNLCK),
            l_whence: 0, // SEEK_SET
            l_start: 0,
            l_len: 0, // to the end
            l_pid: 0,
        };
        // Neither can fail on a descriptor that is open, and closing it does the same in most cases.
        let _ = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&all));
        let _ = fs::flock(&self.file, FlockOperation::NonBlockingUnlock);
    }
}

/// A lock type as the kernel's structure has it.
fn short(kind: i32) -> i16 {
    i16::try_from(kind).unwrap_or_default()
}

fn range(subject: &Subject, kind: i32) -> libc::flock {
    libc::flock {
        l_type: short(kind),
        l_whence: 0, // SEEK_SET
        l_start: subject.byte,
        l_len: 1,
        l_pid: 0,
    }
}

/// A file that root makes in somebody's location is that owner's, also when root was killed before
/// it came to that. Only an empty one without another name: the owner could have put something else
/// in its place.
fn give_to_owner(file: &OwnedFd, stat: &Stat, location: &Location) -> rustix::io::Result<()> {
    let us = rustix::process::geteuid();
    if us.is_root() && stat.st_uid == us.as_raw() && stat.st_size == 0 && stat.st_nlink == 1 {
        let owner = fs::fstat(location.dir())?;
        let (uid, gid) = (owner.st_uid, owner.st_gid);
        if uid != stat.st_uid {
            fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
