// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looking at a disk without being in anybody's way.
//!
//! Nothing is held: that nobody writes to the disk is proven before it is read, and afterwards that
//! nobody did meanwhile. Only then does it count what was found.

use std::time::Duration;

use mosaic_core::{Context, Error, ErrorKind, Host, Result};
use rustix::fs::{AtFlags, Stat, fstat, statat};

use crate::claim::{Image, images, lock_descriptor, refuse_kernels};
use crate::format::descriptor::{DESCRIPTOR, DESCRIPTOR_NEW};
use crate::lock_file::Purpose;
use crate::volume_dir::VolumeDir;

/// A disk as it was when nobody wrote to it.
#[derive(Debug)]
pub struct Look {
    stamps: Vec<Stamp>,
}

/// What of a file is another one when it has been changed.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: i64,
    changed: (i64, i64),
}

impl Stamp {
    fn new(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino,
            size: stat.st_size,
            changed: (stat.st_ctime, stat.st_ctime_nsec.cast_signed()),
        }
    }
}

impl Look {
    /// Makes sure that nobody writes to the disk in a folder, and that libploop does not change it.
    /// Locks of others on the images are waited for as long as `patience`.
    ///
    /// # Errors
    /// `Busy`, with who does; `Permission`; the kernel's.
    pub fn take(dir: &VolumeDir, host: &Host, patience: Duration) -> Result<Self> {
        let _waited_for = lock_descriptor(dir, host, Purpose::Look)?;
        let images = images(dir)?;
        refuse_kernels(&images)?;
        images
            .iter()
            .try_for_each(|image| image.refuse_writers(host, patience))?;
        let folder = fstat(dir).context(|| format!("cannot look at {:?}", dir.path()))?;
        let mut stamps = vec![Stamp::new(&folder)];
        for image in &images {
            stamps.push(image.stat().map(|stat| Stamp::new(&stat))?);
        }
        for name in [DESCRIPTOR, DESCRIPTOR_NEW] {
            let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
            stamps.extend(stat.ok().map(|stat| Stamp::new(&stat)));
        }
        Ok(Self { stamps })
    }

    /// Makes sure that the disk is still the same, and that nobody has begun to change it.
    ///
    /// # Errors
    /// `Busy` if it is not; as [`Look::take`].
    pub fn is_still(&self, dir: &VolumeDir, host: &Host) -> Result<()> {
        if Self::take(dir, host, Duration::ZERO)?.stamps == self.stamps {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Busy,
            "in use: somebody has changed it meanwhile",
        ))
    }
}

impl Image {
    fn stat(&self) -> Result<Stat> {
        fstat(&self.file).context(|| format!("cannot look at {:?}", self.name))
    }
}
