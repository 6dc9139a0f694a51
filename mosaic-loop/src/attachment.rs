// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which loop device shows an image.
//!
//! Our own attachments are found by their marker, in a few calls however many loop devices others
//! have. Other programs' have none: they are looked for among all bound devices, once per listing.
//! Whoever changes something does not lean on either: a lease proves that nobody has the image open,
//! and this module only finds the name for the refusal.

use std::cell::OnceCell;
use std::os::fd::AsFd;

use mosaic_core::loopdev::marker::{self, Marker};
use mosaic_core::loopdev::sysfs::{self, Shown};
use mosaic_core::loopdev::{self, Identity, LoopDevice};
use mosaic_core::volume::Attachment;
use mosaic_core::{Context, Result};
use rustix::fs::OFlags;

use crate::image::Image;

/// A device that shows an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// The N of `/dev/loopN`.
    pub number: u32,
    /// It refuses writes.
    pub read_only: bool,
    /// It goes with its last opener: it is there for a mount.
    pub autoclear: bool,
    /// Another program set it up.
    pub foreign: bool,
}

impl Attached {
    fn from_sysfs(shown: &Shown, foreign: bool) -> Self {
        Self {
            number: shown.number,
            read_only: shown.is_read_only(),
            autoclear: shown.is_autoclear(),
            foreign,
        }
    }

    /// As the host hears of it.
    pub fn attachment(self) -> Attachment {
        loopdev::attachment(self.number, self.read_only, self.autoclear, self.foreign)
    }
}

/// Our own attachment of an image, by its marker and confirmed by the device. `query` is a
/// descriptor that is not itself bound.
///
/// A marker that is not true (somebody else's lock is in the way, or put there to deceive) costs a
/// look at every bound device. `None`: not attached by us, or just going away.
///
/// # Errors
/// The kernel's while reading locks.
pub fn find_ours(query: impl AsFd, image: &Image) -> Result<Option<Attached>> {
    let failed = || format!("cannot read the locks of volume \"{}\"", image.name());
    match marker::find(&query).context(failed)? {
        Marker::Absent => return Ok(None),
        Marker::Device(number) => {
            if let Some(attached) = confirm(number, image, false) {
                return Ok(Some(attached));
            }
        }
        Marker::Obscured => {}
    }
    let Some(attached) = find_by_asking_all(image)? else {
        return Ok(None);
    };
    let marked = marker::is_set(&query, attached.number).context(failed)?;
    Ok(marked.then_some(Attached {
        foreign: false,
        ..attached
    }))
}

/// Asks a device whether it shows the image; sysfs answers where the device cannot be opened.
fn confirm(number: u32, image: &Image, foreign: bool) -> Option<Attached> {
    match LoopDevice::open(number, OFlags::RDONLY | OFlags::NONBLOCK) {
        Ok(device) => {
            let status = device.status().ok()??;
            (status.backing == image.identity()).then_some(Attached {
                number,
                read_only: status.read_only,
                autoclear: status.autoclear,
                foreign,
            })
        }
        Err(_) => sysfs::shown(number)
            .filter(|shown| shown.is_backed_by(image.identity(), image.leaf()))
            .map(|shown| Attached::from_sysfs(&shown, foreign)),
    }
}

/// Any device that shows the image, by asking every one that is bound: exact, and slow with many.
///
/// # Errors
/// The kernel's, if sysfs is not mounted.
pub fn find_by_asking_all(image: &Image) -> Result<Option<Attached>> {
    let bound = sysfs::bound().context(|| "cannot list loop devices".into())?;
    Ok(bound
        .iter()
        .find_map(|shown| confirm(shown.number, image, true)))
}

/// All bound loop devices as sysfs shows them, looked up at most once and opened never.
#[derive(Debug, Default)]
pub struct BoundDevices(OnceCell<Vec<Shown>>);

impl BoundDevices {
    /// None, for an image that nobody has open.
    pub fn none() -> Self {
        Self(OnceCell::from(Vec::new()))
    }

    /// They. Without sysfs: none, which a listing can live with.
    pub fn all(&self) -> &[Shown] {
        self.0.get_or_init(|| sysfs::bound().unwrap_or_default())
    }

    /// The device that shows an image which has no marker.
    pub fn find(&self, file: Identity, leaf: &str) -> Option<Attached> {
        self.all()
            .iter()
            .find(|shown| shown.is_backed_by(file, leaf))
            .map(|shown| Attached::from_sysfs(shown, true))
    }
}
