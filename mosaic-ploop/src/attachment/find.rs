// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which loop device shows a disk: asked of the kernel each time.

use std::path::Path;

use mosaic_core::loopdev::marker::{self, Marker};
use mosaic_core::loopdev::sysfs::{self, Shown};
use mosaic_core::loopdev::{self, LoopDevice, Status};
use mosaic_core::volume::Attachment;
use mosaic_core::{Context, Result};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Place, VolumeId};
use crate::format::descriptor::Base;
use crate::format::storage::{Access, Folder};

/// With what the names of our loop devices begin: those of served disks, and of raw files.
const SERVED: &str = "mosaic-ploop:";
const RAW: &str = "mosaic-ploop-raw:";

/// A loop device that shows a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// The N of `/dev/loopN`.
    pub number: u32,
    /// It refuses writes.
    pub read_only: bool,
    /// It goes with its last opener: it is there for a mount.
    pub autoclear: bool,
    /// It is a raw file, without a server.
    pub is_raw: bool,
    /// Which disk.
    pub id: VolumeId,
}

impl VolumeId {
    /// The name of a loop device for this disk.
    pub(super) fn tag(self, is_raw: bool) -> String {
        let kind = if is_raw { RAW } else { SERVED };
        format!("{kind}{}", self.numbers())
    }

    fn of_tag(name: &[u8]) -> Option<(Self, bool)> {
        let name = std::str::from_utf8(name).ok()?;
        let (numbers, is_raw) = match (name.strip_prefix(SERVED), name.strip_prefix(RAW)) {
            (Some(numbers), _) => (numbers, false),
            (None, raw) => (raw?, true),
        };
        let (device, inode) = numbers.split_once('-')?;
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        let identity = loopdev::Identity {
            device: number(device)?,
            inode: number(inode)?,
        };
        Some((Self(identity), is_raw))
    }
}

impl Attached {
    fn new(number: u32, status: &Status) -> Option<Self> {
        let (id, is_raw) = VolumeId::of_tag(status.name())?;
        Some(Self {
            number,
            read_only: status.read_only,
            autoclear: status.autoclear,
            is_raw,
            id,
        })
    }

    /// As the host hears of it.
    pub fn attachment(&self) -> Attachment {
        loopdev::attachment(self.number, self.read_only, self.autoclear, false)
    }

    /// Opens the device if it still shows the disk; it stays while that is open.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open_same(&self, flags: OFlags) -> Result<Option<LoopDevice>> {
        let device = match LoopDevice::open_best(self.number, flags) {
            Err(Errno::NXIO | Errno::NODEV) => return Ok(None),
            Err(errno) => return Err(loopdev::cannot_open(self.number, errno)),
            Ok(device) => device,
        };
        let now = device
            .status()?
            .and_then(|status| Self::new(self.number, &status));
        Ok(now.is_some_and(|now| now.id == self.id).then_some(device))
    }
}

/// The loop device that shows a disk. Waits for nothing, and leaves the devices of others alone.
///
/// # Errors
/// The kernel's, if sysfs is not mounted.
pub fn find(place: &Place<'_>) -> Result<Option<Attached>> {
    let id = place.id()?;
    match served()?.into_iter().find(|attached| attached.id == id) {
        None => find_raw(place),
        found => Ok(found),
    }
}

/// All disks that are attached by a server.
///
/// # Errors
/// The kernel's, if sysfs is not mounted.
pub fn served() -> Result<Vec<Attached>> {
    // The file that a server shows has no place in any tree, so for sysfs it is the root of its own.
    let is_rootless = |shown: &Shown| shown.path == Path::new("/");
    Ok(asked(bound()?.iter().filter(|shown| is_rootless(shown))).collect())
}

/// The loop device that shows a raw disk without a server: by the marker that it has on the file.
///
/// # Errors
/// The kernel's, if sysfs is not mounted.
pub fn find_raw(place: &Place<'_>) -> Result<Option<Attached>> {
    let is_it =
        |attached: &Attached| attached.is_raw && place.id().is_ok_and(|id| id == attached.id);
    match marked(place) {
        Some(Marker::Absent) => return Ok(None),
        Some(Marker::Device(number)) => {
            if let Some(attached) = ask(number).filter(is_it) {
                return Ok(Some(attached));
            }
        }
        // What cannot be read, or is locked otherwise, says nothing.
        Some(Marker::Obscured) | None => {}
    }
    let bound = bound()?;
    Ok(asked(&bound).find(is_it))
}

/// What the locks on a raw base say; of a disk that has none, that no device is bound to it.
fn marked(place: &Place<'_>) -> Option<Marker> {
    let disk = place.disk().ok()?;
    let descriptor = disk.descriptor();
    if descriptor.base() != Base::Raw {
        return Some(Marker::Absent);
    }
    let base = descriptor.chain(descriptor.top()).into_iter().next()?;
    let file = disk.folder().open(descriptor.file(base)?, Access::Read);
    marker::find(file.ok()?).ok()
}

fn bound() -> Result<Vec<Shown>> {
    sysfs::bound().context(|| "cannot list loop devices".into())
}

/// Asks devices what they show.
fn asked<'a>(devices: impl IntoIterator<Item = &'a Shown>) -> impl Iterator<Item = Attached> {
    let numbers: Vec<u32> = devices.into_iter().map(|shown| shown.number).collect();
    numbers.into_iter().filter_map(ask)
}

fn ask(number: u32) -> Option<Attached> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let device = LoopDevice::open(number, flags).ok()?;
    Attached::new(number, &device.status().ok()??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_known_by_the_name_of_its_device() {
        let folder = std::fs::File::open("/").unwrap();
        let id = VolumeId::of(&folder).unwrap();
        for is_raw in [false, true] {
            let tag = id.tag(is_raw);
            assert!(tag.len() < 64);
            assert_eq!(VolumeId::of_tag(tag.as_bytes()), Some((id, is_raw)));
        }
        for other in [
            "",
            "/srv/image",
            "mosaic-ploop:",
            "mosaic-ploop:1-x",
            "mosaic-ploop:1",
        ] {
            assert_eq!(VolumeId::of_tag(other.as_bytes()), None, "{other}");
        }
    }
}
