// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file in memory that is no longer than some, whatever it is asked.

use std::cell::RefCell;
use std::io;

use mosaic_ploop::format::storage::ImageFile;
use mosaic_ploop::format::units::FileOffset;

/// A file with a limit.
#[derive(Debug)]
pub struct SmallFile<'a> {
    pub bytes: &'a RefCell<Vec<u8>>,
}

impl SmallFile<'_> {
    /// Longer it does not become.
    const LIMIT: u64 = 4 << 20;

    fn end(at: u64, bytes: u64) -> io::Result<usize> {
        let end = at.saturating_add(bytes);
        let full = || io::Error::from_raw_os_error(28);
        if end > Self::LIMIT {
            return Err(full());
        }
        usize::try_from(end).map_err(|_| full())
    }
}

impl ImageFile for SmallFile<'_> {
    fn read_at(&self, buffer: &mut [u8], at: FileOffset) -> io::Result<()> {
        let bytes = self.bytes.borrow();
        let start = usize::try_from(at.0).unwrap_or(usize::MAX);
        let part = bytes.get(start..start.saturating_add(buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, data: &[u8], at: FileOffset) -> io::Result<()> {
        let end = Self::end(at.0, data.len() as u64)?;
        let mut bytes = self.bytes.borrow_mut();
        let length = bytes.len().max(end);
        bytes.resize(length, 0);
        bytes[end - data.len()..end].copy_from_slice(data);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.borrow().len() as u64)
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        let length = Self::end(bytes, 0)?;
        self.bytes.borrow_mut().resize(length, 0);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn zero(&self, at: FileOffset, bytes: u64) -> io::Result<()> {
        let end = Self::end(at.0, bytes)?;
        let mut all = self.bytes.borrow_mut();
        let length = all.len().max(end);
        all.resize(length, 0);
        let start = usize::try_from(at.0).unwrap_or(end);
        all[start..end].fill(0);
        Ok(())
    }
}
