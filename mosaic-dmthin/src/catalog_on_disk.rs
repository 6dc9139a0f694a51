// SPDX-License-Identifier: MIT OR Apache-2.0
//! The catalog as a pool's two devices have it, read without the kernel's pool: of one that is not
//! active, or that has failed.

use mosaic_core::{Error, ErrorKind, Result};

use crate::block_device::BlockDevice;
use crate::catalog::store::Medium;
use crate::target::{Sectors, ThinId};
use crate::thin_metadata::{self, Blocks};

/// The thin device of the catalog, block by block where the metadata say.
pub(crate) struct CatalogOnDisk<'d> {
    pub(crate) metadata: &'d dyn Blocks,
    pub(crate) data: &'d BlockDevice,
    /// The pool's block size.
    pub(crate) block: Sectors,
}

impl CatalogOnDisk<'_> {
    /// Where a block of it stands on the data device, in bytes; `None`: nowhere, or behind its end.
    fn place(&self, number: u64) -> Result<Option<u64>> {
        let block = self.block.bytes();
        let found = thin_metadata::find_block(self.metadata, ThinId::CATALOG, number)?;
        let start = found.and_then(|found| found.checked_mul(block));
        let end = start.and_then(|start| start.checked_add(block));
        let size = self.data.size()?;
        Ok(start.filter(|_| end.is_some_and(|end| end <= size.0)))
    }
}

/// What has no block reads as zeroes, as from a thin device.
impl Medium for CatalogOnDisk<'_> {
    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let block = self.block.bytes();
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = offset + bytes.len() as u64;
            let (number, within) = (at / block, at % block);
            let left = (length - bytes.len()) as u64;
            let piece = usize::try_from(left.min(block - within)).unwrap_or(length);
            match self.place(number)? {
                Some(start) => bytes.extend(self.data.read(start + within, piece)?),
                None => bytes.resize(bytes.len() + piece, 0),
            }
        }
        Ok(bytes)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> Result<()> {
        Err(only_read())
    }

    fn sync(&self) -> Result<()> {
        Err(only_read())
    }
}

fn only_read() -> Error {
    let text = "the catalog of a pool that does not work is only read";
    Error::new(ErrorKind::Unsupported, text)
}
