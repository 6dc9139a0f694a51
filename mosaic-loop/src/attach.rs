// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attach, detach, and the device that a mount gets.
//!
//! What stays and what goes is the kernel's to know: a device for a mount has autoclear set, an
//! explicit one has not. There is no other record.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use mosaic_core::busy;
use mosaic_core::loopdev::{
    self, Binding, LoopDevice, PASSING, PATIENCE, Release, cannot_open, refuse_shared_use,
};
use mosaic_core::volume::{Attachment, Kind, Lifetime, MountSource};
use mosaic_core::{Context, Error, ErrorKind, Result, VolumeName};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::attachment::{self, Attached};
use crate::claim;
use crate::driver::Loop;
use crate::image::Image;

impl Loop {
    /// Steps: open the image by its name, take a lease and give it back, which proves that nobody
    /// else has the image open; **commit**: one LOOP_CONFIGURE. Killed before the commit nothing is
    /// left, after it the device is attached.
    ///
    /// Two that do this at once both have the image open, so that neither is granted a lease before
    /// the other has given up or is attached.
    pub(crate) fn attach_image(&self, name: &VolumeName, read_only: bool) -> Result<Attachment> {
        let image = Image::require(&self.location, name)?;
        let device = self.bind(&image, read_only, Lifetime::Explicit)?;
        Ok(loopdev::attachment(
            device.number(),
            read_only,
            false,
            false,
        ))
    }

    fn bind(&self, image: &Image, read_only: bool, lifetime: Lifetime) -> Result<LoopDevice> {
        let access = if read_only {
            OFlags::RDONLY
        } else {
            OFlags::RDWR
        };
        let how = Binding {
            read_only,
            lifetime,
            path: image.path(),
            window: None,
        };
        let file = claim::open_alone(image, &self.host, access)?;
        let device = LoopDevice::bind(file.as_fd(), &how)?;
        let io = match device.is_direct() {
            Some(true) => "direct I/O",
            Some(false) => "the page cache: direct I/O does not work with 512-byte blocks here",
            None => "unknown I/O",
        };
        self.host.debug(&format!(
            "LOOP_CONFIGURE {:?} on {:?}, by {io}",
            device.path(),
            image.path()
        ));
        Ok(device)
    }

    /// Steps: find the volume's device and open it, which keeps it, and prove that it shows the
    /// volume; or take a lease and bind a free one (LOOP_CONFIGURE with autoclear). Killed at any
    /// point the kernel takes a device away that nothing is mounted from.
    pub(crate) fn mount_device(&self, name: &VolumeName, read_only: bool) -> Result<MountSource> {
        let image = Image::require(&self.location, name)?;
        self.refuse_unmountable(&image)?;
        let start = Instant::now();
        loop {
            let query = image.open_for_query();
            let query = query.context(|| format!("cannot open {:?}", image.path()))?;
            let Some(attached) = attachment::find_ours(&query, &image)? else {
                break;
            };
            if let Some(device) = open_same(&image, attached)? {
                return self.share(attached, device, read_only);
            }
            if start.elapsed() > PATIENCE {
                return Err(claim::attached_at(attached));
            }
            self.host.check_cancelled()?;
            std::thread::sleep(Duration::from_millis(2));
        }
        let device = self.bind(&image, read_only, Lifetime::Mount)?;
        Ok(device.into_source())
    }

    /// The kind has to be certain before the kernel is let loose on the content.
    fn refuse_unmountable(&self, image: &Image) -> Result<()> {
        match self.kind_of(image)? {
            Kind::Disk => Err(Error::new(
                ErrorKind::Invalid,
                "it is a disk, whose content is its user's",
            )),
            Kind::Fs { .. } => Ok(()),
        }
    }

    /// A device that is there already: another mount's, which any number of mounts can share, or an
    /// explicitly attached one that nobody else works on.
    fn share(
        &self,
        attached: Attached,
        device: LoopDevice,
        read_only: bool,
    ) -> Result<MountSource> {
        if attached.read_only && !read_only {
            return Err(claim::attached_at(attached).context("it is attached read-only"));
        }
        // Autoclear alone proves nothing: it is also what losetup -d leaves on a device that a
        // virtual machine has open, and what a killed call's resize2fs still works on.
        let mounted = !busy::mounts_of_device(&device.path())?.is_empty();
        if !attached.autoclear || !mounted {
            refuse_shared_use(&self.host, &device.path())?;
        }
        Ok(device.into_source())
    }

    /// Steps: open the device so that the kernel refuses if it is mounted or claimed, prove that it
    /// shows the volume; **commit**: LOOP_CLR_FD by the only opener. Killed before that it is
    /// attached as before; killed while another opener holds it up it goes with that one.
    pub(crate) fn detach_image(&self, name: &VolumeName) -> Result<()> {
        let image = Image::require(&self.location, name)?;
        let start = Instant::now();
        loop {
            let attached = self.explicit_attachment(&image)?;
            match LoopDevice::open_best(attached.number, OFlags::EXCL) {
                Ok(device) if !shows(&device, &image)? => return Err(not_attached(name)),
                Ok(device) => {
                    self.host.debug(&format!("LOOP_CLR_FD {:?}", device.path()));
                    if device.release()? == Release::Gone {
                        return Ok(());
                    }
                }
                Err(Errno::BUSY) => refuse_mounted(attached)?,
                Err(errno) => return Err(cannot_open(attached.number, errno)),
            }
            if start.elapsed() > PASSING {
                return Err(claim::attached_at(attached));
            }
            self.host.check_cancelled()?;
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The device of an earlier `attach`.
    fn explicit_attachment(&self, image: &Image) -> Result<Attached> {
        let query = image.open_for_query();
        let query = query.context(|| format!("cannot open {:?}", image.path()))?;
        let found = match attachment::find_ours(&query, image)? {
            Some(attached) => Some(attached),
            None => attachment::find_by_asking_all(image)?,
        };
        match found {
            None => Err(not_attached(image.name())),
            Some(attached) if attached.foreign => Err(claim::attached_at(attached)),
            Some(attached) if attached.autoclear => {
                Err(claim::attached_at(attached).context("it is there for a mount; umount ends it"))
            }
            Some(attached) => Ok(attached),
        }
    }
}

/// Opens the device of an attachment if it still shows the image; then it stays while it is open.
pub(crate) fn open_same(image: &Image, attached: Attached) -> Result<Option<LoopDevice>> {
    let device = match LoopDevice::open_best(attached.number, OFlags::empty()) {
        Err(Errno::NXIO | Errno::NODEV) => return Ok(None),
        Err(errno) => return Err(cannot_open(attached.number, errno)),
        Ok(device) => device,
    };
    Ok(shows(&device, image)?.then_some(device))
}

fn shows(device: &LoopDevice, image: &Image) -> Result<bool> {
    let status = device.status()?;
    Ok(status.is_some_and(|status| status.backing == image.identity()))
}

fn not_attached(name: &VolumeName) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("volume \"{name}\" is not attached"),
    )
}

/// A mount stays; another claim may be gone in a moment.
fn refuse_mounted(attached: Attached) -> Result<()> {
    if busy::mounts_of_device(&loopdev::path(attached.number))?.is_empty() {
        return Ok(());
    }
    Err(claim::attached_at(attached))
}
