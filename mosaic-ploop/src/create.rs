// SPDX-License-Identifier: MIT OR Apache-2.0
//! New volumes.
//!
//! A file system is made by mkfs in a file without a name, and what mkfs wrote is then put on the
//! disk. So a new volume needs no block device and no privilege.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use mosaic_core::command::fd_path;
use mosaic_core::fs::FsType;
use mosaic_core::label;
use mosaic_core::location::{make_in, rename_noreplace};
use mosaic_core::loopdev::Window;
use mosaic_core::volume::{NewKind, NewVolume};
use mosaic_core::{Bytes, Context, Error, ErrorKind, Place, Result, VolumeName, tree};
use rustix::fs::{self, Mode, OFlags};

use crate::blank::{copy_data, write_table};
use crate::config::Partition;
use crate::driver::Ploop;
use crate::format::disk::{Disk, NewDisk};
use crate::format::units::{ClusterSize, Sectors};
use crate::gpt;
use crate::volume_dir::VolumeDir;

/// Name of a new disk's image, as newer tools have it.
pub(crate) const IMAGE: &str = "root.hds";

impl Ploop {
    /// Steps: check type and size; make a folder in `.mosaic/tmp`, label it; make the disk in it; run
    /// mkfs on a file without a name and copy what it wrote; fsync; **commit**: one rename that
    /// replaces nothing. Killed before that a folder is left that the next sweep deletes, after it
    /// the volume is there.
    pub(crate) fn create_disk(&self, name: &VolumeName, new: &NewVolume) -> Result<()> {
        let fs = match &new.kind {
            NewKind::Disk => None,
            NewKind::Fs(Some(fs)) => Some(FsType::parse(fs)?),
            NewKind::Fs(None) => Some(self.options.default_fs.clone()),
        };
        let size = whole(new.size, self.options.cluster)?;
        let place = match fs {
            Some(fs) => Some((fs, self.window(size)?)),
            None => None,
        };
        if let Some((fs, window)) = &place {
            fs.check_available()?;
            fs.check_size(Bytes(window.bytes))?;
        }
        self.build(name, &new.scratch, |dir| {
            // Early: where the location cannot hold the label it is better to know at once.
            label::set_kind(dir, &label_of(place.as_ref().map(|(fs, _)| fs)))?;
            label::set_name(dir, name)?;
            let new = NewDisk {
                file: IMAGE,
                size,
                cluster: self.options.cluster,
                kind: self.options.kind,
            };
            let disk = Disk::create(dir.folder()?, &new)?;
            match &place {
                Some((fs, window)) => self.fill(dir, &disk, fs, *window),
                None => Ok(()),
            }
        })
    }

    /// Where the file system of a new volume is.
    fn window(&self, size: Sectors) -> Result<Window> {
        match self.options.partition {
            Partition::None => Ok(gpt::whole(size)),
            Partition::Gpt => gpt::partition(size, self.options.cluster).ok_or_else(|| {
                let cluster = Bytes(self.options.cluster.bytes());
                let size = Bytes(size.bytes());
                let why = format!("{size} is too small for a partition beside its table, which takes {cluster} at both ends");
                Error::new(ErrorKind::Invalid, why)
            }),
        }
    }

    /// Makes a volume's folder in `.mosaic/tmp`, lets `fill` put into it what belongs there, and gives
    /// it its name.
    pub(crate) fn build(
        &self,
        name: &VolumeName,
        scratch: &mosaic_core::ScratchName,
        fill: impl FnOnce(&VolumeDir) -> Result<()>,
    ) -> Result<()> {
        let tmp = self.location.private_folder(Place::Tmp)?;
        make_in(&tmp, scratch.as_str(), Mode::RWXU)?;
        let built = VolumeDir::unfinished(&self.location, scratch)
            .and_then(|dir| {
                fill(&dir)?;
                fs::fsync(&dir).context(|| "cannot write the volume's folder to disk".into())
            })
            .and_then(|()| self.host.check_cancelled())
            .and_then(|()| self.publish(&tmp, scratch.as_str(), name));
        built.map_err(|error| {
            self.location.remove_empty_parents(name);
            error.after_undo(tree::remove(tmp.as_fd(), scratch.as_str(), &self.host))
        })
    }

    fn publish(&self, tmp: &OwnedFd, scratch: &str, name: &VolumeName) -> Result<()> {
        self.host
            .debug(&format!("rename it to {:?}", name.stored()));
        self.location
            .with_parent(name, |parent: BorrowedFd<'_>, leaf: &str| {
                rename_noreplace(tmp, scratch, parent, leaf)
            })
    }

    /// Makes a file system on a disk that nobody knows yet.
    fn fill(
        &self,
        dir: &VolumeDir,
        disk: &Disk<crate::files::DiskFolder>,
        fs: &FsType,
        window: Window,
    ) -> Result<()> {
        let image = nameless(dir)?;
        fs::ftruncate(&image, window.bytes)
            .context(|| format!("cannot make a file of {} for mkfs", Bytes(window.bytes)))?;
        fs.make(&self.host, &fd_path(image.as_fd()))?;
        self.host.check_cancelled()?;
        let mut chain = disk.write()?;
        if self.options.partition == Partition::Gpt {
            write_table(&mut chain, window)?;
        }
        copy_data(&self.host, &image, &mut chain, window)?;
        Ok(chain.close()?)
    }
}

/// A file without a name, which goes with us; on the location's own file system, since it may
/// become large.
pub(crate) fn nameless(dir: &VolumeDir) -> Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let failed = || {
        format!(
            "the file system at {:?} makes no file without a name (O_TMPFILE), which mkfs is to write",
            dir.path().parent().unwrap_or(Path::new("."))
        )
    };
    fs::openat(dir, ".", flags, Mode::RUSR | Mode::WUSR).context(failed)
}

/// What a volume's label says; `None`: a disk.
pub(crate) fn label_of(fs: Option<&FsType>) -> NewKind {
    match fs {
        None => NewKind::Disk,
        Some(fs) => NewKind::Fs(Some(fs.name().to_owned())),
    }
}

/// A size that is a whole number of clusters: any other would not be the disk's size.
pub(crate) fn whole(size: Bytes, cluster: ClusterSize) -> Result<Sectors> {
    let unit = cluster.bytes();
    if size.0.is_multiple_of(unit) {
        return Ok(Sectors::holding(size.0));
    }
    let cluster = Bytes(unit);
    let more = size.0.checked_next_multiple_of(unit).unwrap_or(size.0);
    Err(Error::new(
        ErrorKind::Invalid,
        format!(
            "{} bytes are not a multiple of the disk's cluster, {cluster}; {more} bytes are",
            size.0
        ),
    ))
}
