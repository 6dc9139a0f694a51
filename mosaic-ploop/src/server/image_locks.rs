// SPDX-License-Identifier: MIT OR Apache-2.0
//! The byte locks on the images of a served disk.
//!
//! They belong to the open files, of which the keeper has duplicates: a worker that is killed leaves
//! them locked, and the next one goes on with the same. So nobody comes in between. And through them the
//! kernel tells the keeper of what a worker could not make durable: nobody else flushes them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use mosaic_core::loopdev::Identity;
use mosaic_core::{Context, ErrorKind, Result};

use super::files::ServedFolder;
use crate::format::disk::Disk;
use crate::format::error::Error;
use crate::format::storage::Folder as _;
use crate::locks::{Hold, ImageLock};

/// How long others' locks are waited for: those of whoever only makes sure that nobody has the disk
/// are there for a moment.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The same where whoever uses the disk waits meanwhile.
const MOMENT: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(5);

/// Locks on all images of a disk, from the base up.
#[derive(Debug)]
pub struct ImageLocks(Vec<Locked>);

#[derive(Debug)]
struct Locked {
    name: String,
    lock: ImageLock,
}

/// An image that is locked, and no disk has it yet.
#[derive(Debug)]
pub struct NewTop(Locked);

impl ImageLocks {
    /// Locks all images: the top against all others, what is beneath it against writers. The base
    /// stands for the whole disk where nobody else has it too. `given` are those that an earlier
    /// worker had locked: they are as it left them.
    ///
    /// # Errors
    /// `Busy`, with who has one; the kernel's.
    pub fn take(disk: &Disk<ServedFolder>, for_writing: bool, given: Vec<OwnedFd>) -> Result<Self> {
        let mut given = Given::new(given)?;
        let names = images(disk);
        let last = names.len().saturating_sub(1);
        let (mut locks, mut is_top_new) = (Vec::new(), false);
        for (number, name) in names.into_iter().enumerate() {
            let folder = disk.folder();
            let file = folder.open_to_lock(name)?;
            if let Some(lock) = given.find(&file)? {
                locks.push(Locked::new(name, lock));
                continue;
            }
            let shared = folder.is_shared(name);
            let shared = shared.map_err(|e| Error::io("look at", name, e))?;
            let hold = match (for_writing && number == last, number == 0 && !shared) {
                (true, true) => Hold::WRITE_ALONE,
                (true, false) => Hold::WRITE,
                (false, true) => Hold::READ_ALONE,
                (false, false) => Hold::READ,
            };
            is_top_new = number == last;
            let lock = take_patiently(folder, name, &hold, PATIENCE)?;
            locks.push(Locked::new(name, lock));
        }
        let locks = Self(locks);
        // A worker that was killed had just frozen the disk.
        if is_top_new && given.has_found {
            locks.share_lower()?;
        }
        Ok(locks)
    }

    /// Locks an image that is to be the next top of a disk.
    ///
    /// # Errors
    /// As [`ImageLocks::take`].
    pub fn lock_new_top(folder: &ServedFolder, name: &str) -> Result<NewTop> {
        let lock = take_patiently(folder, name, &Hold::WRITE, MOMENT)?;
        Ok(NewTop(Locked::new(name, lock)))
    }

    /// Goes on with that one upon the others, if it is the top that a disk has now. Whether it is.
    pub fn go_on_with(&mut self, new: Option<NewTop>, disk: &Disk<ServedFolder>) -> bool {
        let top = images(disk).pop();
        let new = new.filter(|NewTop(locked)| Some(locked.name.as_str()) == top);
        let is_top = new.is_some();
        self.0.extend(new.map(|NewTop(locked)| locked));
        is_top
    }

    /// Lets another disk read what is beneath the top: a clone is made of it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn share_lower(&self) -> Result<()> {
        let lower = self.0.split_last().map_or(&[][..], |(_, lower)| lower);
        let mut lower = lower.iter();
        lower.try_for_each(|locked| locked.lock.change(&Hold::READ))
    }

    /// Whether they are on the images that a disk has.
    pub fn cover(&self, disk: &Disk<ServedFolder>) -> bool {
        let names = self.0.iter().map(|locked| locked.name.as_str());
        names.eq(images(disk))
    }

    /// The files that have the locks.
    pub fn files(&self) -> Vec<BorrowedFd<'_>> {
        let locks = self.0.iter();
        locks.map(|locked| locked.lock.as_fd()).collect()
    }
}

impl Locked {
    fn new(name: &str, lock: ImageLock) -> Self {
        Self {
            name: name.to_owned(),
            lock,
        }
    }
}

/// Files that have locks.
struct Given {
    files: Vec<(Identity, OwnedFd)>,
    has_found: bool,
}

impl Given {
    fn new(files: Vec<OwnedFd>) -> Result<Self> {
        let files = files.into_iter().map(|file| Ok((identity(&file)?, file)));
        Ok(Self {
            files: files.collect::<Result<_>>()?,
            has_found: false,
        })
    }

    fn find(&mut self, file: &OwnedFd) -> Result<Option<ImageLock>> {
        let wanted = identity(file)?;
        let at = self.files.iter().position(|(found, _)| *found == wanted);
        self.has_found |= at.is_some();
        Ok(at.map(|at| ImageLock::given(self.files.swap_remove(at).1)))
    }
}

fn identity(file: &OwnedFd) -> Result<Identity> {
    Identity::of(file).context(|| "cannot stat an image".into())
}

fn take_patiently(
    folder: &ServedFolder,
    name: &str,
    hold: &Hold,
    patience: Duration,
) -> Result<ImageLock> {
    let start = Instant::now();
    loop {
        match ImageLock::take(folder.open_to_lock(name)?, name, hold) {
            Err(error) if error.kind() == ErrorKind::Busy && start.elapsed() < patience => {
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

/// Names of the images, from the base up.
fn images(disk: &Disk<ServedFolder>) -> Vec<&str> {
    let descriptor = disk.descriptor();
    let shots = descriptor.chain(descriptor.top());
    shots
        .into_iter()
        .filter_map(|shot| descriptor.file(shot))
        .collect()
}
