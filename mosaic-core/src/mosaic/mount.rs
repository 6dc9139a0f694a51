// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes and the metadata in the tree.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{StatVfsMountFlags, fstatvfs};

use super::Mosaic;
use super::guard::Names;
use crate::busy;
use crate::error::{Context, Error, ErrorKind, Needs, Result};
use crate::mounts::{self, MountOptions, Mountpoint, Target};
use crate::name::VolumeName;
use crate::volume::{Access, Kind, Lifetime, MountSource, Volume};

/// How long `umount` waits for the kernel to take a device away after its last mount.
const DEVICE_GONE: Duration = Duration::from_secs(5);

impl Mosaic {
    /// Mounts a volume, or the metadata (`None`), at a directory.
    ///
    /// Steps: open the target, lock the name, look; the driver gives a directory or sets a device
    /// up that lives as long as our descriptor or its mount; the mount is made detached with all
    /// its attributes; **commit**: it is moved to the target. A kill before that leaves nothing:
    /// the kernel takes the mount and the device away with our descriptors.
    ///
    /// # Errors
    /// `NotFound` for volume or directory; `Invalid` for a disk; `Busy` if the directory is a mount
    /// point, or the volume is used in a way that excludes this mount; `Permission`.
    pub fn mount(&self, volume: Option<&str>, path: &Path, options: &MountOptions) -> Result<()> {
        let failed = || format!("cannot mount {} at {path:?}", what(volume));
        self.try_mount(volume, path, options).context(failed)
    }

    fn try_mount(&self, volume: Option<&str>, path: &Path, options: &MountOptions) -> Result<()> {
        let name = volume.map(|volume| self.name(volume)).transpose()?;
        Self::require_root("mounting")?;
        let options = match &self.config.mount_options {
            Some(defaults) => MountOptions::merged(&MountOptions::parse(defaults)?, options),
            None => *options,
        };
        let target = mounts::open_target(path)?;
        match name {
            None => self.mount_metadata(&target, &options),
            Some(name) => self.mount_volume(&name, &target, &options),
        }
    }

    fn mount_metadata(&self, target: &Target, options: &MountOptions) -> Result<()> {
        if let Some(dir) = self.metadata_directory()? {
            return self.bind(dir.as_fd(), target, options);
        }
        let metadata = match self.driver.metadata() {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                // A location that is of no use says why.
                self.driver.lock_scope()?;
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "there is no metadata: layout.fs is not set in the config file",
                ));
            }
            found => found?,
        };
        let _guard = self.lock_names(&Names::default())?;
        self.mount_source(None, &metadata, target, options)
    }

    fn mount_volume(
        &self,
        name: &VolumeName,
        target: &Target,
        options: &MountOptions,
    ) -> Result<()> {
        let _guard = self.lock_names(&Names {
            exclusive: vec![name],
            ..Names::default()
        })?;
        let volume = self.existing(name)?;
        self.mount_source(Some(name), &volume, target, options)
    }

    fn mount_source(
        &self,
        name: Option<&VolumeName>,
        volume: &Volume,
        target: &Target,
        options: &MountOptions,
    ) -> Result<()> {
        let Kind::Fs { fs, .. } = &volume.kind else {
            return Err(Error::new(
                ErrorKind::Invalid,
                "it is a disk, whose content is its user's; attach it instead",
            ));
        };
        let read_only = options.is_read_only();
        if volume.read_only && !read_only {
            return Err(Error::new(
                ErrorKind::Invalid,
                "it is read-only, and its clones are not",
            )
            .that_needs(Needs::ReadOnlyMount));
        }
        if let Some(attachment) = &volume.attachment
            && attachment.read_only
            && !read_only
        {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("it is in use read-only at {}", attachment.device.display()),
            )
            .that_needs(Needs::ReadOnlyMount));
        }
        // A second mount shares the superblock of the first, which has been made for that one.
        let fresh = volume.attachment.as_ref().is_none_or(|attachment| {
            busy::mounts_of_device(&attachment.device).is_ok_and(|uses| uses.is_empty())
        });
        match self.driver.mount_source(name, read_only)? {
            MountSource::Directory(dir) => self.bind(dir.as_fd(), target, options),
            MountSource::Device {
                path,
                handle: _kept,
            } => {
                let fs = fs.as_deref().ok_or_else(|| {
                    Error::new(ErrorKind::Corrupt, "its file system type is not known")
                })?;
                let read_only_superblock = read_only && fresh;
                let host = self.host();
                mounts::mount_device(&host, fs, &path, target, options, read_only_superblock)
            }
        }
    }

    fn bind(&self, dir: BorrowedFd<'_>, target: &Target, options: &MountOptions) -> Result<()> {
        self.host().debug(&format!(
            "mount its directory at {:?} -o {options}",
            target.path()
        ));
        let now = fstatvfs(dir).context(|| "cannot look at its file system".to_owned())?;
        if now.f_flag.contains(StatVfsMountFlags::RDONLY) && !options.is_read_only() {
            return Err(Error::new(
                ErrorKind::Permission,
                "its file system is mounted read-only",
            )
            .that_needs(Needs::ReadOnlyMount));
        }
        mounts::mount_directory(dir, target, options)
    }

    fn unbind(&self, mountpoint: &Mountpoint) -> Result<()> {
        self.host()
            .debug(&format!("umount2 {:?}", mountpoint.path()));
        mounts::umount_at(mountpoint)
    }

    /// Takes a mount of a volume, or of the metadata (`None`), out of the tree, after proof that it
    /// is one. Returns when the device behind the last mount is gone.
    ///
    /// # Errors
    /// `Invalid` if `path` is not a mount of it; `Busy`, naming who uses it; `NotFound`.
    pub fn umount(&self, volume: Option<&str>, path: &Path) -> Result<()> {
        let failed = || format!("cannot unmount {} from {path:?}", what(volume));
        self.try_umount(volume, path).context(failed)
    }

    fn try_umount(&self, volume: Option<&str>, path: &Path) -> Result<()> {
        let name = volume.map(|volume| self.name(volume)).transpose()?;
        Self::require_root("unmounting")?;
        let mountpoint = Mountpoint::open(path)?;
        let Some(name) = name else {
            return self.umount_metadata(&mountpoint);
        };
        let _guard = self.lock_names(&Names {
            exclusive: vec![&name],
            ..Names::default()
        })?;
        let volume = self.existing(&name)?;
        if !self.is_mount_of(&name, &volume, &mountpoint)? {
            return Err(not_a_mount());
        }
        self.unbind(&mountpoint)?;
        // It is unmounted, whatever can be found out about the device.
        if let Err(error) = self.wait_for_device(&name, &volume) {
            self.warn(&error.chain());
        }
        Ok(())
    }

    fn umount_metadata(&self, mountpoint: &Mountpoint) -> Result<()> {
        let is_ours = match self.metadata_directory()? {
            Some(dir) => mountpoint.is_mount_of_directory(dir.as_fd())?,
            None => match self.driver.metadata()?.attachment {
                Some(attachment) => mountpoint.is_mount_of_device(&attachment.device)?,
                None => false,
            },
        };
        if !is_ours {
            return Err(not_a_mount());
        }
        self.unbind(mountpoint)
    }

    fn is_mount_of(
        &self,
        name: &VolumeName,
        volume: &Volume,
        mountpoint: &Mountpoint,
    ) -> Result<bool> {
        match (volume.access, &volume.attachment) {
            (Access::Device, None) => Ok(false),
            (Access::Device, Some(attachment)) => mountpoint.is_mount_of_device(&attachment.device),
            (Access::Directory, _) => match self.driver.mount_source(Some(name), true)? {
                MountSource::Directory(dir) => mountpoint.is_mount_of_directory(dir.as_fd()),
                MountSource::Device { .. } => Ok(false),
            },
        }
    }

    /// Waits until a device that was there for its mounts is gone, so that the next verb does not
    /// meet it on its way out. One that stays has other mounts or openers, and is theirs.
    fn wait_for_device(&self, name: &VolumeName, before: &Volume) -> Result<()> {
        match &before.attachment {
            Some(attachment) if attachment.lifetime == Lifetime::Mount => {
                self.wait_until_gone(name, &attachment.device)
            }
            _ => Ok(()),
        }
    }

    /// Waits, but not long, until the volume is no longer shown by a device that nobody mounts.
    pub(super) fn wait_until_gone(&self, name: &VolumeName, device: &Path) -> Result<()> {
        let deadline = Instant::now() + DEVICE_GONE;
        loop {
            let now = self.driver.find(name)?.and_then(|volume| volume.attachment);
            if now.is_none_or(|now| now.device != device) || Instant::now() >= deadline {
                return Ok(());
            }
            // An error here says that the device has just gone.
            if busy::mounts_of_device(device).is_ok_and(|uses| !uses.is_empty()) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn what(volume: Option<&str>) -> String {
    match volume {
        Some(volume) => format!("volume {volume:?}"),
        None => "the metadata".to_owned(),
    }
}

fn not_a_mount() -> Error {
    Error::new(ErrorKind::Invalid, "it is not mounted there")
}
