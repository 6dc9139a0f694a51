// SPDX-License-Identifier: MIT OR Apache-2.0
//! The partition that a file system is on: found by the disk's table, and made to follow the disk.
//!
//! At each instant another program finds a whole table, also after a kill or a power cut:
//!
//! | | larger | smaller |
//! |---|---|---|
//! | 0 | a copy in front that is damaged is mended from the one at the end | |
//! | 1 | the disk's size (commit) | the file system, by the host |
//! | 2 | the copy at the new end, durable | the same, in what the file system has given up |
//! | 3 | the copy in front, durable | the same |
//! | 4 | | the disk's size (commit) |
//!
//! Up to step 3 the copy in front is the old one, which names a partition that is there. While it is
//! written (header and entries are two sectors) the one at the disk's end counts: of a disk that
//! grows the new one, of one that shrinks still the old one. After it the new one counts, whose copy
//! is where it says. The old copy of a disk that has grown is left where it is, within the partition,
//! where nobody looks for it.

use std::os::fd::AsFd;

use mosaic_core::fs::FsType;
use mosaic_core::loopdev::Window;
use mosaic_core::{Bytes, Context, Error, ErrorKind, Result};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::format::chain::Chain;
use crate::format::storage::ImageFile;
use crate::format::units::{DiskOffset, Sectors};
use crate::gpt::{self, Found, NewTable, Table, TableFault};

/// Bytes at the start of a partition in which each known file system has its superblock: btrfs has
/// it at 64 KiB.
const SUPERBLOCKS: usize = 128 << 10;

/// The table of a disk; `None`: it has none, and a file system is on all of it.
///
/// # Errors
/// `Corrupt` if both copies are damaged; as [`Chain::read`].
pub fn find<F: ImageFile>(chain: &Chain<F>) -> Result<Option<Table>> {
    find_by(chain.size(), |buffer, at| chain.read(buffer, at))
}

/// The same of a disk that is read another way.
///
/// # Errors
/// As [`find`].
pub fn find_by(
    size: Sectors,
    read: impl Fn(&mut [u8], DiskOffset) -> crate::format::Result<()>,
) -> Result<Option<Table>> {
    let (mut front, mut back) = (vec![0; gpt::START], vec![0; gpt::END]);
    if size.bytes() < (front.len() + back.len()) as u64 {
        return Ok(None);
    }
    read(&mut front, DiskOffset(0))?;
    let at = size.bytes() - back.len() as u64;
    read(&mut back, DiskOffset(at))?;
    match Table::find(&front, &back, size) {
        Found::Nothing => Ok(None),
        Found::Table(table) => Ok(Some(table)),
        Found::Damaged => {
            let why = "its partition table is damaged, or of a kind that Mosaic does not know";
            Err(Error::new(ErrorKind::Corrupt, why))
        }
    }
}

/// A table as it is to be, and which copies of it are not so yet.
struct Due {
    new: NewTable,
    front: bool,
    back: bool,
}

/// Whether the partition of a disk has not yet the size that belongs to a disk of `size`.
///
/// # Errors
/// `Unsupported` if another partition is behind it, or no room for the copy of its table; `Invalid` if
/// it would have no sector; as [`find`];
/// `Corrupt` if there is no table.
pub fn is_due<F: ImageFile>(chain: &Chain<F>, size: Sectors) -> Result<bool> {
    due(chain, size).map(|due| due.front || due.back)
}

/// Where the partition is on a disk of `size`.
///
/// # Errors
/// As [`is_due`].
pub fn planned<F: ImageFile>(chain: &Chain<F>, size: Sectors) -> Result<Window> {
    due(chain, size).map(|due| due.new.partition)
}

/// The size of the file system on the partition, as its superblock says, which is read from the disk
/// itself: no device shows it.
///
/// # Errors
/// As [`find`] and [`FsType::size`].
pub fn file_system_size<F: ImageFile>(chain: &Chain<F>, fs: &FsType) -> Result<Bytes> {
    let whole = gpt::whole(chain.size());
    let at = find(chain)?.map_or(whole, |table| table.partition());
    let bytes = at.bytes.min(SUPERBLOCKS as u64);
    let mut start = vec![0; usize::try_from(bytes).unwrap_or(SUPERBLOCKS)];
    chain.read(&mut start, DiskOffset(at.at))?;
    let failed = || "cannot look at the file system".to_owned();
    let file = memfd_create("mosaic-ploop-superblock", MemfdFlags::CLOEXEC).context(failed)?;
    let file = std::fs::File::from(file);
    std::os::unix::fs::FileExt::write_all_at(&file, &start, 0).context(failed)?;
    fs.size(file.as_fd())
}

fn due<F: ImageFile>(chain: &Chain<F>, size: Sectors) -> Result<Due> {
    let table = find(chain)?.ok_or_else(|| {
        let why = "its partition table is not there any more";
        Error::new(ErrorKind::Corrupt, why)
    })?;
    let new = table.resized(size, chain.cluster()).map_err(|fault| {
        let kind = match fault {
            TableFault::NotLast => ErrorKind::Unsupported,
            TableFault::TooSmall(_) => ErrorKind::Invalid,
        };
        Error::new(kind, fault.to_string())
    })?;
    // Of a disk that was cut off by another program: the file system may have all that its table says.
    if size >= chain.size() && new.partition.bytes < table.partition().bytes {
        let why = "its partition reaches to where the copy of its table belongs";
        return Err(Error::new(ErrorKind::Unsupported, why));
    }
    let differs = |at: u64, copy: &[u8]| -> Result<bool> {
        // What the disk does not have yet is not so either.
        if at + copy.len() as u64 > chain.size().bytes() {
            return Ok(true);
        }
        let mut there = vec![0; copy.len()];
        chain.read(&mut there, DiskOffset(at))?;
        Ok(there != copy)
    };
    Ok(Due {
        front: differs(0, &new.front)?,
        back: differs(new.back_at, &new.back)?,
        new,
    })
}

/// Gives the partition of an open disk the size that belongs to a disk of `size`. Where it is then. A
/// disk that grows has that size already, one that shrinks gets it afterwards. Durable then.
///
/// # Errors
/// As [`is_due`] and [`Chain::write`].
pub fn follow<F: ImageFile>(chain: &mut Chain<F>, size: Sectors) -> Result<Window> {
    let Due { new, front, back } = due(chain, size)?;
    if back {
        chain.write(&new.back, DiskOffset(new.back_at))?;
    }
    if back || front {
        // Whoever wrote what is there already may not have come to this.
        chain.flush()?;
    }
    if front {
        chain.write(&new.front, DiskOffset(0))?;
        chain.flush()?;
    }
    Ok(new.partition)
}
