// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a changing verb holds while it works.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Mosaic;
use crate::busy;
use crate::driver::LockScope;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::foreign;
use crate::location::Location;
use crate::lock::{Hold, LockFile, Subject};
use crate::name::VolumeName;
use crate::scratch::{Place, ScratchName};

/// Locks held; they end when this is dropped.
pub(super) enum Guard {
    /// Ranges of the lock file of a location that is a directory.
    Directory { location: Location, locks: LockFile },
    /// The exclusively opened device of any other; the descriptor is the lock.
    Device { _claim: OwnedFd },
}

/// Names that a verb works on.
#[derive(Default)]
pub(super) struct Names<'a> {
    /// Looked at: a clone's source.
    pub(super) shared: Vec<&'a VolumeName>,
    /// Changed.
    pub(super) exclusive: Vec<&'a VolumeName>,
    /// Made: nothing above them may become a volume meanwhile.
    pub(super) made: Vec<&'a VolumeName>,
}

impl Mosaic {
    /// Takes the locks of a verb on some volumes: the mosaic shared, the names as asked.
    ///
    /// # Errors
    /// `Busy` with the holder; `Interrupted`; `Permission` in a location that may not be changed.
    pub(super) fn lock_names(&self, names: &Names<'_>) -> Result<Guard> {
        let mut wanted = vec![(Subject::mosaic(), Hold::Shared)];
        for name in &names.shared {
            wanted.push((Subject::name(name.stored()), Hold::Shared));
        }
        for name in names.exclusive.iter().chain(&names.made) {
            wanted.push((Subject::name(name.stored()), Hold::Exclusive));
        }
        for name in &names.made {
            for above in name.ancestors() {
                wanted.push((Subject::name(above), Hold::Shared));
            }
        }
        self.lock(&wanted)
    }

    /// Takes the whole mosaic.
    ///
    /// # Errors
    /// As [`Mosaic::lock_names`].
    pub(super) fn lock_mosaic(&self) -> Result<Guard> {
        self.lock(&[(Subject::mosaic(), Hold::Exclusive)])
    }

    fn lock(&self, wanted: &[(Subject, Hold)]) -> Result<Guard> {
        foreign::keep_off_standard_streams()?;
        let (timeout, services) = (
            self.environment.lock_timeout,
            self.environment.services.as_ref(),
        );
        match self.driver.lock_scope()? {
            LockScope::Directory(path) => {
                let location = Location::open(&path)?;
                let locks = LockFile::open(&location)?;
                locks.lock(wanted, timeout, services)?;
                Ok(Guard::Directory { location, locks })
            }
            LockScope::Device(path) => {
                let claim = self.claim_scope(path, timeout)?;
                self.driver.recover()?;
                Ok(Guard::Device { _claim: claim })
            }
        }
    }

    /// Claims the device that the location is behind. While it was waited for, the location may have
    /// been taken down and set up again, and the device be another one's by now.
    fn claim_scope(&self, mut path: PathBuf, timeout: Duration) -> Result<OwnedFd> {
        let started = Instant::now();
        loop {
            let left = timeout.saturating_sub(started.elapsed());
            let claim = self.claim(&path, left)?;
            match self.driver.lock_scope()? {
                LockScope::Device(now) if now == path && is_open_on(&claim, &path) => {
                    return Ok(claim);
                }
                LockScope::Device(now) => path = now,
                LockScope::Directory(now) => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!("the location is {now:?} now, and no device any more"),
                    ));
                }
            }
        }
    }

    /// Opens a block device exclusively, and for writing, waiting for whoever has it.
    fn claim(&self, device: &Path, timeout: Duration) -> Result<OwnedFd> {
        let started = Instant::now();
        loop {
            let flags = OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
            match rustix::fs::open(device, flags, Mode::empty()) {
                Ok(claim) => return Ok(claim),
                Err(Errno::BUSY) if started.elapsed() < timeout => {}
                Err(Errno::BUSY) => {
                    let uses = busy::claimants_of_device(device)?;
                    return Err(Error::new(
                        ErrorKind::Busy,
                        format!("{device:?} is {}", uses.describe()),
                    ));
                }
                Err(errno) => return Err(Error::io(errno, format!("cannot open {device:?}"))),
            }
            if self.environment.services.cancelled() {
                return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn is_open_on(claim: &OwnedFd, path: &Path) -> bool {
    let (claimed, there) = (rustix::fs::fstat(claim), rustix::fs::stat(path));
    matches!((claimed, there), (Ok(claimed), Ok(there)) if claimed.st_rdev == there.st_rdev)
}

impl Guard {
    /// A new name for an unfinished thing, locked before the thing is made.
    ///
    /// # Errors
    /// The kernel's, if there are no random numbers or no locks.
    pub(super) fn scratch(&self, place: Place) -> Result<ScratchName> {
        loop {
            let number = getrandom::u64()
                .map_err(|e| Error::new(ErrorKind::Io, "no random numbers").with_source(e))?;
            let name = ScratchName::from_random(number);
            let Self::Directory { locks, .. } = self else {
                return Ok(name);
            };
            let subject = Subject::scratch(place, &name);
            if locks
                .try_lock(&subject, Hold::Exclusive)
                .context(|| "cannot lock an unfinished thing".to_owned())?
            {
                return Ok(name);
            }
        }
    }

    /// Lets a name go before the rest, so that a long deletion keeps nobody from using it.
    pub(super) fn release_name(&self, name: &VolumeName) {
        if let Self::Directory { locks, .. } = self {
            locks.unlock(&Subject::name(name.stored()));
        }
    }
}
