// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clones: a snapshot in the source, whose files the clone shares, and a top of its own upon them.
//!
//! Where the location has reflink, the shared files are copies that share blocks, else they are the
//! same files by another name. Those are never written from then on by either disk: whatever
//! changes a file looks at its number of names.

use std::os::fd::AsFd;

use mosaic_core::label;
use mosaic_core::volume::CloneOptions;
use mosaic_core::{Context, Error, ErrorKind, Result, VolumeName};
use rustix::fs::{self, AtFlags, IFlags};
use rustix::io::Errno;

use crate::create::{label_of, whole};
use crate::driver::Ploop;
use crate::files::{DiskFile, DiskFolder};
use crate::format::guid::Guid;
use crate::format::storage::{Access, Folder, ImageFile as _};
use crate::volume_dir::VolumeDir;

impl Ploop {
    /// Steps: claim the source; make a snapshot in it, or take the one beneath a top that has nothing
    /// (one rename of its descriptor); make a folder in `.mosaic/tmp`, label it; share the files of
    /// the snapshot; let the source go; make the clone's top and descriptor; a new size, fsync;
    /// **commit**: one rename that replaces nothing. Killed before that the source has perhaps one
    /// snapshot more, with the same data, and a folder is left that the next sweep deletes; after it
    /// the clone is there.
    pub(crate) fn clone_disk(
        &self,
        from: &VolumeName,
        to: &VolumeName,
        how: &CloneOptions,
    ) -> Result<()> {
        let source = VolumeDir::require(&self.location, from)?;
        let fs = self.file_system(&source)?;
        let claim = self.claim(&source)?;
        let mut disk = source.disk()?;
        let size = how
            .size
            .map(|size| whole(size, disk.descriptor().cluster()));
        let size = size.transpose()?;
        let random = disk.folder().random();
        let random = random.context(|| "no random numbers".to_owned())?;
        let shot = disk.freeze(Guid::from_random(random))?;
        self.host
            .debug(&format!("share {shot} of {:?}", source.path()));
        let branch = disk.branch(shot)?;
        self.build(to, &how.scratch, |dir| {
            label::set_kind(dir, &label_of(fs.as_ref()))?;
            label::set_name(dir, to)?;
            let folder = dir.folder()?;
            for (here, there) in &branch.files {
                self.host.check_cancelled()?;
                share(disk.folder(), here, &folder, there)?;
            }
            drop(claim);
            let mut clone = branch.create(folder)?;
            if let Some(size) = size.filter(|size| *size > clone.descriptor().size()) {
                clone.grow(size)?;
            }
            Ok(())
        })
    }
}

/// Gives another disk a file of this one.
fn share(from: &DiskFolder, here: &str, to: &DiskFolder, there: &str) -> Result<()> {
    let file = from.open(here, Access::Read);
    let file = file.context(|| format!("cannot open {here:?}"))?;
    let failed = || format!("cannot share {here:?}");
    // What its writer did not wait for, if that was another program.
    file.flush().context(failed)?;
    if reflink(&file, to, there).context(failed)? {
        return Ok(());
    }
    let link = fs::linkat(from, here, to, there, AtFlags::empty());
    link.map_err(|errno| match errno {
        Errno::PERM | Errno::OPNOTSUPP => Error::new(
            ErrorKind::Unsupported,
            format!(
                "the location's file system has neither reflink nor hard links, \
                 or does not let this user link {here:?}"
            ),
        ),
        Errno::MLINK => Error::new(
            ErrorKind::Unsupported,
            format!("{here:?} has as many names as a file can have; clone a clone"),
        ),
        _ => Error::io(errno, failed()),
    })
}

/// Makes a copy that shares the file's blocks; `false` where that is not possible, and nothing is
/// there then.
fn reflink(file: &DiskFile, to: &DiskFolder, there: &str) -> std::io::Result<bool> {
    let copy = to.create(there, false)?;
    share_flags(file, &copy);
    match fs::ioctl_ficlone(&copy, file) {
        Ok(()) => copy.flush().map(|()| true),
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY | Errno::NOSYS | Errno::XDEV) => {
            to.remove(there).map(|()| false)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// A copy shares blocks only with a file that is written the same way (btrfs: both NOCOW or none);
/// the flag can be set while the file is empty. Where there are no such flags there is no need.
fn share_flags(from: impl AsFd, copy: impl AsFd) {
    let flags = (fs::ioctl_getflags(from), fs::ioctl_getflags(&copy));
    if let (Ok(theirs), Ok(own)) = flags
        && theirs.contains(IFlags::NOCOW)
    {
        // If it cannot be set, the file is shared by its name.
        let _ = fs::ioctl_setflags(copy, own | IFlags::NOCOW);
    }
}
