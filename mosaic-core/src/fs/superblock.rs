// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading a superblock: a few bytes at a fixed offset that anybody may have written.
//!
//! Nothing in here trusts a number: fields are cut out with a bound, sizes are multiplied checked.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};

/// Bytes of a superblock.
pub(super) struct Raw {
    bytes: Vec<u8>,
    fs: &'static str,
}

impl Raw {
    /// Reads `length` bytes at `offset` of a device or an image.
    ///
    /// # Errors
    /// `Corrupt` if it ends before them; the kernel's.
    pub(super) fn read(
        file: BorrowedFd<'_>,
        fs: &'static str,
        offset: u64,
        length: usize,
    ) -> Result<Self> {
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            let at = offset + done as u64;
            match rustix::io::pread(file, &mut bytes[done..], at) {
                Ok(0) => return Err(corrupt(fs, "it is too short for a superblock")),
                Ok(more) => done += more,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(Error::io(errno, format!("cannot read the {fs} superblock")));
                }
            }
        }
        Ok(Self { bytes, fs })
    }

    /// Bytes from anywhere, for tests.
    #[cfg(test)]
    pub(super) fn from_bytes(fs: &'static str, bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            fs,
        }
    }

    /// `N` bytes at an offset.
    pub(super) fn field<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        self.bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk::<N>())
            .copied()
            .ok_or_else(|| corrupt(self.fs, "it is too short for a superblock"))
    }

    pub(super) fn le16(&self, at: usize) -> Result<u64> {
        self.field(at).map(|b| u16::from_le_bytes(b).into())
    }

    pub(super) fn le32(&self, at: usize) -> Result<u64> {
        self.field(at).map(|b| u32::from_le_bytes(b).into())
    }

    pub(super) fn le64(&self, at: usize) -> Result<u64> {
        self.field(at).map(u64::from_le_bytes)
    }

    pub(super) fn be32(&self, at: usize) -> Result<u64> {
        self.field(at).map(|b| u32::from_be_bytes(b).into())
    }

    pub(super) fn be64(&self, at: usize) -> Result<u64> {
        self.field(at).map(u64::from_be_bytes)
    }

    /// Refuses what does not have the magic number at its place.
    pub(super) fn expect_magic<const N: usize>(&self, at: usize, magic: [u8; N]) -> Result<()> {
        if self.field::<N>(at)? != magic {
            return Err(corrupt(self.fs, "no superblock is where it has to be"));
        }
        Ok(())
    }
}

/// What the storage holds is not this file system.
pub(super) fn corrupt(fs: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("no intact {fs} file system: {why}"),
    )
}

/// `blocks` times `block_size`, if that is a size that a file can have.
pub(super) fn checked_size(fs: &str, blocks: u64, block_size: u64) -> Result<u64> {
    blocks
        .checked_mul(block_size)
        .filter(|size| i64::try_from(*size).is_ok())
        .ok_or_else(|| corrupt(fs, "its superblock says an impossible size"))
}

/// A thousand buffers of anything, the same on every run (xorshift).
#[cfg(test)]
pub(super) fn arbitrary(length: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut byte = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..1000).map(move |_| (0..length).map(|_| byte()).collect())
}
