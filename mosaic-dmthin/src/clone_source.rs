// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a volume to be cloned holds, and who writes to it.
//!
//! A suspend brings ext4 and xfs to rest, and not btrfs, which does not tell the block layer of its
//! device (`s_bdev` in fs/super.c). So a file system that is mounted is synced before, whatever its
//! type: what was written before the command is in the clone.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use mosaic_core::fs::FsType;
use mosaic_core::mounts::directory_on_device;
use mosaic_core::{Context, Host, Result};

use crate::clone::{Copied, Source};
use crate::kernel_pool::KernelPool;
use crate::target::ThinId;
use crate::thin_pool::ThinPool;

/// The content of a volume.
#[derive(Debug)]
pub struct VolumeSource<'s> {
    host: &'s Host,
    /// Its file system; `None`: a disk's is its user's.
    fs: Option<FsType>,
    /// A directory in it, where it is mounted.
    mounted: Option<OwnedFd>,
}

impl<'s> VolumeSource<'s> {
    /// Finds out whether it is mounted. One that somebody writes to who cannot be asked to flush is
    /// said: what a clone of it holds is what a cut of power at that instant would leave.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(
        pool: &KernelPool<'_>,
        host: &'s Host,
        name: &str,
        id: ThinId,
        fs: Option<FsType>,
    ) -> Result<Self> {
        let device = pool.device(id)?.filter(|device| device.is_active);
        let mounted = match &device {
            Some(device) => directory_on_device(&device.path)?,
            None => None,
        };
        if let Some(device) = device.filter(|device| !device.is_read_only)
            && mounted.is_none()
        {
            pool.warn(&format!(
                "volume {name:?} is attached at {} and not mounted here: the clone holds what a \
                 power cut at this instant would leave",
                device.path.display()
            ));
        }
        Ok(Self { host, fs, mounted })
    }
}

impl Source for VolumeSource<'_> {
    fn flush(&self) -> Result<()> {
        self.host.check_cancelled()?;
        let Some(dir) = &self.mounted else {
            return Ok(());
        };
        self.host.debug("syncfs of the origin");
        rustix::fs::syncfs(dir).context(|| "cannot sync the origin".to_owned())
    }

    fn finish(&self, copy: &Path, larger: bool) -> Result<Copied> {
        let Some(fs) = &self.fs else {
            return Ok(Copied::Finished);
        };
        let open = File::open(copy).context(|| format!("cannot open {copy:?}"))?;
        if !fs.clone_is_clean(open.as_fd())? {
            return Ok(Copied::Unfit);
        }
        drop(open);
        fs.renew_uuid(self.host, copy)
            .context(|| format!("cannot give the clone's {fs} a UUID of its own"))?;
        if larger {
            fs.grow(self.host, copy, None)
                .context(|| format!("cannot grow the clone's {fs}"))?;
        }
        self.host.check_cancelled()?;
        Ok(Copied::Finished)
    }
}
