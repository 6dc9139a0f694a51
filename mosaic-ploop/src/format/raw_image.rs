// SPDX-License-Identifier: MIT OR Apache-2.0
//! A raw base: the disk's bytes one after the other, without a header.

use super::error::{Error, Result};
use super::flushes::Flushes;
use super::header::SizeFault;
use super::storage::ImageFile;
use super::units::{ClusterSize, DiskOffset, FileOffset, SECTOR, Sectors, VirtualCluster};

/// The largest a raw disk can be: what a file can.
pub const MAX_SIZE: Sectors = Sectors(i64::MAX.unsigned_abs() / SECTOR);

/// A plain file that is the base of a disk, or all of it.
#[derive(Debug)]
pub struct RawImage<F> {
    name: String,
    file: F,
    cluster: ClusterSize,
    length: u64,
    is_writable: bool,
    flushes: Flushes,
}

impl<F: ImageFile> RawImage<F> {
    /// Takes the file; the cluster size is the descriptor's, `name` is for messages.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(name: &str, file: F, cluster: ClusterSize, is_writable: bool) -> Result<Self> {
        let length = file.length().map_err(|e| Error::io("read", name, e))?;
        Ok(Self {
            name: name.to_owned(),
            file,
            cluster,
            length,
            is_writable,
            flushes: Flushes::default(),
        })
    }

    /// The name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file.
    pub fn file(&self) -> &F {
        &self.file
    }

    /// Size of a cluster of the disk.
    pub fn cluster(&self) -> ClusterSize {
        self.cluster
    }

    /// The disk's size.
    pub fn size(&self) -> Sectors {
        size_of(self.cluster, self.length)
    }

    /// Where a cluster of the disk begins in the file, and how many bytes of it are there: the rest
    /// are zeros. `None` beyond the file's end.
    pub fn locate(&self, cluster: VirtualCluster) -> Option<(FileOffset, u64)> {
        let DiskOffset(at) = self.cluster.start_on_disk(cluster);
        let left = self.length.checked_sub(at).filter(|left| *left != 0)?;
        Some((FileOffset(at), left.min(self.cluster.bytes())))
    }

    /// Writes to a place of the disk.
    ///
    /// # Errors
    /// `ReadOnly`; `Io`.
    pub fn write(&mut self, data: &[u8], at: DiskOffset) -> Result<()> {
        self.changeable()?;
        let written = self.file.write_at(data, FileOffset(at.0));
        written.map_err(|e| Error::io("write", &self.name, e))?;
        self.length = self.length.max(at.0.saturating_add(data.len() as u64));
        Ok(())
    }

    /// Writes to a place of the disk if the file has it; whether it has.
    ///
    /// # Errors
    /// `ReadOnly`; `Io`.
    pub fn overwrite(&self, data: &[u8], at: DiskOffset) -> Result<bool> {
        if !self.has(at, data.len() as u64)? {
            return Ok(false);
        }
        let written = self.file.write_at(data, FileOffset(at.0));
        written.map_err(|e| Error::io("write", &self.name, e))?;
        Ok(true)
    }

    /// Whether the file, which can be written, has a range of the disk.
    ///
    /// # Errors
    /// `ReadOnly`.
    pub fn has(&self, at: DiskOffset, bytes: u64) -> Result<bool> {
        self.changeable()?;
        Ok(at.0.saturating_add(bytes) <= self.length)
    }

    /// Makes a range of the disk read as zeros.
    ///
    /// # Errors
    /// `ReadOnly`; `Io`.
    pub fn punch(&mut self, at: DiskOffset, bytes: u64) -> Result<()> {
        self.changeable()?;
        // What is beyond the file's end is zeros already.
        let bytes = bytes.min(self.length.saturating_sub(at.0));
        if bytes == 0 {
            return Ok(());
        }
        let punched = self.file.punch(FileOffset(at.0), bytes);
        punched.map_err(|e| Error::io("write", &self.name, e))
    }

    /// Makes the disk larger, or cuts it off.
    ///
    /// # Errors
    /// `ReadOnly`; `Io`.
    pub fn resize(&mut self, size: Sectors) -> Result<()> {
        self.changeable()?;
        let resized = self.file.set_length(size.bytes());
        resized.map_err(|e| Error::io("resize", &self.name, e))?;
        self.length = size.bytes();
        Ok(())
    }

    /// Makes durable what was written. Several may ask for it at once: a failure is told to all of
    /// them, and to nobody who comes later, as with any file.
    ///
    /// # Errors
    /// `Io`.
    pub fn flush(&self) -> Result<()> {
        let flushed = self.flushes.run(|| self.file.flush());
        flushed.map_err(|e| Error::io("flush", &self.name, e))
    }

    /// Lets the next flush fail: something that was written before it is lost.
    pub(super) fn has_lost(&self) {
        self.flushes.owe_failure();
    }

    /// How many flushes have failed since it was opened.
    pub(super) fn failed_flushes(&self) -> u64 {
        self.flushes.failed()
    }

    /// The image, for reading from now on.
    pub(super) fn into_read_only(mut self, file: F) -> Self {
        self.file = file;
        self.is_writable = false;
        self
    }

    fn changeable(&self) -> Result<()> {
        if self.is_writable {
            return Ok(());
        }
        Err(Error::ReadOnly {
            file: self.name.clone(),
        })
    }
}

/// The size of a raw disk whose file has so many bytes: what is there, and zeros up to a whole cluster.
pub fn size_of(cluster: ClusterSize, length: u64) -> Sectors {
    let size = Sectors::holding(length);
    cluster.round_up(size).unwrap_or(size)
}

/// The size that a raw disk of about that size has: whole clusters.
///
/// # Errors
/// `Size`.
pub fn whole_size(cluster: ClusterSize, size: Sectors) -> Result<Sectors> {
    let max = MAX_SIZE;
    if size.0 == 0 {
        return Err(SizeFault::Zero.into());
    }
    let rounded = cluster.round_up(size).filter(|rounded| *rounded <= max);
    Ok(rounded.ok_or(SizeFault::TooLarge { size, max })?)
}
