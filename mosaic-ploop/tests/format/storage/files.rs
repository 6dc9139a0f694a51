// SPDX-License-Identifier: MIT OR Apache-2.0
//! A folder of real files, for programs that read no other.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use mosaic_ploop::format::storage::{Access, Folder, ImageFile};
use mosaic_ploop::format::units::FileOffset;

/// A real folder.
#[derive(Debug, Clone)]
pub struct FileFolder(PathBuf);

/// A file in it.
#[derive(Debug)]
pub struct RealFile(File);

impl FileFolder {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Folder for FileFolder {
    type File = RealFile;

    fn open(&self, name: &str, access: Access) -> io::Result<RealFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::Write);
        options.open(self.path(name)).map(RealFile)
    }

    fn create(&self, name: &str, _public: bool) -> io::Result<RealFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        options.open(self.path(name)).map(RealFile)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name))
    }

    fn sync(&self, _name: &str) -> io::Result<()> {
        // Nobody cuts the power here.
        Ok(())
    }

    fn is_shared(&self, name: &str) -> io::Result<bool> {
        Ok(std::fs::metadata(self.path(name))?.nlink() > 1)
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

impl ImageFile for RealFile {
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
        Ok(())
    }

    /// By a hole, as far as it is beyond the end.
    fn zero(&self, at: FileOffset, bytes: u64) -> io::Result<()> {
        let (length, end) = (self.length()?, at.0 + bytes);
        if length < end {
            self.set_length(end)?;
        }
        let mut next = at.0;
        while next < length.min(end) {
            let part = (length.min(end) - next).min(4096);
            self.write_at(&vec![0; usize::try_from(part).unwrap()], FileOffset(next))?;
            next += part;
        }
        Ok(())
    }
}
