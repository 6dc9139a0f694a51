// SPDX-License-Identifier: MIT OR Apache-2.0
//! New volumes.

use std::os::fd::AsFd;
use std::path::PathBuf;

use mosaic_core::command::fd_path;
use mosaic_core::fs::FsType;
use mosaic_core::label;
use mosaic_core::volume::{NewKind, NewVolume};
use mosaic_core::{Result, VolumeName};

use crate::driver::Loop;
use crate::unnamed::UnnamedImage;

impl Loop {
    /// Steps: check type and size; make an image without a name, size it, run mkfs on it, label it;
    /// **commit**: [`UnnamedImage::publish`]. Killed before that nothing is left (mkfs dies with us),
    /// after it the volume is there.
    pub(crate) fn create_image(&self, name: &VolumeName, new: &NewVolume) -> Result<()> {
        let fs = match &new.kind {
            NewKind::Disk => None,
            NewKind::Fs(Some(fs)) => Some(FsType::parse(fs)?),
            NewKind::Fs(None) => Some(self.default_fs.clone()),
        };
        if let Some(fs) = &fs {
            fs.check_available()?;
            fs.check_size(new.size)?;
        }
        let image = UnnamedImage::new(&self.location)?;
        // Before mkfs: where the location cannot hold the label it is better to know early.
        label::set_kind(&image, &label_of(fs.as_ref()))?;
        label::set_name(&image, name)?;
        image.set_size(new.size)?;
        if let Some(fs) = &fs {
            fs.make(&self.host, &fd_path(image.as_fd()))?;
        }
        self.host.check_cancelled()?;
        self.publish(image, name)
    }

    /// Gives a finished image its volume's name.
    pub(crate) fn publish(&self, image: UnnamedImage, name: &VolumeName) -> Result<()> {
        self.host.debug(&format!("linkat {:?}", self.path_of(name)));
        image.publish(&self.location, name)
    }

    /// Where the image of this volume is.
    pub(crate) fn path_of(&self, name: &VolumeName) -> PathBuf {
        self.location.path().join(name.stored())
    }
}

/// What a volume's label says; `None`: a disk.
pub(crate) fn label_of(fs: Option<&FsType>) -> NewKind {
    match fs {
        None => NewKind::Disk,
        Some(fs) => NewKind::Fs(Some(fs.name().to_owned())),
    }
}
