// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done per file system type: make, identify, grow, shrink, check. One file per type.
//!
//! ext4, xfs and btrfs are known; any other `mkfs.X` of the system can make a volume, and nothing
//! more is done with it. A program's exit status is never believed where the superblock can be
//! asked: `xfs_admin -U` ends with 0 when it refuses.

mod btrfs;
mod detached;
mod ext4;
mod superblock;
#[cfg(test)]
mod tests;
mod xfs;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, SeekFrom};

use crate::command::{Command, find_program};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host_services::Host;
use crate::size::Bytes;

/// The longest name of a type that the kernel would tell apart anyway.
const NAME_MAX: usize = 32;

/// A type of file system: `ext4`, `xfs`, `btrfs`, or any X of a `mkfs.X`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FsType(String);

/// The types of which more is known than their mkfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Ext4,
    Xfs,
    Btrfs,
}

impl FsType {
    /// Reads a type: `[a-z0-9]+`, 32 at most.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn parse(text: &str) -> Result<Self> {
        let good = !text.is_empty()
            && text.len() <= NAME_MAX
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !good {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{text:?} is no type of file system; ext4, xfs or btrfs is"),
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The type's name: what stands behind `mkfs.` and what mount takes.
    pub fn name(&self) -> &str {
        &self.0
    }

    fn known(&self) -> Option<Known> {
        match self.name() {
            "ext4" => Some(Known::Ext4),
            "xfs" => Some(Known::Xfs),
            "btrfs" => Some(Known::Btrfs),
            _ => None,
        }
    }

    fn mkfs(&self) -> String {
        format!("mkfs.{}", self.0)
    }

    /// Refuses a type whose mkfs is not installed.
    ///
    /// # Errors
    /// `Unsupported`, with the package that has it.
    pub fn check_available(&self) -> Result<()> {
        if find_program(&self.mkfs()).is_some() {
            return Ok(());
        }
        let package = match self.known() {
            Some(Known::Ext4) => "; install e2fsprogs",
            Some(Known::Xfs) => "; install xfsprogs",
            Some(Known::Btrfs) => "; install btrfs-progs",
            None => "",
        };
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("{} is not installed{package}", self.mkfs()),
        ))
    }

    /// The least size that mkfs makes something whole of; `None`: unknown.
    pub fn min_size(&self) -> Option<Bytes> {
        self.known().map(|known| match known {
            Known::Ext4 => ext4::MIN_SIZE,
            Known::Xfs => xfs::MIN_SIZE,
            Known::Btrfs => btrfs::MIN_SIZE,
        })
    }

    /// Refuses a size that is too small for the type.
    ///
    /// # Errors
    /// `Invalid`, with both numbers.
    pub fn check_size(&self, size: Bytes) -> Result<()> {
        match self.min_size() {
            Some(least) if size < least => Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "{size} ({} bytes) is too small for {}, which needs {least} ({} bytes)",
                    size.0, self.0, least.0
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Makes an empty file system over whatever `target`, a device or an image, holds.
    ///
    /// The target may be a [`crate::command::fd_path`].
    ///
    /// # Errors
    /// `Unsupported` without mkfs; `Interrupted`; `Io` with what mkfs said.
    pub fn make(&self, host: &Host, target: &Path) -> Result<()> {
        self.check_available()?;
        let options: &[&str] = match self.known() {
            Some(Known::Ext4) => &ext4::MKFS_OPTIONS,
            Some(Known::Xfs) => &xfs::MKFS_OPTIONS,
            Some(Known::Btrfs) => &btrfs::MKFS_OPTIONS,
            None => &[],
        };
        Command::new(self.mkfs())
            .args(options)
            .arg(target)
            .run(host)?;
        Ok(())
    }

    /// Whether a copy can be given a UUID of its own, without which the kernel would not mount it
    /// beside its origin, or take the one for the other.
    pub fn can_renew_uuid(&self) -> bool {
        self.known().is_some()
    }

    /// Whether [`Self::renew_uuid`] needs a block device (it mounts it), not just the image.
    pub fn renewal_needs_device(&self) -> bool {
        self.known() == Some(Known::Xfs)
    }

    /// Whether a copy taken of a file system in use is in a state whose UUID can be renewed.
    ///
    /// Only btrfs has one that is not: with a log tree, which lives from an fsync to the next
    /// commit. Another copy, taken after syncfs, may be clean.
    ///
    /// # Errors
    /// `Corrupt` if there is no such file system in it.
    pub fn clone_is_clean(&self, image: BorrowedFd<'_>) -> Result<bool> {
        match self.known() {
            Some(Known::Btrfs) => btrfs::has_no_log(image),
            _ => Ok(true),
        }
    }

    /// Gives an unmounted copy a new random UUID, replaying its journal or log first where that is
    /// needed, and reads it back. `target` is a device, or, unless [`Self::renewal_needs_device`],
    /// an image.
    ///
    /// # Errors
    /// `Unsupported` for other types; `Busy` for a btrfs with a log tree; `Corrupt` for damage;
    /// `Io` if the UUID did not change. The copy is then of no use.
    pub fn renew_uuid(&self, host: &Host, target: &Path) -> Result<()> {
        let known = self.must_know("renew the UUID of")?;
        let before = self.uuid(open(target)?.as_fd())?;
        match known {
            Known::Ext4 => ext4::renew_uuid(host, target)?,
            Known::Xfs => xfs::renew_uuid(host, target)?,
            Known::Btrfs => btrfs::renew_uuid(host, target)?,
        }
        let after = self.uuid(open(target)?.as_fd())?;
        if before == after {
            return Err(Error::new(
                ErrorKind::Io,
                format!("the UUID of the {} file system did not change", self.0),
            ));
        }
        Ok(())
    }

    /// The UUID in the superblock of a device or image.
    ///
    /// # Errors
    /// `Unsupported` for other types; `Corrupt` if there is no such file system in it.
    pub fn uuid(&self, file: BorrowedFd<'_>) -> Result<[u8; 16]> {
        match self.must_know("read the UUID of")? {
            Known::Ext4 => ext4::uuid(file),
            Known::Xfs => xfs::uuid(file),
            Known::Btrfs => btrfs::uuid(file),
        }
    }

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
    /// As [`Self::size`].
    pub fn is_grown_to(
        &self,
        device: BorrowedFd<'_>,
        mounted: Option<BorrowedFd<'_>>,
        device_size: Bytes,
    ) -> Result<bool> {
        let tail = device_size
            .0
            .saturating_sub(self.size_as(device, mounted)?.0);
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

    /// Grows the file system to the whole device. `mounted` is a directory in it, open for
    /// reading, if it is mounted. Grown already is fine.
    ///
    /// # Errors
    /// `Unsupported` for other types; `Permission`; `Busy` if it is mounted and `mounted` is not
    /// given; `Io` if it stayed smaller.
    pub fn grow(&self, host: &Host, device: &Path, mounted: Option<BorrowedFd<'_>>) -> Result<()> {
        let known = self.must_know("grow")?;
        let handle = open(device)?;
        let size = length(&handle)?;
        if self.is_grown_to(handle.as_fd(), mounted, size)? {
            return Ok(());
        }
        match (known, mounted) {
            (Known::Ext4, None) => ext4::grow_offline(host, device),
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

    /// Checks an unmounted file system: `None` if it is clean, else what the checker said. With
    /// `repair` what it said was mended.
    ///
    /// # Errors
    /// `Unsupported` for other types; `Corrupt` if damage is left after a repair; `Io`.
    pub fn check(&self, host: &Host, device: &Path, repair: bool) -> Result<Option<String>> {
        match self.must_know("check")? {
            Known::Ext4 => ext4::check(host, device, repair),
            Known::Xfs => xfs::check(host, device, repair),
            Known::Btrfs => btrfs::check(host, device, repair),
        }
    }

    fn must_know(&self, verb: &str) -> Result<Known> {
        self.known().ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("Mosaic cannot {verb} {}; only ext4, xfs and btrfs", self.0),
            )
        })
    }
}

impl fmt::Display for FsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Opens a device or image for reading its superblock, anew each time: a descriptor that was open
/// before a tool ran could be that of another file by the same name.
fn open(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("cannot open {path:?}"))
}

/// Bytes of a device or image.
fn length(file: &OwnedFd) -> Result<Bytes> {
    rustix::fs::seek(file, SeekFrom::End(0))
        .map(Bytes)
        .context(|| "cannot find the size of a device".to_owned())
}
