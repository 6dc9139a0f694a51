// SPDX-License-Identifier: MIT OR Apache-2.0
//! A volume's size: its storage, the block device that shows it, the file system on it.
//!
//! Growing goes from the outside in: storage and device (the driver), then the file system.
//! Shrinking goes from the inside out. A kill between leaves a file system smaller than its
//! storage, which is whole; the same call again finishes the work.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::guard::Names;
use super::{Changed, Mosaic};
use crate::busy;
use crate::error::{Context, Error, ErrorKind, Needs, Result};
use crate::fs::FsType;
use crate::loopdev::PASSING;
use crate::mounts;
use crate::name::VolumeName;
use crate::size::Bytes;
use crate::volume::{Access, Kind, MountSource, Volume, capability};

/// The size asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResizeTo {
    /// This many bytes.
    Absolute(Bytes),
    /// So many more.
    Grow(Bytes),
    /// So many fewer.
    Shrink(Bytes),
}

/// What a resize did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resized {
    /// The size before; `None`: there was no limit.
    pub from: Option<Bytes>,
    /// The size now.
    pub to: Bytes,
    /// `Unchanged` only if storage, device and file system all had it.
    pub changed: Changed,
}

impl ResizeTo {
    fn target(self, from: Option<Bytes>) -> Result<Bytes> {
        let relative = || {
            from.ok_or_else(|| {
                Error::new(
                    ErrorKind::Invalid,
                    "the volume has no size to add to or take from; give the size itself",
                )
            })
        };
        let target = match self {
            Self::Absolute(size) => Some(size.0),
            Self::Grow(by) => relative()?.0.checked_add(by.0),
            Self::Shrink(by) => relative()?.0.checked_sub(by.0),
        };
        let target = target.filter(|bytes| i64::try_from(*bytes).is_ok());
        match target.map(Bytes) {
            Some(size) if size.is_volume_size() => Ok(size),
            Some(size) => Err(Error::new(
                ErrorKind::Invalid,
                format!("{} bytes are not a multiple of 512 above 0", size.0),
            )),
            None => Err(Error::new(
                ErrorKind::Invalid,
                "the size would be less than nothing, or more than fits into a file",
            )),
        }
    }
}

impl Mosaic {
    /// Gives a volume another size.
    ///
    /// Steps to grow: lock the name, look; the driver grows storage and device (**commit** of the
    /// size); the file system grows into it, where it is mounted or on a device of its own. To
    /// shrink: the file system, checked first; then the driver cuts the storage (**commit**).
    ///
    /// # Errors
    /// `Invalid` for a smaller size without `allow_shrink`; `Busy` if somebody uses the volume in
    /// a way that excludes it; `Unsupported`, with the reason; `NoSpace`.
    pub fn resize(&self, volume: &str, to: ResizeTo, allow_shrink: bool) -> Result<Resized> {
        let failed = || format!("cannot resize volume {volume:?}");
        self.try_resize(volume, to, allow_shrink).context(failed)
    }

    fn try_resize(&self, volume: &str, to: ResizeTo, allow_shrink: bool) -> Result<Resized> {
        let name = self.name(volume)?;
        let guard = self.lock_names(&Names {
            exclusive: vec![&name],
            ..Names::default()
        })?;
        self.sweep(&guard)?;
        let found = self.existing(&name)?;
        let from = found.size;
        let to = to.target(from)?;
        let changed = match from {
            Some(size) if to < size => {
                if !allow_shrink {
                    return Err(Error::new(
                        ErrorKind::Invalid,
                        format!("{to} is less than its {size}; data may be lost"),
                    )
                    .that_needs(Needs::Shrink));
                }
                self.require(capability::SHRINK, Some(&name))?;
                self.shrink(&name, &found, to)?;
                Changed::Yes
            }
            _ => {
                self.require(capability::GROW, Some(&name))?;
                let file_system = self.grow(&name, &found, to)?;
                if from == Some(to) {
                    file_system
                } else {
                    Changed::Yes
                }
            }
        };
        Ok(Resized { from, to, changed })
    }

    /// The type of the file system that grows and shrinks with its device; `None` for a disk and
    /// for a directory.
    ///
    /// # Errors
    /// `Corrupt` if there is one of which nothing is known: to cut it like a disk would destroy it.
    pub(super) fn file_system(volume: &Volume) -> Result<Option<FsType>> {
        match (volume.access, &volume.kind) {
            (Access::Directory, _) | (Access::Device, Kind::Disk) => Ok(None),
            (Access::Device, Kind::Fs { fs: Some(fs), .. }) => FsType::parse(fs).map(Some),
            (Access::Device, Kind::Fs { fs: None, .. }) => Err(Error::new(
                ErrorKind::Corrupt,
                "its file system type is not known",
            )),
        }
    }

    /// Grows storage, device and file system; says whether the file system (or the device, which
    /// it follows) still had to.
    fn grow(&self, name: &VolumeName, volume: &Volume, to: Bytes) -> Result<Changed> {
        let Some(fs) = Self::file_system(volume)? else {
            // A killed call may have left the device shorter than its storage.
            let device = device_size(volume)?;
            self.driver.resize(name, to)?;
            return Ok(match device {
                Some(size) if size < to => Changed::Yes,
                _ => Changed::Unchanged,
            });
        };
        Self::require_root("growing a file system")?;
        let place = self.growth_place(volume)?;
        if let Place::Mounted(_) = place {
            fs.can_grow_online()
                .map_err(|reason| Error::new(ErrorKind::Unsupported, reason))?;
        }
        let room = room(volume, to)?;
        let (device, handle) = match &place {
            Place::Mounted(_) => (attached_device(volume)?, None),
            Place::Idle => self
                .own_device(name)
                .map(|(device, handle)| (device, Some(handle)))?,
        };
        let mounted = match &place {
            Place::Mounted(dir) => Some(dir.as_fd()),
            Place::Idle => None,
        };
        check_growth(&fs, &device, mounted, room)?;
        self.driver.resize(name, to)?;
        let grown = self.grow_file_system(&fs, &device, mounted, room)?;
        drop(handle);
        if volume.attachment.is_none() {
            self.wait_until_gone(name, &device)?;
        }
        Ok(grown)
    }

    fn grow_file_system(
        &self,
        fs: &FsType,
        device: &Path,
        mounted: Option<BorrowedFd<'_>>,
        to: Bytes,
    ) -> Result<Changed> {
        let failed = || {
            let name = fs.name();
            format!(
                "the storage has grown, but not yet the {name} on it; the same call finishes it"
            )
        };
        let open = File::open(device).context(|| format!("cannot open {device:?}"))?;
        if fs.is_grown_to(open.as_fd(), mounted, to).context(failed)? {
            return Ok(Changed::Unchanged);
        }
        drop(open);
        fs.grow(&self.host(), device, mounted).context(failed)?;
        Ok(Changed::Yes)
    }

    /// Where the file system can be grown: in a mount of it, or on a device of our own. In the
    /// hands of somebody who has the device open (a virtual machine) it is theirs to grow.
    fn growth_place(&self, volume: &Volume) -> Result<Place> {
        let Some(attachment) = &volume.attachment else {
            return Ok(Place::Idle);
        };
        if attachment.read_only {
            return Err(super::attach::in_use(attachment)?.context("it is in use read-only"));
        }
        // Its device is not ours to change, and would keep its size.
        if attachment.foreign {
            return Err(super::attach::in_use(attachment)?
                .context("only whoever set its device up can grow that"));
        }
        // Programs that list devices, ours among them, have each open for a moment.
        let start = Instant::now();
        let users = loop {
            // Not by its path alone: what is mounted over it would be grown instead.
            if let Some(dir) = mounts::directory_on_device(&attachment.device)? {
                return Ok(Place::Mounted(dir));
            }
            let users = busy::openers_of_device(&attachment.device)?;
            if users.is_empty() {
                return Ok(Place::Idle);
            }
            if start.elapsed() > PASSING {
                break users;
            }
            self.host().check_cancelled()?;
            std::thread::sleep(Duration::from_millis(20));
        };
        let device = attachment.device.display();
        let why = format!("attached at {device}, {}", users.describe());
        Err(Error::new(ErrorKind::Busy, why).context(
            "its file system can only be grown by whoever uses it; grow a volume of kind disk, or detach this one",
        ))
    }

    /// A device of the idle volume that goes away with the descriptor.
    fn own_device(&self, name: &VolumeName) -> Result<(PathBuf, OwnedFd)> {
        match self.driver.mount_source(Some(name), false)? {
            MountSource::Device { path, handle } => Ok((path, handle)),
            MountSource::Directory(_) => Err(Error::new(
                ErrorKind::Unsupported,
                "the driver shows a device volume as a directory",
            )),
        }
    }

    fn shrink(&self, name: &VolumeName, volume: &Volume, to: Bytes) -> Result<()> {
        if let Some(attachment) = &volume.attachment {
            return Err(
                super::attach::in_use(attachment)?.context("a volume in use cannot be shrunk")
            );
        }
        if let Some(fs) = Self::file_system(volume)? {
            Self::require_root("shrinking a file system")?;
            let room = room(volume, to)?;
            let (device, handle) = self.own_device(name)?;
            fs.shrink(&self.host(), &device, room)?;
            drop(handle);
            self.wait_until_gone(name, &device)?;
        }
        self.driver
            .resize(name, to)
            .context(|| "cannot cut the storage".to_owned())
    }
}

/// What the file system of a volume of that size has of it.
fn room(volume: &Volume, to: Bytes) -> Result<Bytes> {
    let beside = volume.overhead;
    let room = to.0.checked_sub(beside.0).filter(|room| *room > 0);
    room.map(Bytes).ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            format!("{to} is too little: {beside} are beside the file system, on the disk that it is a part of"),
        )
    })
}

/// Refuses, while nothing has changed, to grow a file system that cannot be read, or that could
/// not follow its storage.
fn check_growth(
    fs: &FsType,
    device: &Path,
    mounted: Option<BorrowedFd<'_>>,
    to: Bytes,
) -> Result<()> {
    let open = File::open(device).context(|| format!("cannot open {device:?}"))?;
    match mounted {
        Some(dir) => fs.size_mounted(open.as_fd(), dir)?,
        None => fs.size(open.as_fd())?,
    };
    match fs.check_growth(to) {
        Err(refused) if !fs.is_grown_to(open.as_fd(), mounted, to)? => Err(refused),
        _ => Ok(()),
    }
}

/// Where a file system is when it is to grow.
enum Place {
    /// Mounted; this is a directory in it.
    Mounted(OwnedFd),
    /// On no device, or on one that nobody has open.
    Idle,
}

/// The size of the volume's device; `None`: it has none.
fn device_size(volume: &Volume) -> Result<Option<Bytes>> {
    let Some(attachment) = &volume.attachment else {
        return Ok(None);
    };
    let path = &attachment.device;
    // The end of a block device is its size; no ioctl is needed for that.
    let size = File::open(path)
        .and_then(|mut device| device.seek(SeekFrom::End(0)))
        .context(|| format!("cannot ask {path:?} for its size"))?;
    Ok(Some(Bytes(size)))
}

fn attached_device(volume: &Volume) -> Result<PathBuf> {
    volume
        .attachment
        .as_ref()
        .map(|attachment| attachment.device.clone())
        .ok_or_else(|| Error::new(ErrorKind::Io, "the device went away meanwhile"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume() -> Volume {
        Volume {
            access: Access::Device,
            ..Volume::directory(&VolumeName::parse("v").unwrap())
        }
    }

    #[test]
    fn a_file_system_has_what_is_not_beside_it() {
        let mut volume = volume();
        assert_eq!(room(&volume, Bytes(512)).unwrap(), Bytes(512));
        volume.overhead = Bytes(1024);
        assert_eq!(room(&volume, Bytes(1536)).unwrap(), Bytes(512));
        for too_small in [512, 1024] {
            let error = room(&volume, Bytes(too_small)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn only_a_disk_is_cut_without_a_look_at_its_content() {
        let mut volume = volume();
        volume.kind = Kind::Disk;
        assert_eq!(Mosaic::file_system(&volume).unwrap(), None);
        volume.kind = Kind::Fs {
            fs: None,
            assumed: false,
        };
        let error = Mosaic::file_system(&volume).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        volume.access = Access::Directory;
        assert_eq!(Mosaic::file_system(&volume).unwrap(), None);
    }
}
