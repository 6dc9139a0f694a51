// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares the location, its volumes, and what the kernel has attached.
//!
//! Storage only: whether the file system in a volume is sound is for fsck to say.

use std::os::fd::AsFd;

use mosaic_core::finding::{Finding, Remedy, Repair};
use mosaic_core::loopdev;
use mosaic_core::loopdev::marker::{self, Marker};
use mosaic_core::size::SECTOR;
use mosaic_core::{Context, Result};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use crate::attach::open_same;
use crate::attachment::{self, BoundDevices};
use crate::driver::Loop;
use crate::image::Image;
use crate::layout;
use crate::unnamed::IMAGE_MODE;

/// Others may write to the image.
const OTHERS_WRITE: Mode = Mode::WGRP.union(Mode::WOTH);

impl Loop {
    /// Looks at everything; mends modes and device sizes, if `repair` covers them.
    pub(crate) fn findings(&self, repair: &Repair) -> Result<Vec<Finding>> {
        let bound = BoundDevices::default();
        let inventory = layout::inventory(&self.location, self.metadata.as_deref())?;
        let mut findings = Vec::new();
        for (path, reason) in inventory.strangers {
            findings.push(Finding {
                volume: None,
                fault: format!("{path:?} in the location is no volume: {reason}"),
                remedy: None,
                repaired: false,
            });
        }
        self.deleted_images(&bound, &mut findings);
        for name in &inventory.volumes {
            self.host.check_cancelled()?;
            match Image::find(&self.location, name) {
                Ok(Some(image)) => self.check_image(&image, &bound, repair, &mut findings)?,
                // Dropped while we were looking.
                Ok(None) => {}
                Err(error) => findings.push(fault(name.stored(), error.chain())),
            }
        }
        Ok(findings)
    }

    /// Devices that still show an image which somebody deleted past Mosaic: its space is not free.
    fn deleted_images(&self, bound: &BoundDevices, findings: &mut Vec<Finding>) {
        let Ok(home) = self.location.path().canonicalize() else {
            return;
        };
        let deleted = bound
            .all()
            .iter()
            .filter(|shown| shown.is_deleted() && !shown.is_unnamed())
            .filter(|shown| shown.path.starts_with(&home));
        for shown in deleted {
            let device = loopdev::path(shown.number);
            findings.push(Finding {
                volume: None,
                fault: format!(
                    "{} still shows {:?}; losetup -d {} frees its space",
                    device.display(),
                    shown.path,
                    device.display()
                ),
                remedy: None,
                repaired: false,
            });
        }
    }

    fn check_image(
        &self,
        image: &Image,
        bound: &BoundDevices,
        repair: &Repair,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let stored = image.name().stored();
        let size = image.size().0;
        if size == 0 || !size.is_multiple_of(SECTOR) {
            findings.push(fault(
                stored,
                format!("its image has {size} bytes, which no block device can have"),
            ));
        }
        if image.mode().intersects(OTHERS_WRITE) {
            findings.push(mend_mode(image, repair)?);
        }
        let query = match image.open_for_query() {
            Ok(query) => query,
            // A verb is changing it just now.
            Err(Errno::WOULDBLOCK) => return Ok(()),
            Err(errno) => {
                let why = mosaic_core::Error::io(errno, "its image cannot be opened");
                findings.push(fault(stored, why.chain()));
                return Ok(());
            }
        };
        if let Err(error) = self.kind_of(image) {
            findings.push(fault(stored, error.chain()));
        }
        match attachment::find_ours(&query, image)? {
            Some(attached) => {
                findings.extend(self.check_device(image, attached, repair)?);
            }
            None => findings.extend(self.check_unattached(image, &query, bound)?),
        }
        Ok(())
    }

    /// Without a device of ours: another program's, or a marker that lies.
    fn check_unattached(
        &self,
        image: &Image,
        query: impl AsFd,
        bound: &BoundDevices,
    ) -> Result<Option<Finding>> {
        let stored = image.name().stored();
        if let Some(foreign) = bound.find(image.identity(), image.leaf()) {
            let device = loopdev::path(foreign.number);
            return Ok(Some(fault(
                stored,
                format!("another program has attached it at {}", device.display()),
            )));
        }
        let marker = marker::find(query).context(|| format!("cannot ask {:?}", image.path()))?;
        Ok((marker != Marker::Absent).then(|| {
            let why = "somebody holds a lock on its image as if it were attached, and it is not";
            fault(stored, why.into())
        }))
    }

    /// A device that was not told when its file grew.
    fn check_device(
        &self,
        image: &Image,
        attached: attachment::Attached,
        repair: &Repair,
    ) -> Result<Option<Finding>> {
        let device = match open_same(image, attached) {
            Ok(Some(device)) => device,
            // Detached meanwhile, or not for us to open: no fault of the volume.
            Ok(None) | Err(_) => return Ok(None),
        };
        let (shown, stored) = (device.size()?, image.size().0);
        if shown == stored / SECTOR * SECTOR {
            return Ok(None);
        }
        let remedy = Remedy::new("sizes", "give the device the size of the image");
        let repaired = repair.covers(&remedy);
        if repaired {
            device.take_size()?;
        }
        Ok(Some(Finding {
            volume: Some(image.name().stored().to_owned()),
            fault: format!(
                "{} has {shown} bytes, its image {stored}",
                device.path().display()
            ),
            remedy: Some(remedy),
            repaired,
        }))
    }
}

fn mend_mode(image: &Image, repair: &Repair) -> Result<Finding> {
    let remedy = Remedy::new("modes", format!("set mode {:04o}", IMAGE_MODE.bits()));
    let repaired = repair.covers(&remedy);
    if repaired {
        let file = image
            .open(OFlags::RDONLY)
            .and_then(|file| fs::fchmod(file, IMAGE_MODE));
        file.context(|| format!("cannot set the mode of {:?}", image.path()))?;
    }
    Ok(Finding {
        volume: Some(image.name().stored().to_owned()),
        fault: format!(
            "its image has mode {:04o}: others may write to it",
            image.mode().bits()
        ),
        remedy: Some(remedy),
        repaired,
    })
}

fn fault(volume: &str, fault: String) -> Finding {
    Finding {
        volume: Some(volume.to_owned()),
        fault,
        remedy: None,
        repaired: false,
    }
}
