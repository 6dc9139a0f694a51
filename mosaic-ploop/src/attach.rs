// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attach, detach, and the device that a mount gets.
//!
//! What stays and what goes is the kernel's to know: a device for a mount has autoclear set, an
//! explicit one has not. There is no other record.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mosaic_core::busy;
use mosaic_core::loopdev::{LoopDevice, PASSING, PATIENCE, refuse_shared_use};
use mosaic_core::volume::{Attachment, Kind, Lifetime, MountSource};
use mosaic_core::{Context, Error, ErrorKind, Host, Place, Result, VolumeName, label};

use rustix::io::Errno;

use crate::attachment::{self, Attached, How, attached_at};
use crate::claim::Claim;
use crate::driver::Ploop;
use crate::files::DiskFolder;
use crate::format::disk::Disk;
use crate::gpt::Table;
use crate::info::others_attachment;
use crate::kernel_device::Showers;
use crate::look::Look;
use crate::partition;
use crate::volume_dir::VolumeDir;

/// How the end of a server is waited for.
type AwaitClosed = fn(&Host, &attachment::Place<'_>) -> Result<bool>;

/// A volume that may be attached: its folder, and where its server is called.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    dir: &'a VolumeDir,
    private: PathBuf,
}

impl Shown<'_> {
    pub(crate) fn place(&self) -> attachment::Place<'_> {
        attachment::Place {
            folder: std::os::fd::AsFd::as_fd(self.dir),
            private: &self.private,
        }
    }

    /// The device that shows it.
    pub(crate) fn find(&self) -> Result<Option<Attached>> {
        attachment::find(&self.place())
    }
}

/// Ends what was interrupted on a disk that is to be shown: from then on what is written to it hides
/// how far that had come. Who only reads would see old data.
pub(crate) fn put_in_order(dir: &VolumeDir, claim: Option<&Claim>) -> Result<()> {
    let mut disk = dir.disk()?;
    match claim {
        Some(_) if disk.is_interrupted()? => Ok(disk.settle()?),
        _ => Ok(disk.refuse_older()?),
    }
}

impl Ploop {
    /// A volume's folder as an attachment has it.
    pub(crate) fn shown<'a>(&self, dir: &'a VolumeDir) -> Shown<'a> {
        let private = self.location.path().join(mosaic_core::scratch::PRIVATE_DIR);
        Shown { dir, private }
    }

    /// Proof that nobody uses a volume's disk. A server whose device has just gone is waited for.
    pub(crate) fn claim(&self, dir: &VolumeDir) -> Result<Claim> {
        self.refuse_attached(dir, attachment::await_closed)?;
        Claim::take(dir, &self.host)
    }

    /// The disk of a volume that is claimed, with what killed operations left of it put in order.
    pub(crate) fn settled(&self, dir: &VolumeDir, _: &Claim) -> Result<Disk<DiskFolder>> {
        let mut disk = dir.disk()?;
        disk.settle()?;
        Ok(disk)
    }

    /// Proof that nobody writes to a volume's disk, for who only reads it. Locks on its images are
    /// waited for as long as `patience`: a server that only reads may have had no socket at which its
    /// end could be awaited.
    pub(crate) fn look(&self, dir: &VolumeDir, patience: Duration) -> Result<Look> {
        self.refuse_attached(dir, attachment::look_closed)?;
        Look::take(dir, &self.host, patience)
    }

    fn refuse_attached(&self, dir: &VolumeDir, await_closed: AwaitClosed) -> Result<()> {
        if let Some(device) = self.kernel_device(dir)? {
            return Err(device.in_use());
        }
        let shown = self.shown(dir);
        let start = Instant::now();
        loop {
            while let Some(attached) = shown.find()? {
                // One for a mount goes after the last mount, a moment later, when udev has looked at it.
                let is_leaving =
                    attached.autoclear && busy::mounts_of_device(&device_of(&attached))?.is_empty();
                if !is_leaving || start.elapsed() > PATIENCE {
                    return Err(attached_at(&attached));
                }
                self.host.check_cancelled()?;
                std::thread::sleep(Duration::from_millis(2));
            }
            if await_closed(&self.host, &shown.place())? {
                return Ok(());
            }
        }
    }

    /// Steps: claim the disk and let it go, which proves that nobody has it; find the partition; start
    /// a server, which locks the images; **commit**: one LOOP_CONFIGURE. Killed before the commit the
    /// server ends by itself, after it the disk is attached.
    pub(crate) fn attach_disk(&self, name: &VolumeName, read_only: bool) -> Result<Attachment> {
        let dir = VolumeDir::require(&self.location, name)?;
        if let Some(attachment) = self.attach_by_kernel(&dir, read_only)? {
            return Ok(attachment);
        }
        let device = self.bind(&dir, read_only, Lifetime::Explicit)?;
        let number = device.number();
        Ok(mosaic_core::loopdev::attachment(
            number, read_only, false, false,
        ))
    }

    pub(crate) fn bind(
        &self,
        dir: &VolumeDir,
        read_only: bool,
        lifetime: Lifetime,
    ) -> Result<LoopDevice> {
        // The socket of the server is there; one that only reads can do without.
        match self.location.private_folder(Place::Tmp) {
            Err(error) if read_only && error.errno() == Some(Errno::ROFS.raw_os_error()) => {}
            made => drop(made?),
        }
        let claim = match read_only {
            true => self.look(dir, PASSING).map(|_| None)?,
            false => self.claim(dir).map(Some)?,
        };
        put_in_order(dir, claim.as_ref())?;
        let how = How {
            read_only,
            lifetime,
            partition: self.table_of(dir)?.map(|table| table.partition().at),
        };
        drop(claim);
        attachment::attach(&self.host, &self.shown(dir).place(), &how)
    }

    /// The partition table of a volume whose file system is on a partition: disks of `ploop init` have
    /// it on the first. A disk is shown whole, whatever its user has put there.
    pub(crate) fn table_of(&self, dir: &VolumeDir) -> Result<Option<Table>> {
        if label::kind(dir, self.options.default_fs.name())? == Kind::Disk {
            return Ok(None);
        }
        let glance = dir.disk()?.glance()?;
        partition::find_by(glance.size(), |buffer, at| glance.read(buffer, at))
    }

    /// Steps: find the volume's device and open it, which keeps it, and prove that it shows the
    /// volume; or attach it so that it goes with its last opener. Killed at any point the kernel
    /// takes a device away that nothing is mounted from, and its server ends.
    pub(crate) fn mount_disk(&self, name: &VolumeName, read_only: bool) -> Result<MountSource> {
        let dir = VolumeDir::require(&self.location, name)?;
        // The kind has to be certain before the kernel is let loose on the content.
        if label::kind(&dir, self.options.default_fs.name())? == Kind::Disk {
            let why = "it is a disk, whose content is its user's";
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        let shown = self.shown(&dir);
        let start = Instant::now();
        while let Some(attached) = shown.find()? {
            if let Some(device) = attached.open_same(rustix::fs::OFlags::empty())? {
                return self.share(&attached, device, read_only);
            }
            if start.elapsed() > PATIENCE {
                return Err(attached_at(&attached));
            }
            self.host.check_cancelled()?;
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Some(source) = self.mount_from_kernel(&dir, read_only)? {
            return Ok(source);
        }
        Ok(self.bind(&dir, read_only, Lifetime::Mount)?.into_source())
    }

    /// A device that is there already: another mount's, which any number of mounts can share, or an
    /// explicitly attached one that nobody else works on.
    fn share(
        &self,
        attached: &Attached,
        device: LoopDevice,
        read_only: bool,
    ) -> Result<MountSource> {
        if attached.read_only && !read_only {
            return Err(attached_at(attached).context("it is attached read-only"));
        }
        // Autoclear alone proves nothing: a killed call's resize2fs may still work on it.
        let mounted = !busy::mounts_of_device(&device.path())?.is_empty();
        if !attached.autoclear || !mounted {
            refuse_shared_use(&self.host, &device.path())?;
        }
        Ok(device.into_source())
    }

    /// As [`Attached::detach`].
    pub(crate) fn detach_disk(&self, name: &VolumeName) -> Result<()> {
        let dir = VolumeDir::require(&self.location, name)?;
        let shown = self.shown(&dir);
        let Some(attached) = shown.find()? else {
            if self.detach_from_kernel(&dir)? {
                return Ok(());
            }
            if let Some(theirs) = others_attachment(&dir, &Showers::look()) {
                let device = theirs.device.display();
                let why = format!("in use: {device} of the kernel's ploop shows it");
                let who = "another program attached it; `ploop umount` takes it away";
                return Err(Error::new(ErrorKind::Busy, why).context(who));
            }
            let why = format!("volume \"{name}\" is not attached");
            return Err(Error::new(ErrorKind::NotFound, why));
        };
        attached.detach(&self.host, &shown.place())
    }

    /// Runs `step` with a device of an idle disk that goes with us, and returns when it is gone.
    pub(crate) fn with_device(
        &self,
        dir: &VolumeDir,
        step: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let device = self.bind(dir, false, Lifetime::Mount)?;
        let done = step(&device.path());
        let synced = rustix::fs::fsync(&device);
        let synced = synced.context(|| format!("cannot write {:?} to disk", device.path()));
        drop(device);
        // udev may still look at it.
        let gone = self
            .refuse_attached(dir, attachment::await_closed)
            .and_then(|()| attachment::was_closed(&self.shown(dir).place()));
        match (done.and(synced), gone) {
            (Err(error), Err(left)) => Err(error.with_failed_undo(&left)),
            (done, gone) => done.and(gone),
        }
    }
}

pub(crate) fn device_of(attached: &Attached) -> PathBuf {
    mosaic_core::loopdev::path(attached.number)
}
