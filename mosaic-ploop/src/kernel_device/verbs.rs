// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the driver's verbs do with a disk that the kernel's ploop shows, or is to show.

use mosaic_core::loopdev::PASSING;
use mosaic_core::volume::{Attachment, MountSource};
use mosaic_core::{Context, Error, ErrorKind, Result};
use rustix::fs::{Mode, OFlags};

use super::others::open_target;
use super::{KERNEL_IN_USE, KernelDevice, attach, find, fit, tool};
use crate::attach::put_in_order;
use crate::attachment::VolumeId;
use crate::capabilities::has_reflink;
use crate::config::Device;
use crate::driver::Ploop;
use crate::format::guid::Guid;
use crate::format::header::Mark;
use crate::volume_dir::VolumeDir;

/// Whether the kernel has the target now, and what is missing to use it.
pub fn support() -> (bool, Option<&'static str>) {
    let has_target = open_target().is_some();
    let missing = match (has_target, tool::is_there()) {
        (false, _) => Some("this kernel has no target \"ploop\", or it is not loaded"),
        (true, false) => Some("the program \"ploop\" is not installed"),
        (true, true) => None,
    };
    (has_target, missing)
}

impl Ploop {
    /// The kernel's device that shows a volume, if we had it made.
    pub(crate) fn kernel_device(&self, dir: &VolumeDir) -> Result<Option<KernelDevice>> {
        find(VolumeId::of(dir)?)
    }

    /// Has the kernel's ploop show a disk, where there is one and the disk is for it. `None`: it is a
    /// block server's. Where the tool fails a server has to do, with a warning, unless the config
    /// says otherwise.
    ///
    /// Steps: claim the disk and let it go, which proves that nobody has it; then as [`attach`].
    pub(crate) fn attach_by_kernel(
        &self,
        dir: &VolumeDir,
        read_only: bool,
    ) -> Result<Option<Attachment>> {
        let missing = match self.options.device {
            Device::Server => return Ok(None),
            Device::Auto => support().1,
            // The target's module is loaded with the first table.
            Device::Kernel => None,
        };
        let is_wanted = self.options.device == Device::Kernel;
        if let Some(missing) = missing {
            self.host.debug(&format!("by a block server: {missing}"));
            return Ok(None);
        }
        let claim = match read_only {
            true => self.look(dir, PASSING).map(|_| None)?,
            false => self.claim(dir).map(Some)?,
        };
        put_in_order(dir, claim.as_ref())?;
        let reason = fit::reason_against(dir)?;
        let partition = self.table_of(dir)?.map(|table| table.partition());
        // The tool takes the same locks.
        drop(claim);
        let refused = match reason {
            Some(reason) => Error::new(ErrorKind::Unsupported, reason),
            None => match attach(&self.host, dir, read_only, partition) {
                Ok(device) => return device.attachment().map(Some),
                Err(error) => error,
            },
        };
        let line = "the kernel's ploop cannot show it";
        if is_wanted || refused.kind() == ErrorKind::Interrupted {
            return Err(refused.context(line));
        }
        if refused.kind() == ErrorKind::Unsupported {
            self.host
                .debug(&format!("by a block server: {}", refused.chain()));
        } else {
            let why = refused.chain();
            self.host
                .warn(&format!("{line}, a block server does: {why}"));
        }
        Ok(None)
    }

    /// Takes the kernel's device of a volume away; `false`: there is none.
    pub(crate) fn detach_from_kernel(&self, dir: &VolumeDir) -> Result<bool> {
        match self.kernel_device(dir)? {
            None => Ok(false),
            Some(device) => device.detach(&self.host, dir).map(|()| true),
        }
    }

    /// The kernel's device of a volume for a mount, kept by a descriptor; `None`: there is none.
    pub(crate) fn mount_from_kernel(
        &self,
        dir: &VolumeDir,
        read_only: bool,
    ) -> Result<Option<MountSource>> {
        let Some(device) = self.kernel_device(dir)? else {
            return Ok(None);
        };
        let path = device.path()?;
        if device.read_only && !read_only {
            return Err(device.in_use().context("it is attached read-only"));
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&path, flags, Mode::empty());
        let handle = opened.context(|| format!("cannot open {path:?}"))?;
        // Open it stays; before, it may have gone, and another have come by its number.
        if self.kernel_device(dir)?.as_ref() != Some(&device) {
            return Err(Error::new(ErrorKind::Busy, "it has just been detached"));
        }
        mosaic_core::loopdev::refuse_shared_use(&self.host, &path)?;
        Ok(Some(MountSource::Device { path, handle }))
    }

    /// Freezes what a volume that the kernel shows holds now, as a snapshot of that name, without
    /// losing a write: the tool holds the device up for the moment (ploop(8), `snapshot`). What it made
    /// stays, with the same data, if that turns out not to be fit for a clone.
    pub(crate) fn freeze_in_kernel(
        &self,
        device: &KernelDevice,
        dir: &VolumeDir,
        guid: Guid,
    ) -> Result<Guid> {
        if device.read_only {
            let why = "it is attached read-only by the kernel's ploop, which cannot freeze it then; \
                       detach it first";
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        if fit::has_temporary(&dir.disk()?) {
            // The tool would merge them, and knows nothing of files that two disks have.
            let why = "the kernel's ploop shows it, and it has snapshots that wait to be merged; \
                       detach it first";
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        if !has_reflink(dir) {
            // What shows the clone would keep the tool from this disk.
            return Err(Error::new(ErrorKind::Unsupported, KERNEL_IN_USE));
        }
        let descriptor = fit::descriptor_of_root(dir)?;
        fit::await_locks(&self.host, dir)?;
        tool::snapshot(&self.host, guid, &descriptor)?;
        let disk = dir.disk()?;
        let descriptor = disk.descriptor();
        if descriptor.shot(guid).is_none() || descriptor.top() == guid {
            let why = "ploop says that it is done, but the disk has no such snapshot";
            return Err(Error::new(ErrorKind::Io, why));
        }
        // All beneath the new top have to be closed.
        let marks = fit::marks(&disk)?;
        if marks.iter().rev().skip(1).any(|mark| *mark == Mark::InUse) {
            let why = "the ploop tool has left what it froze marked as in use; detach it first";
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        Ok(guid)
    }
}
