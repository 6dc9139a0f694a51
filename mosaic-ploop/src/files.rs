// SPDX-License-Identifier: MIT OR Apache-2.0
//! The folder of a disk on a file system, as the format wants it.
//!
//! Names are looked up from the folder's own descriptor, so that it stays the same one even if it is
//! renamed; what a descriptor names absolutely is where it says. Only regular files are opened.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::format::storage::{Access, Folder, ImageFile};
use crate::format::units::FileOffset;

/// A folder.
#[derive(Debug)]
pub struct DiskFolder(OwnedFd);

/// A file in it.
#[derive(Debug)]
pub struct DiskFile(File);

impl DiskFolder {
    /// Opens the folder.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    fn open_with(&self, name: &str, flags: OFlags, mode: Mode) -> io::Result<DiskFile> {
        // Not to hang where somebody put a pipe in the place of an image.
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.0, name, flags, mode)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(io::Error::from(Errno::INVAL));
        }
        Ok(DiskFile(file.into()))
    }
}

impl Folder for DiskFolder {
    type File = DiskFile;

    fn open(&self, name: &str, access: Access) -> io::Result<DiskFile> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
        };
        self.open_with(name, flags, Mode::empty())
    }

    fn create(&self, name: &str, public: bool) -> io::Result<DiskFile> {
        let mode = Mode::from_raw_mode(if public { 0o644 } else { 0o600 });
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = self.open_with(name, flags, mode)?;
        // Whatever the umask is: others read a descriptor, and nobody an image.
        rustix::fs::fchmod(&file.0, mode)?;
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, from, &self.0, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let parent = match Path::new(name).parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => return Ok(rustix::fs::fsync(&self.0)?),
        };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let parent = rustix::fs::openat(&self.0, parent, flags, Mode::empty())?;
        Ok(rustix::fs::fsync(parent)?)
    }

    fn is_shared(&self, name: &str) -> io::Result<bool> {
        let stat = rustix::fs::statat(&self.0, name, AtFlags::empty())?;
        Ok(stat.st_nlink > 1)
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(bytes)
    }
}

impl DiskFile {
    /// Calls `fallocate`; `false` if the file system cannot do that.
    fn allocate(&self, flags: FallocateFlags, at: FileOffset, bytes: u64) -> io::Result<bool> {
        if bytes == 0 {
            return Ok(true);
        }
        loop {
            return match rustix::fs::fallocate(&self.0, flags, at.0, bytes) {
                Ok(()) => Ok(true),
                Err(Errno::INTR) => continue,
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
                Err(e) => Err(e.into()),
            };
        }
    }
}

impl ImageFile for DiskFile {
    fn read_at(&self, buffer: &mut [u8], at: FileOffset) -> io::Result<()> {
        self.0.read_exact_at(buffer, at.0)
    }

    fn write_at(&self, data: &[u8], at: FileOffset) -> io::Result<()> {
        self.0.write_all_at(data, at.0)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// Leaves no hole: old drivers want none.
    fn zero(&self, at: FileOffset, bytes: u64) -> io::Result<()> {
        if self.allocate(FallocateFlags::ZERO_RANGE, at, bytes)? {
            return Ok(());
        }
        self.write_zeros(at, bytes)
    }

    fn punch(&self, at: FileOffset, bytes: u64) -> io::Result<()> {
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if self.allocate(hole, at, bytes)? {
            return Ok(());
        }
        // Within the file, so that it stays as long as it is.
        let end = self.length()?.min(at.0.saturating_add(bytes));
        self.zero(at, end.saturating_sub(at.0))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use tempfile::TempDir;

    use super::*;

    fn folder() -> (TempDir, DiskFolder) {
        let path = TempDir::new().unwrap();
        let folder = DiskFolder::open(path.path()).unwrap();
        (path, folder)
    }

    #[test]
    fn a_file_is_made_once_and_read_by_whom_it_is_meant_for() {
        let (path, folder) = folder();
        for (name, is_public, mode) in [("d", true, 0o644), ("i", false, 0o600)] {
            folder.create(name, is_public).unwrap();
            let again = folder.create(name, is_public).unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
            let found = path.path().join(name).metadata().unwrap();
            assert_eq!(found.permissions().mode() & 0o777, mode);
        }
        let missing = folder.open("x", Access::Read).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let missing = folder.remove("x").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        folder.sync("d").unwrap();
        folder
            .sync(path.path().join("d").to_str().unwrap())
            .unwrap();
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let (path, folder) = folder();
        std::fs::create_dir(path.path().join("folder")).unwrap();
        let pipe = path.path().join("pipe");
        let kind = FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, Mode::RUSR, 0).unwrap();
        for name in ["folder", "pipe", "/dev/null", "."] {
            assert!(folder.open(name, Access::Read).is_err(), "{name}");
        }
    }

    #[test]
    fn a_file_with_two_names_is_shared() {
        let (path, folder) = folder();
        folder.create("a", false).unwrap();
        assert!(!folder.is_shared("a").unwrap());
        std::fs::hard_link(path.path().join("a"), path.path().join("b")).unwrap();
        assert!(folder.is_shared("a").unwrap() && folder.is_shared("b").unwrap());
        folder.rename("b", "c").unwrap();
        folder.remove("c").unwrap();
        assert!(!folder.is_shared("a").unwrap());
    }

    #[test]
    fn zeros_take_space_and_holes_give_it_back() {
        let (path, folder) = folder();
        let file = folder.create("a", false).unwrap();
        file.write_at(&[1; 100], FileOffset(4096)).unwrap();
        file.zero(FileOffset(4100), 1 << 20).unwrap();
        let length = 4100 + (1 << 20);
        assert_eq!(file.length().unwrap(), length);
        file.flush().unwrap();
        let blocks = || path.path().join("a").metadata().unwrap().blocks() * 512;
        let full = blocks();
        assert!(full >= 1 << 20, "{full}");
        file.punch(FileOffset(4098), 1 << 19).unwrap();
        file.flush().unwrap();
        assert_eq!(file.length().unwrap(), length);
        let mut bytes = vec![9; 200];
        file.read_at(&mut bytes, FileOffset(4090)).unwrap();
        let expected = [&[0; 6][..], &[1; 2], &[0; 192]].concat();
        assert_eq!(bytes, expected);
        let past = file.read_at(&mut bytes, FileOffset(length - 10));
        assert_eq!(past.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        file.punch(FileOffset(length - 10), 100).unwrap();
        assert_eq!(file.length().unwrap(), length);
    }
}
