// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be done here and with one volume, and for the rest why not.

use mosaic_core::fs::FsType;
use mosaic_core::loopdev::open_control;
use mosaic_core::volume::{Capability, Kind, capability};
use mosaic_core::{ErrorKind, Result, VolumeName};
use rustix::fs::StatVfsMountFlags;

use crate::driver::Loop;
use crate::image::Image;
use crate::support;

/// One answer from a reason or none.
fn answer(name: &str, refusal: Option<String>) -> Capability {
    match refusal {
        None => Capability::yes(name),
        Some(reason) => Capability::no(name, reason),
    }
}

impl Loop {
    /// For the location, or for one volume in it.
    pub(crate) fn abilities(&self, volume: Option<&VolumeName>) -> Result<Vec<Capability>> {
        let create = self.support.refusal_to_create(&self.location);
        let write = self.refusal_to_write();
        let mut clone = create
            .clone()
            .or_else(|| self.support.refusal_to_clone(&self.location));
        let device = no_loop_devices();
        let (mut grow, mut shrink) = (write.clone(), write.clone());
        if let Some(name) = volume {
            let image = Image::require(&self.location, name)?;
            let refusals = match self
                .kind_of(&image)
                .and_then(|kind| self.file_system(&kind))
            {
                // What it holds is not known, so nothing is done to it.
                Err(error) => [(); 3].map(|()| Some(error.chain())),
                Ok(None) => [const { None }; 3],
                Ok(Some(fs)) => [
                    refusal_to_renew(&fs, device.as_deref()),
                    fs.can_grow().err(),
                    fs.can_shrink().err(),
                ],
            };
            let [of_clone, of_growth, of_shrinking] = refusals;
            clone = clone.or(of_clone);
            grow = grow.or(of_growth);
            shrink = shrink.or(of_shrinking);
        }
        Ok(vec![
            answer(capability::CLONE, clone),
            answer(capability::BDEV, device),
            answer(capability::VOLSIZE, None),
            answer(capability::FS, create.clone()),
            answer(capability::DISK, create),
            answer(capability::GROW, grow),
            answer(capability::SHRINK, shrink),
            answer(capability::RENAME, write),
        ])
    }

    /// The file system of a volume of this kind; `None`: a disk's is its user's.
    pub(crate) fn file_system(&self, kind: &Kind) -> Result<Option<FsType>> {
        match kind {
            Kind::Disk => Ok(None),
            Kind::Fs { fs: Some(fs), .. } => FsType::parse(fs).map(Some),
            Kind::Fs { fs: None, .. } => Ok(Some(self.default_fs.clone())),
        }
    }

    fn refusal_to_write(&self) -> Option<String> {
        let stat = rustix::fs::fstatvfs(self.location.dir()).ok()?;
        stat.f_flag
            .contains(StatVfsMountFlags::RDONLY)
            .then(|| format!("{} is mounted read-only", support::place(&self.location)))
    }
}

/// Why a clone of this file system could not be given a UUID of its own.
fn refusal_to_renew(fs: &FsType, no_device: Option<&str>) -> Option<String> {
    let no_device = no_device.filter(|_| fs.renewal_needs_device());
    let no_device = no_device.map(|why| format!("a clone of {fs} needs a loop device: {why}"));
    fs.can_renew_uuid().err().or(no_device)
}

/// Why there can be no block device. That this user may not have one is no answer: what can be done
/// here is the storage's and the kernel's.
fn no_loop_devices() -> Option<String> {
    let refusal = open_control().err()?;
    (refusal.kind() != ErrorKind::Permission).then(|| refusal.chain())
}
