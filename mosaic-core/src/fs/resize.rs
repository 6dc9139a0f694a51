// SPDX-License-Identifier: MIT OR Apache-2.0
//! How large a file system is, and making it larger or smaller.
//!
//! A file system rarely takes its device to the last byte, so "as large as its device" is a
//! question of its own: [`FsType::is_grown_to`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::SeekFrom;

use super::{FsType, Known, btrfs, ext4, open, refuse_claimed, xfs};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host_services::Host;
use crate::size::Bytes;

impl FsType {
    /// The size of an unmounted file system by its superblock.
    ///
    /// # Errors
    /// `Unsupported` for other types; `Corrupt` if there is no such file system in it.
    pub fn size(&self, device: BorrowedFd<'_>) -> Result<Bytes> {
        self.size_as(device, None)
    }

    /// The size of a mounted file system, `dir` being a directory in it. The superblock on the
    /// device of a mounted xfs or btrfs may be minutes old, so the kernel is asked.
    ///
    /// # Errors
    /// As [`Self::size`].
    pub fn size_mounted(&self, device: BorrowedFd<'_>, dir: BorrowedFd<'_>) -> Result<Bytes> {
        self.size_as(device, Some(dir))
    }

    fn size_as(&self, device: BorrowedFd<'_>, mounted: Option<BorrowedFd<'_>>) -> Result<Bytes> {
        match self.must_know("read the size of")? {
            Known::Ext4 => ext4::size(device),
            Known::Xfs => xfs::size(device, mounted),
            Known::Btrfs => btrfs::size(device, mounted),
        }
        .map(Bytes)
    }

    /// Whether the file system takes as much of a device of `device_size` as it can.
    ///
    /// That may be less than all of it: ext4 leaves a last block group that is too small for its
    /// own tables, xfs a last allocation group under 64 blocks, btrfs what is no whole sector.
    ///
    /// # Errors
    /// As [`Self::size`]; `Corrupt` if it takes more than there is.
    pub fn is_grown_to(
        &self,
        device: BorrowedFd<'_>,
        mounted: Option<BorrowedFd<'_>>,
        device_size: Bytes,
    ) -> Result<bool> {
        let size = self.size_as(device, mounted)?;
        let Some(tail) = device_size.0.checked_sub(size.0) else {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("{} has {size}, but its device only {device_size}", self.0),
            ));
        };
        let unusable = match self.must_know("read the size of")? {
            Known::Ext4 => ext4::unusable_tail(device)?,
            Known::Xfs => xfs::unusable_tail(device, mounted)?,
            Known::Btrfs => btrfs::unusable_tail(device)?,
        };
        Ok(tail < unusable)
    }

    /// Whether the file system can be grown, mounted or not; else why not.
    ///
    /// # Errors
    /// The reason.
    pub fn can_grow(&self) -> Result<(), String> {
        self.known()
            .map(|_| ())
            .ok_or_else(|| format!("Mosaic cannot grow {}", self.0))
    }

    /// Whether the file system can be grown while it is mounted; else why not.
    ///
    /// # Errors
    /// The reason.
    pub fn can_grow_online(&self) -> Result<(), String> {
        self.can_grow()
    }

    /// Refuses a size that no file system of this type is grown to: asked before its storage
    /// grows, which it could not follow.
    ///
    /// # Errors
    /// `Invalid`, with both sizes.
    pub fn check_growth(&self, to: Bytes) -> Result<()> {
        let least = btrfs::RESIZE_MIN;
        if self.known() != Some(Known::Btrfs) || to >= least {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Invalid,
            format!("btrfs cannot be grown to {to}, only to {least} or more"),
        ))
    }

    /// Whether the file system can be shrunk, unmounted; else why not.
    ///
    /// # Errors
    /// The reason.
    pub fn can_shrink(&self) -> Result<(), String> {
        match self.known() {
            Some(Known::Ext4 | Known::Btrfs) => Ok(()),
            Some(Known::Xfs) => Err("xfs cannot be shrunk".to_owned()),
            None => Err(format!("Mosaic cannot shrink {}", self.0)),
        }
    }

    /// Whether [`Self::grow`] of what is not mounted needs a block device (it mounts it): ext4 can
    /// be grown in its image.
    pub fn growth_needs_device(&self) -> bool {
        self.known() != Some(Known::Ext4)
    }

    /// Grows the file system to the whole device. `mounted` is a directory in it, open for
    /// reading, if it is mounted. Grown already is fine. An unmounted ext4 may be an image.
    ///
    /// # Errors
    /// `Unsupported` for other types; `Permission`; `Busy` if it is mounted and `mounted` is not
    /// given; `Invalid` as [`Self::check_growth`]; `Io` if it stayed smaller.
    pub fn grow(&self, host: &Host, device: &Path, mounted: Option<BorrowedFd<'_>>) -> Result<()> {
        let known = self.must_know("grow")?;
        if mounted.is_none() {
            refuse_claimed(device)?;
        }
        let handle = open(device)?;
        let size = length(&handle)?;
        if self.is_grown_to(handle.as_fd(), mounted, size)? {
            return Ok(());
        }
        self.check_growth(size)?;
        if let Some(call) = growing_call(known, mounted.is_some()) {
            host.debug(&format!("{call}: {} on {device:?} to {size}", self.0));
        }
        match (known, mounted) {
            (Known::Ext4, None) => ext4::grow_offline(host, device, size.0),
            (Known::Ext4, Some(dir)) => ext4::grow_online(handle.as_fd(), dir, size.0),
            (Known::Xfs, None) => xfs::grow_offline(device, size.0),
            (Known::Xfs, Some(dir)) => xfs::grow_online(dir, size.0),
            (Known::Btrfs, None) => btrfs::grow_offline(device),
            (Known::Btrfs, Some(dir)) => btrfs::grow_online(dir),
        }?;
        if self.is_grown_to(open(device)?.as_fd(), mounted, size)? {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Io,
            format!("{} on {device:?} did not grow to {size}", self.0),
        ))
    }

    /// Shrinks the unmounted file system so that it takes at most `to` bytes of its device. What
    /// does not fit is refused before anything is changed.
    ///
    /// Not stopped half-way by the user or by our death: it moves the only copy of blocks.
    ///
    /// # Errors
    /// `Unsupported` for xfs and others; `NoSpace` if its content does not fit, with both numbers;
    /// `Invalid` below the type's least; `Busy` if it is mounted; `Io`.
    pub fn shrink(&self, host: &Host, device: &Path, to: Bytes) -> Result<()> {
        if let Err(reason) = self.can_shrink() {
            return Err(Error::new(ErrorKind::Unsupported, reason));
        }
        self.check_size(to)?;
        refuse_claimed(device)?;
        if self.size(open(device)?.as_fd())? <= to {
            return Ok(());
        }
        match self.must_know("shrink")? {
            Known::Ext4 => ext4::shrink(host, device, to.0),
            _ => btrfs::shrink(host, device, to.0),
        }?;
        let size = self.size(open(device)?.as_fd())?;
        if size <= to {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Io,
            format!("{} on {device:?} has {size}, not {to}", self.0),
        ))
    }
}

/// The ioctl that grows a file system where no program does it.
fn growing_call(known: Known, mounted: bool) -> Option<&'static str> {
    match known {
        Known::Ext4 => mounted.then_some("EXT4_IOC_RESIZE_FS"),
        Known::Xfs => Some("XFS_IOC_FSGROWFSDATA"),
        Known::Btrfs => Some("BTRFS_IOC_RESIZE"),
    }
}

/// Bytes of a device or image.
pub(super) fn length(file: &OwnedFd) -> Result<Bytes> {
    rustix::fs::seek(file, SeekFrom::End(0))
        .map(Bytes)
        .context(|| "cannot find the size of a device".to_owned())
}
