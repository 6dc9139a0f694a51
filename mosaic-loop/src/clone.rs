// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clones: one instant of an image by `FICLONE`, finished while it has no name.
//!
//! `FICLONE` is one instant of the file, also while a loop device writes to it. What a mounted file
//! system has not written yet is flushed by syncfs(2) before; nothing is frozen, since a freezer that
//! dies leaves everybody hanging. What such a clone holds is what a power cut would leave, after
//! everything that was written before the command; its journal is replayed on the way to a UUID of
//! its own.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use mosaic_core::busy;
use mosaic_core::command::fd_path;
use mosaic_core::fs::FsType;
use mosaic_core::label;
use mosaic_core::loopdev::{self, Binding, Identity, LoopDevice, Release};
use mosaic_core::mounts::directory_on_device;
use mosaic_core::reflink;
use mosaic_core::volume::{CloneOptions, Lifetime};
use mosaic_core::{Bytes, Context, Error, ErrorKind, Result, VolumeName};
use rustix::fs::{self, OFlags};
use rustix::io::Errno;

use crate::attachment::{self, BoundDevices};
use crate::claim;
use crate::create::label_of;
use crate::driver::Loop;
use crate::image::Image;
use crate::support;
use crate::unnamed::UnnamedImage;

/// How long copies are taken again that catch a btrfs between an fsync and the next commit.
const CLEAN_COPY: Duration = Duration::from_secs(10);
/// How long the device of an unfinished clone is waited for when udev still looks at it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the source stands when it is copied.
#[derive(Debug)]
enum Source {
    /// Nobody writes to it.
    Idle,
    /// Mounted: a directory in it.
    Mounted(OwnedFd),
    /// Somebody writes to it who cannot be asked to flush; this says who.
    Live(String),
}

impl Loop {
    /// Steps: find where the source is mounted; make an image without a name; syncfs, FICLONE; a
    /// new UUID and growth, where needed on a device that goes with us; label; **commit**:
    /// [`UnnamedImage::publish`]. Killed before that nothing is left, after it the clone is there. The
    /// source is never changed.
    pub(crate) fn clone_image(
        &self,
        from: &VolumeName,
        to: &VolumeName,
        how: &CloneOptions,
    ) -> Result<()> {
        let image = Image::require(&self.location, from)?;
        let fs = self.file_system(&self.kind_of(&image)?)?;
        if let Some(refusal) = fs.as_ref().and_then(|fs| fs.can_renew_uuid().err()) {
            return Err(Error::new(ErrorKind::Unsupported, refusal));
        }
        let clone = UnnamedImage::new(&self.location)?;
        label::set_kind(&clone, &label_of(fs.as_ref()))?;
        label::set_name(&clone, to)?;
        self.copy(&image, fs.as_ref(), &clone)?;
        let path = self.path_of(to);
        if let Some(fs) = &fs {
            self.renew_uuid(fs, &clone, &path)?;
        }
        if let Some(size) = how.size.filter(|size| *size > image.size()) {
            self.grow_clone(fs.as_ref(), &clone, &path, size)?;
        }
        self.host.check_cancelled()?;
        self.publish(clone, to)
    }

    fn copy(&self, image: &Image, fs: Option<&FsType>, clone: &UnnamedImage) -> Result<()> {
        let file = claim::open_sharing(image, &self.host, OFlags::RDONLY)?;
        let source = self.source(image, &file)?;
        if let Source::Live(who) = &source {
            self.host.warn(&format!(
                "volume \"{}\" is {who}: the clone holds what a power cut at this instant would leave",
                image.name()
            ));
        }
        let alike = reflink::write_alike(&file, clone);
        alike.context(|| "cannot copy the image's attributes".to_owned())?;
        let start = Instant::now();
        loop {
            self.host.check_cancelled()?;
            if let Source::Mounted(dir) = &source {
                self.host
                    .debug(&format!("syncfs of volume \"{}\"", image.name()));
                fs::syncfs(dir).context(|| format!("cannot sync volume \"{}\"", image.name()))?;
            }
            self.host.debug(&format!("FICLONE {:?}", image.path()));
            fs::ioctl_ficlone(clone, &file).map_err(|errno| self.not_cloned(errno))?;
            match fs {
                Some(fs) if !fs.clone_is_clean(clone.as_fd())? => {}
                _ => return Ok(()),
            }
            if matches!(source, Source::Idle) || start.elapsed() > CLEAN_COPY {
                break;
            }
        }
        Err(Error::new(
            ErrorKind::Busy,
            "each copy caught the file system between an fsync and its commit; \
             try again when it is written to less, or mount and umount it once if it is idle",
        ))
    }

    fn not_cloned(&self, errno: Errno) -> Error {
        let error = Error::io(errno, support::no_reflink(&self.location, errno));
        match reflink::is_missing(errno) {
            true => Error::new(ErrorKind::Unsupported, error.to_string()),
            false => Error::io(errno, "cannot share the image's blocks"),
        }
    }

    /// Who writes to the source, and whether it can be flushed.
    fn source(&self, image: &Image, file: &OwnedFd) -> Result<Source> {
        let query = image.open_for_query();
        let query = query.context(|| format!("cannot open {:?}", image.path()))?;
        let attached = match attachment::find_ours(&query, image)? {
            Some(attached) => Some(attached),
            None => BoundDevices::default().find(image.identity(), image.leaf()),
        };
        if let Some(attached) = attached {
            let device = loopdev::path(attached.number);
            return Ok(match directory_on_device(&device)? {
                Some(dir) => Source::Mounted(dir),
                None if attached.read_only => Source::Idle,
                None => Source::Live(format!(
                    "attached at {} and not mounted here",
                    device.display()
                )),
            });
        }
        if busy::is_open_for_writing(file.as_fd())? != Some(true) {
            return Ok(Source::Idle);
        }
        let uses = busy::openers_of_file(file.as_fd())?;
        Ok(Source::Live(uses.describe()))
    }

    fn renew_uuid(&self, fs: &FsType, clone: &UnnamedImage, path: &Path) -> Result<()> {
        let renewed = if fs.renewal_needs_device() {
            self.with_device(clone, path, |device| fs.renew_uuid(&self.host, device))
        } else {
            fs.renew_uuid(&self.host, &fd_path(clone.as_fd()))
        };
        renewed.context(|| format!("cannot give the clone's {fs} a UUID of its own"))
    }

    fn grow_clone(
        &self,
        fs: Option<&FsType>,
        clone: &UnnamedImage,
        path: &Path,
        size: Bytes,
    ) -> Result<()> {
        clone.set_size(size)?;
        let Some(fs) = fs else {
            return Ok(());
        };
        let grown = if fs.growth_needs_device() {
            self.with_device(clone, path, |device| fs.grow(&self.host, device, None))
        } else {
            fs.grow(&self.host, &fd_path(clone.as_fd()), None)
        };
        grown.context(|| format!("cannot grow the clone's {fs} to {size}"))
    }

    /// Runs `step` with a loop device on the clone that goes with us, and returns when it is gone.
    fn with_device(
        &self,
        clone: &UnnamedImage,
        path: &Path,
        step: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let file = clone.reopen()?;
        let how = Binding {
            read_only: false,
            lifetime: Lifetime::Mount,
            path,
            window: None,
        };
        let device = LoopDevice::bind(file.as_fd(), &how)?;
        self.host.debug(&format!(
            "LOOP_CONFIGURE {:?} on the clone, for a moment",
            device.path()
        ));
        drop(file);
        let done = step(&device.path());
        match (done, self.release(device, clone)) {
            (Err(error), Err(left)) => Err(error.with_failed_undo(&left)),
            (done, released) => done.and(released),
        }
    }

    /// It has autoclear, so it goes with its last opener; that may be udev, for a moment.
    fn release(&self, device: LoopDevice, clone: &UnnamedImage) -> Result<()> {
        let number = device.number();
        let identity = Identity::of(clone).context(|| "cannot stat the clone".into())?;
        let released = device.release()?;
        drop(device);
        if released == Release::Gone {
            return Ok(());
        }
        let start = Instant::now();
        while still_shows(number, identity)? {
            if start.elapsed() > PATIENCE {
                let path = loopdev::path(number);
                let uses = busy::openers_of_device(&path)?;
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("{}, on the clone, is {}", path.display(), uses.describe()),
                ));
            }
            self.host.check_cancelled()?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

fn still_shows(number: u32, identity: Identity) -> Result<bool> {
    match LoopDevice::open(number, OFlags::RDONLY) {
        Ok(device) => Ok(device.status()?.is_some_and(|s| s.backing == identity)),
        Err(_) => Ok(false),
    }
}
