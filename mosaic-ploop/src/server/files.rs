// SPDX-License-Identifier: MIT OR Apache-2.0
//! The images as the server reads and writes them: past the page cache where that can be.
//!
//! What does not lie as direct I/O wants it (tables, headers, the odd sector on a disk with larger
//! ones) goes through the page cache, and the kernel keeps the two at one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use mosaic_core::command::fd_path;
use mosaic_core::{Error, Result};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, statx};

use crate::files::{DiskFile, DiskFolder};
use crate::format::pages::PAGE;
use crate::format::storage::{Access, Folder, ImageFile};
use crate::format::units::FileOffset;

/// What a multiple of is good for direct I/O on all disks there are.
const COARSE: u64 = 4096;

/// The folder of a served disk.
#[derive(Debug)]
pub struct ServedFolder(DiskFolder);

/// An image in it.
#[derive(Debug)]
pub struct ServedFile {
    file: DiskFile,
    direct: Option<Direct>,
}

/// The same file past the page cache.
#[derive(Debug)]
struct Direct {
    file: File,
    /// Of what offsets and lengths are multiples.
    unit: u64,
    /// Of what addresses in memory are multiples.
    memory: usize,
}

impl ServedFolder {
    /// The folder with this descriptor.
    pub fn new(folder: OwnedFd) -> Self {
        Self(DiskFolder::in_dir(folder))
    }
}

impl ServedFolder {
    /// Opens an image so that it can be locked.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open_to_lock(&self, name: &str) -> Result<OwnedFd> {
        let file = self.0.open(name, Access::Read);
        let file = file.map_err(|e| Error::io(e, format!("cannot open {name:?}")))?;
        Ok(file.into())
    }
}

impl AsFd for ServedFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Folder for ServedFolder {
    type File = ServedFile;

    fn within(&self, path: &str) -> io::Result<Option<String>> {
        self.0.within(path)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<ServedFile> {
        let file = self.0.open(name, access)?;
        let direct = Direct::open(&file, access);
        Ok(ServedFile { file, direct })
    }

    fn create(&self, name: &str, public: bool) -> io::Result<ServedFile> {
        let file = self.0.create(name, public)?;
        let direct = Direct::open(&file, Access::Write);
        Ok(ServedFile { file, direct })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.0.sync(name)
    }

    fn is_shared(&self, name: &str) -> io::Result<bool> {
        self.0.is_shared(name)
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        self.0.random()
    }
}

impl Direct {
    /// `None` where the file system has no direct I/O.
    fn open(file: &DiskFile, access: Access) -> Option<Self> {
        let access = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
        };
        let flags = access | OFlags::DIRECT | OFlags::CLOEXEC;
        let direct = rustix::fs::open(fd_path(file.as_fd()), flags, Mode::empty()).ok()?;
        let (unit, memory) = units(&direct);
        Some(Self {
            file: direct.into(),
            unit,
            memory,
        })
    }

    fn suits(&self, buffer: &[u8], at: FileOffset) -> bool {
        buffer.as_ptr().addr().is_multiple_of(self.memory)
            && at.0.is_multiple_of(self.unit)
            && (buffer.len() as u64).is_multiple_of(self.unit)
    }
}

/// Multiples of what direct I/O on this file wants: of offsets, of addresses.
///
/// statx(2), `STATX_DIOALIGN`, Linux 6.1; earlier kernels do not say.
fn units(file: impl AsFd) -> (u64, usize) {
    let asked = StatxFlags::from_bits_retain(linux_raw_sys::general::STATX_DIOALIGN);
    let said = statx(file, c"", AtFlags::EMPTY_PATH, asked).ok();
    let said = said.filter(|stat| stat.stx_mask & asked.bits() != 0 && stat.stx_dio_mem_align != 0);
    said.map_or((COARSE, PAGE), |stat| {
        let memory = usize::try_from(stat.stx_dio_mem_align);
        let unit = u64::from(stat.stx_dio_offset_align.max(1));
        (unit, memory.unwrap_or(PAGE))
    })
}

impl ServedFile {
    /// A file without a name, such as one in memory.
    pub fn unnamed(file: OwnedFd) -> Self {
        let file = DiskFile::opened(file);
        Self { file, direct: None }
    }

    /// The file past the page cache, if this can be transferred so.
    pub(super) fn direct_for(&self, buffer: &[u8], at: FileOffset) -> Option<BorrowedFd<'_>> {
        self.direct_file(buffer, at).map(AsFd::as_fd)
    }

    fn direct_file(&self, buffer: &[u8], at: FileOffset) -> Option<&File> {
        let direct = self.direct.as_ref()?;
        direct.suits(buffer, at).then_some(&direct.file)
    }
}

impl AsFd for ServedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl ImageFile for ServedFile {
    fn read_at(&self, buffer: &mut [u8], at: FileOffset) -> io::Result<()> {
        match self.direct_file(buffer, at) {
            Some(direct) => direct.read_exact_at(buffer, at.0),
            None => self.file.read_at(buffer, at),
        }
    }

    fn write_at(&self, data: &[u8], at: FileOffset) -> io::Result<()> {
        match self.direct_file(data, at) {
            Some(direct) => direct.write_all_at(data, at.0),
            None => self.file.write_at(data, at),
        }
    }

    fn next_data(&self, at: FileOffset) -> io::Result<Option<FileOffset>> {
        self.file.next_data(at)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.file.set_length(bytes)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.flush()
    }

    fn zero(&self, at: FileOffset, bytes: u64) -> io::Result<()> {
        self.file.zero(at, bytes)
    }

    fn punch(&self, at: FileOffset, bytes: u64) -> io::Result<()> {
        self.file.punch(at, bytes)
    }
}
