// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drop, rename and resize: what changes a volume that is there.

use std::os::fd::{AsFd, BorrowedFd};

use mosaic_core::label;
use mosaic_core::loopdev::{self, Identity, LoopDevice};
use mosaic_core::{Bytes, Context, Error, ErrorKind, Result, VolumeName};
use rustix::fs::{self, AtFlags, OFlags, RenameFlags};

use crate::attach::open_same;
use crate::attachment::{self, BoundDevices};
use crate::claim;
use crate::driver::Loop;
use crate::image::Image;
use crate::unnamed::explained;

impl Loop {
    /// Steps: take a lease; **commit**: unlink; fsync of the folder; give the lease back, which
    /// frees the space; remove folders that are empty now. Killed before the commit nothing has
    /// changed, after it the volume is gone (durably so once the folder is synced).
    pub(crate) fn drop_image(&self, name: &VolumeName) -> Result<()> {
        let image = Image::require(&self.location, name)?;
        claim::exclusively(&image, &self.host, OFlags::RDONLY, |_| {
            let (folder, leaf) = self.location.parent(name)?;
            self.prove_same(&folder, leaf, &image)?;
            self.host.debug(&format!("unlink {:?}", image.path()));
            fs::unlinkat(&folder, leaf, AtFlags::empty())
                .context(|| format!("cannot unlink {:?}", image.path()))?;
            fs::fsync(&folder).context(|| format!("cannot sync the folder of {:?}", image.path()))
        })?;
        self.location.remove_empty_parents(name);
        Ok(())
    }

    /// The name may lead to another file now only if somebody went past Mosaic.
    fn prove_same(&self, folder: impl AsFd, leaf: &str, image: &Image) -> Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let now = fs::statx(folder, leaf, flags, fs::StatxFlags::INO)
            .context(|| format!("cannot stat {:?}", image.path()))?;
        if Identity::from_statx(&now) == image.identity() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Busy,
            format!("{:?} was replaced meanwhile", image.path()),
        ))
    }

    /// Steps: take a lease; keep both users' names with the image, fsync; **commit**: one rename that
    /// replaces nothing; fsync of both folders; forget the old name; remove folders that are empty
    /// now. Killed before the commit the volume has its old name, after it the new one.
    pub(crate) fn rename_image(&self, from: &VolumeName, to: &VolumeName) -> Result<()> {
        let image = Image::require(&self.location, from)?;
        claim::exclusively(&image, &self.host, OFlags::RDWR, |file| {
            label::set_names(file, &[from, to])?;
            let kept = fs::fsync(file).context(|| "cannot write the image's label to disk".into());
            let moved = kept.and_then(|()| self.move_name(&image, from, to));
            // An error can also be one after the rename. With both names it is shown by the right one.
            if moved.is_ok() {
                let _ = label::set_name(file, to);
            } else if self.is_still(&image, from) {
                let _ = label::set_name(file, from);
            }
            moved
        })?;
        self.location.remove_empty_parents(from);
        Ok(())
    }

    /// Whether the name is the image's.
    fn is_still(&self, image: &Image, name: &VolumeName) -> bool {
        let place = self.location.parent(name);
        place.is_ok_and(|(folder, leaf)| self.prove_same(&folder, leaf, image).is_ok())
    }

    fn move_name(&self, image: &Image, from: &VolumeName, to: &VolumeName) -> Result<()> {
        let (folder, leaf) = self.location.parent(from)?;
        self.prove_same(&folder, leaf, image)?;
        self.host.debug(&format!(
            "renameat2 {:?} {:?}, RENAME_NOREPLACE",
            image.path(),
            self.path_of(to)
        ));
        let moved = self.location.with_parent(to, |parent, new_leaf| {
            fs::renameat_with(&folder, leaf, parent, new_leaf, RenameFlags::NOREPLACE)
        });
        moved.map_err(|error| {
            self.location.remove_empty_parents(to);
            explained(error, &self.location, to)
        })?;
        fs::fsync(&folder).context(|| format!("cannot sync the folder of {:?}", image.path()))
    }

    /// Growing, steps: open the loop device that shows the file, make the file longer (**commit**),
    /// fsync, tell the device.
    /// Killed between, the file has its new size and the device the old one: the same call again
    /// finishes. Shrinking: take a lease, cut the file (**commit**), fsync.
    pub(crate) fn resize_image(&self, name: &VolumeName, size: Bytes) -> Result<()> {
        let image = Image::require(&self.location, name)?;
        if size < image.size() {
            return claim::exclusively(&image, &self.host, OFlags::RDWR, |file| {
                self.set_size(&image, file, size)
            });
        }
        let device = self.device_to_resize(&image)?;
        if size > image.size() {
            let file = claim::open_sharing(&image, &self.host, OFlags::RDWR)?;
            self.set_size(&image, file.as_fd(), size)?;
        }
        device.map_or(Ok(()), |device| self.resize_device(&device, size))
    }

    fn set_size(&self, image: &Image, file: BorrowedFd<'_>, size: Bytes) -> Result<()> {
        let path = image.path();
        self.host
            .debug(&format!("ftruncate {path:?} to {} bytes", size.0));
        fs::ftruncate(file, size.0).context(|| format!("cannot give the image {size}"))?;
        fs::fsync(file).context(|| "cannot write the image's size to disk".into())
    }

    /// The device that shows the image, open, so that whoever may not change it is told before the
    /// file is changed.
    fn device_to_resize(&self, image: &Image) -> Result<Option<LoopDevice>> {
        let query = image.open_for_query();
        let query = query.context(|| format!("cannot open {:?}", image.path()))?;
        let Some(attached) = attachment::find_ours(&query, image)? else {
            let foreign = BoundDevices::default().find(image.identity(), image.leaf());
            if let Some(foreign) = foreign {
                self.host.warn(&format!(
                    "{} shows volume \"{}\" for another program and keeps its old size",
                    loopdev::path(foreign.number).display(),
                    image.name()
                ));
            }
            return Ok(None);
        };
        // `None`: gone meanwhile, nothing shows the volume any more.
        open_same(image, attached)
    }

    fn resize_device(&self, device: &LoopDevice, size: Bytes) -> Result<()> {
        if device.size()? != size.0 {
            self.host
                .debug(&format!("LOOP_SET_CAPACITY {:?}", device.path()));
            device.take_size()?;
        }
        let now = device.size()?;
        if now == size.0 {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Io,
            format!(
                "{:?} has {} bytes, not {} as its file",
                device.path(),
                now,
                size.0
            ),
        ))
    }
}
