// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filling a disk that nobody uses yet: its partition table, and what mkfs wrote to a file.

use std::os::fd::{AsFd, OwnedFd};

use mosaic_core::loopdev::Window;
use mosaic_core::{Context, Error, ErrorKind, Host, Result};
use rustix::fs::{SeekFrom, seek};
use rustix::io::{Errno, pread};

use crate::files::DiskFile;
use crate::format::chain::Chain;
use crate::format::storage::is_zero;
use crate::format::units::DiskOffset;
use crate::gpt;

/// Bytes that are copied at once.
const PIECE: usize = 1 << 20;

/// Gives a disk a partition table with that one partition.
pub(crate) fn write_table(chain: &mut Chain<DiskFile>, partition: Window) -> Result<()> {
    let table = gpt::new_table(chain.size(), partition, random()?, random()?);
    chain.write(&table.front, DiskOffset(0))?;
    Ok(chain.write(&table.back, DiskOffset(table.back_at))?)
}

/// A random UUID (version 4), as a GPT has it.
fn random() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|e| Error::new(ErrorKind::Io, "no random numbers").with_source(e))?;
    // The first three fields are little-endian there, so the version is in byte 7.
    bytes[7] = bytes[7] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(bytes)
}

/// Copies what is in a file, but for its holes and zeros, to a part of a disk that reads as zeros.
pub(crate) fn copy_data(
    host: &Host,
    file: &OwnedFd,
    chain: &mut Chain<DiskFile>,
    to: Window,
) -> Result<()> {
    let failed = || "cannot read what mkfs wrote".to_owned();
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < to.bytes {
        host.check_cancelled()?;
        let start = match seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => return Ok(()),
            other => other.context(failed)?,
        };
        let end = seek(file, SeekFrom::Hole(start)).context(failed)?;
        at = start;
        while at < end.min(to.bytes) {
            let left = usize::try_from(end.min(to.bytes) - at).unwrap_or(PIECE);
            let piece = &mut buffer[..left.min(PIECE)];
            let read = pread(file.as_fd(), &mut *piece, at).context(failed)?;
            if read == 0 {
                return Ok(());
            }
            let piece = &piece[..read];
            if !is_zero(piece) {
                chain.write(piece, DiskOffset(to.at + at))?;
            }
            at += read as u64;
        }
    }
    Ok(())
}
