// SPDX-License-Identifier: MIT OR Apache-2.0
//! Block devices: their nodes, sizes, and reading and writing them past the page cache.
//!
//! A node in `/dev` may be missing, or lead to another device than its name says. So a device is
//! known by its number, its node is looked up in sysfs, and what was opened is proven to be it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mosaic_core::busy;
use mosaic_core::{Bytes, Context, Error, ErrorKind, Result};
use rustix::fs::{FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::catalog::slot::PAGE;
use crate::target::DeviceNumber;
use crate::thin_metadata::{BLOCK, Blocks};

/// How long a program is waited for that is just done with a device.
pub(crate) const PASSING: Duration = Duration::from_secs(1);

/// The node of a block device in `/dev`.
///
/// # Errors
/// `NotFound` if there is no such device.
///
/// Kernel: `/sys/dev/block/MAJOR:MINOR/uevent` has its name beneath `/dev` (`DEVNAME`), which is
/// also what devtmpfs calls it.
pub fn node(number: DeviceNumber) -> Result<PathBuf> {
    let path = format!("/sys/dev/block/{number}/uevent");
    let text = std::fs::read_to_string(&path);
    let text = text.context(|| format!("there is no block device {number}"))?;
    let name = text.lines().find_map(|line| line.strip_prefix("DEVNAME="));
    let name = name.filter(|name| !name.split('/').any(|part| matches!(part, "" | "." | "..")));
    name.map(|name| Path::new("/dev").join(name))
        .ok_or_else(|| Error::new(ErrorKind::Io, format!("{path} says no name")))
}

/// The number of the block device behind a node.
///
/// # Errors
/// `NotFound`; `Invalid` if it is something else, or leads elsewhere than its name says.
pub fn number(path: &Path) -> Result<DeviceNumber> {
    let stat = rustix::fs::stat(path).context(|| format!("cannot look at {path:?}"))?;
    let number = number_of(&stat)
        .ok_or_else(|| Error::new(ErrorKind::Invalid, format!("{path:?} is no block device")))?;
    match name_in_mapper(path).filter(|name| !is_mangled(name)) {
        Some(name) => require_name(path, number, name).map(|()| number),
        None => Ok(number),
    }
}

/// The name of device-mapper that a path stands for: `/dev/mapper/NAME`.
pub(crate) fn name_in_mapper(path: &Path) -> Option<&str> {
    let name = path.strip_prefix("/dev/mapper").ok()?.to_str()?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// Whether udev wrote it in another way: `\x20`.
fn is_mangled(name: &str) -> bool {
    name.contains('\\')
}

/// Refuses a node in `/dev/mapper` that was left there when its device went, and leads to the next
/// device that got the number.
///
/// Kernel: `/sys/dev/block/MAJOR:MINOR/dm/name`, sysfs-block-dm in Documentation/ABI.
fn require_name(path: &Path, number: DeviceNumber, name: &str) -> Result<()> {
    let has = std::fs::read_to_string(format!("/sys/dev/block/{number}/dm/name"));
    let has = has.unwrap_or_default();
    if has.trim_end() == name {
        return Ok(());
    }
    let what = match has.trim_end() {
        "" => "which is none of device-mapper's".to_owned(),
        has => format!("which is {has:?}"),
    };
    Err(Error::new(
        ErrorKind::Invalid,
        format!("{path:?} is stale: it leads to device {number}, {what}; remove it"),
    ))
}

fn number_of(stat: &rustix::fs::Stat) -> Option<DeviceNumber> {
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice;
    is_device.then(|| stat.st_rdev.into())
}

/// An open block device.
#[derive(Debug)]
pub struct BlockDevice {
    file: OwnedFd,
    path: PathBuf,
}

impl BlockDevice {
    /// Opens a device by its number.
    ///
    /// # Errors
    /// `NotFound` if it is gone; `Unsupported` if its node is missing or another device's; `Busy`
    /// for an exclusive open of one in use, naming who uses it.
    pub fn open(number: DeviceNumber, flags: OFlags) -> Result<Self> {
        let path = node(number)?;
        let file = rustix::fs::open(&path, flags | OFlags::CLOEXEC, Mode::empty());
        let file = match file {
            Ok(file) => file,
            Err(errno) => {
                // It may have gone in between, and its node with it.
                node(number)?;
                return Err(cannot_open(&path, errno));
            }
        };
        let stat = rustix::fs::fstat(&file).context(|| format!("cannot look at {path:?}"))?;
        if number_of(&stat) != Some(number) {
            node(number)?;
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{path:?} is not device {number}; mount devtmpfs on /dev"),
            ));
        }
        Ok(Self { file, path })
    }

    /// Opens a device by its number so that nobody else can have it: nobody mounts it, has it in a
    /// device, or writes to it, the last of which the kernel does not see to.
    ///
    /// # Errors
    /// As [`Self::open`]; `Busy`, naming who writes to it.
    pub fn claim(number: DeviceNumber) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::EXCL | OFlags::DIRECT;
        let device = Self::open(number, flags)?;
        let start = Instant::now();
        loop {
            let writers = busy::writers_of_device(&device.path)?;
            if writers.is_empty() {
                return Ok(device);
            }
            if start.elapsed() > PASSING {
                let text = format!("{:?} is {}", device.path, writers.describe());
                return Err(Error::new(ErrorKind::Busy, text));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Opens the same device once more.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn again(&self, flags: OFlags) -> Result<Self> {
        let stat = rustix::fs::fstat(&self.file);
        let stat = stat.context(|| format!("cannot look at {:?}", self.path))?;
        Self::open(stat.st_rdev.into(), flags)
    }

    /// Its node.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor.
    pub fn into_fd(self) -> OwnedFd {
        self.file
    }

    /// Its size.
    ///
    /// # Errors
    /// The kernel's.
    pub fn size(&self) -> Result<Bytes> {
        rustix::fs::seek(&self.file, SeekFrom::End(0))
            .map(Bytes)
            .context(|| format!("cannot find the size of {:?}", self.path))
    }

    /// What a size has to be whole multiples of: its logical blocks.
    ///
    /// # Errors
    /// The kernel's.
    pub fn sector(&self) -> Result<Bytes> {
        rustix::fs::ioctl_blksszget(&self.file)
            .map(|bytes| Bytes(bytes.into()))
            .context(|| format!("cannot find the sector size of {:?}", self.path))
    }

    /// Reads bytes at a place. With direct I/O both are whole [`PAGE`]s.
    ///
    /// # Errors
    /// The kernel's; `Io` if the device ends before.
    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let failed = || format!("cannot read {:?} at byte {offset}", self.path);
        let mut buffer = AlignedBuffer::new(length);
        let mut done = 0;
        while done < length {
            let at = offset + done as u64;
            match rustix::io::pread(&self.file, &mut buffer.bytes_mut()[done..], at) {
                Ok(0) => {
                    let error = Error::new(ErrorKind::Io, failed());
                    return Err(error.with_source("it ends before"));
                }
                Ok(more) => done += more,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io(errno, failed())),
            }
        }
        Ok(buffer.bytes_mut().to_vec())
    }

    /// Writes bytes at a place, not yet durably. With direct I/O both are whole [`PAGE`]s.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut buffer = AlignedBuffer::new(bytes.len());
        buffer.bytes_mut().copy_from_slice(bytes);
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let failed = || format!("cannot write {:?} at byte {at}", self.path);
            match rustix::io::pwrite(&self.file, &buffer.bytes_mut()[done..], at) {
                Ok(0) => {
                    let error = Error::new(ErrorKind::Io, failed());
                    return Err(error.with_source("the kernel takes nothing"));
                }
                Ok(more) => done += more,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io(errno, failed())),
            }
        }
        Ok(())
    }

    /// Makes all that was written to it durable.
    ///
    /// # Errors
    /// The kernel's.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::fsync(&self.file).context(|| format!("cannot flush {:?}", self.path))
    }
}

impl AsFd for BlockDevice {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Blocks for BlockDevice {
    fn block(&self, number: u64) -> Result<Box<[u8; BLOCK]>> {
        let end = || {
            let text = format!(
                "metadata block {number} is beyond the end of {:?}",
                self.path
            );
            Error::new(ErrorKind::Corrupt, text)
        };
        let offset = number.checked_mul(BLOCK as u64).ok_or_else(end)?;
        if i64::try_from(offset).is_err() || offset + BLOCK as u64 > self.size()?.0 {
            return Err(end());
        }
        let bytes = self.read(offset, BLOCK)?.into_boxed_slice();
        bytes.try_into().map_err(|_| end())
    }
}

fn cannot_open(path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::NOENT => Error::new(
            ErrorKind::Unsupported,
            format!(
                "{path:?} is missing although the kernel has that device; mount devtmpfs on /dev"
            ),
        ),
        Errno::BUSY => match busy::openers_of_device(path) {
            Ok(uses) => Error::new(ErrorKind::Busy, format!("{path:?} is {}", uses.describe())),
            Err(error) => error.with_kind(ErrorKind::Busy),
        },
        _ => Error::io(errno, format!("cannot open {path:?}")),
    }
}

/// Bytes that begin at a whole page of memory, as direct I/O needs.
struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    fn new(length: usize) -> Self {
        let bytes = vec![0; length + PAGE];
        let start = bytes.as_ptr().align_offset(PAGE).min(PAGE);
        Self {
            bytes,
            start,
            length,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_at_whole_pages() {
        for length in [0, 1, PAGE, 3 * PAGE] {
            let mut buffer = AlignedBuffer::new(length);
            assert_eq!(buffer.bytes_mut().len(), length);
            assert_eq!(buffer.bytes_mut().as_ptr().align_offset(PAGE), 0);
        }
    }

    #[test]
    fn what_is_no_block_device_is_told_apart() {
        let error = number(Path::new("/dev/null")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let error = number(Path::new("/dev/there-is-none")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let none = DeviceNumber {
            major: 4095,
            minor: 77,
        };
        assert_eq!(node(none).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
