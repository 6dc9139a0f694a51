// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done per file system type: make, identify, grow, shrink, check. One file per type.
//!
//! ext4, xfs and btrfs are known; any other `mkfs.X` of the system can make a volume, and nothing
//! more is done with it. A program's exit status is never believed where the superblock can be
//! asked: `xfs_admin -U` ends with 0 when it refuses.

mod btrfs;
mod detached;
mod ext4;
mod resize;
mod superblock;
#[cfg(test)]
mod tests;
mod xfs;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

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
    /// beside its origin, or take the one for the other; else why not.
    ///
    /// # Errors
    /// The reason.
    pub fn can_renew_uuid(&self) -> Result<(), String> {
        self.known().map(|_| ()).ok_or_else(|| {
            format!(
                "Mosaic cannot give a clone of {self} a UUID of its own; it can for ext4, xfs and btrfs"
            )
        })
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
    /// `Unsupported` for other types; `Busy` if it is mounted, or for a btrfs with a log tree;
    /// `Corrupt` for damage; `Io` if the UUID did not change. The copy is then of no use.
    pub fn renew_uuid(&self, host: &Host, target: &Path) -> Result<()> {
        let known = self.must_know("renew the UUID of")?;
        refuse_claimed(target)?;
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

    /// Checks an unmounted file system: `None` if it is clean, else what the checker said. With
    /// `repair` what it said was mended.
    ///
    /// # Errors
    /// `Unsupported` for other types; `Busy` if it is mounted; `Corrupt` if damage is left after a
    /// repair; `Io`.
    pub fn check(&self, host: &Host, device: &Path, repair: bool) -> Result<Option<String>> {
        let known = self.must_know("check")?;
        refuse_claimed(device)?;
        match known {
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

/// Refuses a block device that is mounted or otherwise claimed. An image has no such claim.
///
/// Kernel: `O_EXCL` without `O_CREAT` on a block device, open(2).
fn refuse_claimed(path: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(_) => Ok(()),
        Err(Errno::BUSY) => Err(Error::new(
            ErrorKind::Busy,
            format!("{path:?} is mounted or claimed by something else"),
        )),
        Err(errno) => Err(Error::io(errno, format!("cannot open {path:?}"))),
    }
}
