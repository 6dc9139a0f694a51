// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be done here and with one volume, and for the rest why not.

use mosaic_core::fs::FsType;
use mosaic_core::label;
use mosaic_core::volume::{Capability, Kind, capability};
use mosaic_core::{ErrorKind, Result, VolumeName, loopdev};
use rustix::fs::{StatVfsMountFlags, ioctl_ficlone};

use crate::clone::RAW_IN_USE;
use crate::create::nameless;
use crate::driver::Ploop;
use crate::format::descriptor::Descriptor;
use crate::fuse::mount::open_device;
use crate::kernel_device::KERNEL_IN_USE;
use crate::volume_dir::VolumeDir;

/// One answer from a reason or none.
fn answer(name: &str, refusal: Option<String>) -> Capability {
    match refusal {
        None => Capability::yes(name),
        Some(reason) => Capability::no(name, reason),
    }
}

impl Ploop {
    /// For the location, or for one volume in it.
    pub(crate) fn abilities(&self, volume: Option<&VolumeName>) -> Result<Vec<Capability>> {
        let write = self.refusal_to_write();
        let device = no_devices();
        let [mut clone, mut grow, mut shrink] = [(); 3].map(|()| write.clone());
        if let Some(name) = volume {
            let dir = VolumeDir::require(&self.location, name)?;
            let refusals = match self.file_system(&dir) {
                // What it holds is not known, so nothing is done to it.
                Err(error) => [(); 3].map(|()| Some(error.chain())),
                Ok(None) => [const { None }; 3],
                Ok(Some(fs)) => [
                    fs.can_renew_uuid().err().or_else(|| device.clone()),
                    fs.can_grow().err(),
                    fs.can_shrink().err(),
                ],
            };
            let [of_clone, of_growth, of_shrinking] = refusals;
            clone = clone.or(of_clone);
            grow = grow.or(of_growth);
            shrink = shrink.or(of_shrinking);
            if let Ok(Some(attached)) = self.shown(&dir).find()
                && attached.is_raw
                && !has_reflink(&dir)
            {
                clone = clone.or_else(|| Some(RAW_IN_USE.to_owned()));
            }
            if let Ok(Some(device)) = self.kernel_device(&dir) {
                if !has_reflink(&dir) {
                    clone = clone.or_else(|| Some(KERNEL_IN_USE.to_owned()));
                }
                let refusal = || Some(device.refusal_to_resize());
                grow = grow.or_else(refusal);
                shrink = shrink.or_else(refusal);
            }
            if let Ok(disk) = dir.disk() {
                shrink = shrink.or(refusal_to_shrink(disk.descriptor()));
            }
            if let Some(refusal) = self.refusal_to_follow(&dir) {
                grow = grow.or_else(|| Some(refusal.clone()));
                shrink = shrink.or(Some(refusal));
            }
        }
        Ok(vec![
            answer(capability::CLONE, clone),
            answer(capability::BDEV, device),
            answer(capability::VOLSIZE, None),
            answer(capability::FS, write.clone()),
            answer(capability::DISK, write.clone()),
            answer(capability::GROW, grow),
            answer(capability::SHRINK, shrink),
            answer(capability::RENAME, write),
        ])
    }

    /// The file system of a volume; `None`: a disk's is its user's.
    ///
    /// # Errors
    /// `Corrupt` if the label is not in the grammar; the kernel's.
    pub(crate) fn file_system(&self, dir: &VolumeDir) -> Result<Option<FsType>> {
        match label::kind(dir, self.options.default_fs.name())? {
            Kind::Disk => Ok(None),
            Kind::Fs { fs: Some(fs), .. } => FsType::parse(&fs).map(Some),
            Kind::Fs { fs: None, .. } => Ok(Some(self.options.default_fs.clone())),
        }
    }

    /// Why the partition of a file system cannot follow its disk.
    fn refusal_to_follow(&self, dir: &VolumeDir) -> Option<String> {
        match self.table_of(dir) {
            Ok(table) => table?.refusal().map(|fault| fault.to_string()),
            Err(error) => Some(error.chain()),
        }
    }

    fn refusal_to_write(&self) -> Option<String> {
        let stat = rustix::fs::fstatvfs(self.location.dir()).ok()?;
        let path = self.location.path();
        stat.f_flag
            .contains(StatVfsMountFlags::RDONLY)
            .then(|| format!("the file system at {path:?} is mounted read-only"))
    }
}

/// Whether files can share blocks here: tried. Who may not try it is not told that they cannot.
pub(crate) fn has_reflink(dir: &VolumeDir) -> bool {
    let pair = nameless(dir).and_then(|one| Ok((one, nameless(dir)?)));
    pair.map_or(true, |(from, to)| ioctl_ficlone(to, from).is_ok())
}

/// Why a disk cannot become smaller.
fn refusal_to_shrink(descriptor: &Descriptor) -> Option<String> {
    let snapshots = descriptor.images().len() - 1;
    (snapshots > 0).then(|| {
        "the disk has snapshots, or shares data with a clone, and those keep their size".to_owned()
    })
}

/// Why there can be no block device. That this user may not have one is no answer: what can be done
/// here is the storage's and the kernel's.
fn no_devices() -> Option<String> {
    let looked = loopdev::open_control().and_then(|_| open_device());
    let refusal = looked.err()?;
    (refusal.kind() != ErrorKind::Permission).then(|| refusal.chain())
}
