// SPDX-License-Identifier: MIT OR Apache-2.0
//! Proof that nobody uses a disk, held while it is changed; else who does.
//!
//! For each file of the disk a write lease is asked for, which the kernel grants only while nobody
//! else in any namespace has the file open: no program, no loop device, no ploop device. Then what
//! keeps others from coming: the lock file of libploop up to 7, and the byte locks of QEMU, libploop
//! 8 and ours ([`crate::locks`]). The lease is given back before the locks are taken, as our own
//! opening of the file would break it; a program that knows none of the locks can slip in there.
//!
//! A file that has other names too belongs to another disk as well, which may be in use: of such a
//! file only writers are in the way, and nothing of it is changed.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use mosaic_core::busy::{self, Lease, LeaseOutcome};
use mosaic_core::{Context, Error, ErrorKind, Host, Result};
use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::courtesy;
use crate::format::descriptor::{DESCRIPTOR, DESCRIPTOR_NEW};
use crate::format::disk::Disk;
use crate::format::error::Error as FormatError;
use crate::kernel_device::Showers;
use crate::lock_file::{LOCK_FILE, LockFile, Purpose};
use crate::locks::{Hold, ImageLock};
use crate::volume_dir::VolumeDir;

/// How long somebody unknown may have a file open before it is found out who.
const PASSING: Duration = Duration::from_millis(300);
/// How long an opener that is not to be found is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// A disk that nobody else uses.
#[derive(Debug)]
pub struct Claim {
    _descriptor: Option<LockFile>,
    _images: Vec<ImageLock>,
}

impl Claim {
    /// Claims the disk in a folder: nobody has any of its files open, and none of its images can be
    /// had by who knows the locks. Who only looks at it makes way.
    ///
    /// # Errors
    /// `Busy`, with who uses it; `Permission`; the kernel's.
    pub fn take(dir: &VolumeDir, host: &Host) -> Result<Self> {
        let descriptor = lock_descriptor(dir, host, Purpose::Change)?;
        let images = images(dir)?;
        refuse_kernels(&images)?;
        for image in &images {
            let wanted = courtesy::want(&image.file);
            wanted.context(|| format!("cannot lock {:?}", image.name))?;
        }
        refuse_openers_of_others(dir, &images, host)?;
        let images = images.into_iter().map(|image| image.claim(host));
        Ok(Self {
            _descriptor: descriptor,
            _images: images.collect::<Result<_>>()?,
        })
    }
}

/// Refuses files that the kernel's ploop has.
pub(crate) fn refuse_kernels(files: &[Image]) -> Result<()> {
    // One that shows a shared file may show another disk that has it.
    let own = files.iter().filter(|image| !image.is_shared);
    let own: Vec<_> = own.map(|image| &image.file).collect();
    Showers::look().of(&own).map_or(Ok(()), |device| {
        let device = device.display();
        let why = format!("in use: {device} of the kernel's ploop shows it");
        Err(Error::new(ErrorKind::Busy, why))
    })
}

/// A file of the disk, open for reading.
pub(crate) struct Image {
    pub(crate) file: OwnedFd,
    pub(crate) name: String,
    is_shared: bool,
}

impl Image {
    fn claim(self, host: &Host) -> Result<ImageLock> {
        self.wait_until_free(host)?;
        let hold = if self.is_shared {
            Hold::READ
        } else {
            Hold::ALONE
        };
        ImageLock::take(self.file, &self.name, &hold)
    }

    fn wait_until_free(&self, host: &Host) -> Result<()> {
        let start = Instant::now();
        while !self.is_free()? {
            host.check_cancelled()?;
            self.refuse_or_wait(start)?;
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Refuses an image to which somebody writes, or that somebody wants for himself. Locks are waited
    /// for as long as `patience`.
    pub(crate) fn refuse_writers(&self, host: &Host, patience: Duration) -> Result<()> {
        let start = Instant::now();
        while busy::is_open_for_writing(self.file.as_fd())? == Some(true) {
            host.check_cancelled()?;
            self.refuse_or_wait(start)?;
            std::thread::sleep(PAUSE);
        }
        let start = Instant::now();
        loop {
            match ImageLock::ask(&self.file, &self.name, &Hold::READ) {
                Err(error) if error.kind() == ErrorKind::Busy && start.elapsed() < patience => {
                    host.check_cancelled()?;
                    std::thread::sleep(PAUSE);
                }
                other => return other,
            }
        }
    }

    /// Whether nobody has it open in a way that matters.
    fn is_free(&self) -> Result<bool> {
        if self.is_shared {
            let writers = busy::is_open_for_writing(self.file.as_fd())?;
            return Ok(writers != Some(true));
        }
        match Lease::take(self.file.as_fd())? {
            LeaseOutcome::Granted(_given_back) => Ok(true),
            LeaseOutcome::InUse => Ok(false),
            // Who can be seen is believed, and nobody else.
            LeaseOutcome::Unsupported => self.openers().map(|uses| uses.is_empty()),
        }
    }

    /// Refuses if who has the file open is there to stay; `Ok`: look again.
    fn refuse_or_wait(&self, start: Instant) -> Result<()> {
        if start.elapsed() < PASSING {
            return Ok(());
        }
        let is_looked_at = || courtesy::is_looked_at(&self.file).unwrap_or(false);
        if start.elapsed() < PATIENCE && is_looked_at() {
            return Ok(());
        }
        let uses = self.openers()?;
        if uses.is_empty() && start.elapsed() < PATIENCE {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Busy, uses.describe()))
    }

    fn openers(&self) -> Result<busy::Uses> {
        busy::openers_of_file(self.file.as_fd())
    }
}

/// Takes the lock of libploop up to 7. `None`: it is not there.
pub(crate) fn lock_descriptor(
    dir: &VolumeDir,
    host: &Host,
    purpose: Purpose,
) -> Result<Option<LockFile>> {
    LockFile::take(dir, purpose, || {
        host.check_cancelled()?;
        std::thread::sleep(PAUSE);
        Ok(())
    })
}

/// The images of a disk, as far as they are there; none if its descriptor makes no sense.
pub(crate) fn images(dir: &VolumeDir) -> Result<Vec<Image>> {
    let disk = match Disk::open(dir.folder()?) {
        Err(FormatError::Descriptor(_)) => return Ok(Vec::new()),
        other => other?,
    };
    let mut images = Vec::new();
    for file in disk.descriptor().images() {
        images.extend(image(dir, &file.file)?);
    }
    Ok(images)
}

/// Makes sure that nobody has any other file of a disk's folder open: what was left there, or what of
/// a disk that cannot be read may be an image. Of any number of files one is open at a time.
fn refuse_openers_of_others(dir: &VolumeDir, images: &[Image], host: &Host) -> Result<()> {
    let failed = || format!("cannot look into {:?}", dir.path());
    for entry in Dir::read_from(dir).context(failed)? {
        let entry = entry.context(failed)?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        let is_known = [DESCRIPTOR, DESCRIPTOR_NEW, LOCK_FILE].contains(&name)
            || images.iter().any(|image| image.name == name);
        if !is_known && let Some(other) = image(dir, name)? {
            other.wait_until_free(host)?;
        }
    }
    Ok(())
}

/// Opens a file of the disk; `None` if it is no regular file.
fn image(dir: &VolumeDir, name: &str) -> Result<Option<Image>> {
    let failed = || format!("cannot open {:?}", dir.path().join(name));
    let resolve = fs::ResolveFlags::BENEATH | fs::ResolveFlags::NO_SYMLINKS;
    let open = |flags: OFlags| {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        fs::openat2(dir, name, flags, Mode::empty(), resolve)
    };
    // Nothing but a regular file is opened: it may be a pipe.
    let place = match open(OFlags::PATH) {
        Err(Errno::NOENT | Errno::LOOP | Errno::XDEV) => return Ok(None),
        other => other.context(failed)?,
    };
    let is_file = |stat: &fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !is_file(&fs::statat(&place, c"", AtFlags::EMPTY_PATH).context(failed)?) {
        return Ok(None);
    }
    // A lease of somebody else's is there for microseconds, or is one that we do not wait for.
    let start = Instant::now();
    let file = loop {
        match open(OFlags::RDONLY | OFlags::NONBLOCK) {
            Err(Errno::WOULDBLOCK) if start.elapsed() < PASSING => std::thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => {
                let why = format!("in use: {name:?} is leased by another program");
                return Err(Error::new(ErrorKind::Busy, why));
            }
            other => break other.context(failed)?,
        }
    };
    // The name may be that of another file by now.
    let stat = fs::fstat(&file).context(failed)?;
    Ok(is_file(&stat).then(|| Image {
        file,
        name: name.to_owned(),
        is_shared: stat.st_nlink > 1,
    }))
}
