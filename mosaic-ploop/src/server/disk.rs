// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disk that is served, for many threads at once.
//!
//! What changes nothing but bytes in place goes on side by side; whoever needs a new cluster, or
//! changes the disk as a whole, has it alone.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use mosaic_core::ErrorKind;
use mosaic_core::loopdev::Window;

use super::files::{ServedFile, ServedFolder};
use super::image_locks::{ImageLocks, NewTop};
use crate::format::chain::Chain;
use crate::format::disk::Disk;
use crate::format::error::{Error, Result};
use crate::format::guid::Guid;
use crate::format::layer::Layer;
use crate::format::units::{DiskOffset, Sectors};
use crate::gpt;
use crate::ioctl::Way;
use crate::partition;

/// An open disk, or its partition.
#[derive(Debug)]
pub struct ServedDisk(RwLock<Open>);

#[derive(Debug)]
struct Open {
    disk: Disk<ServedFolder>,
    chain: Chain<ServedFile>,
    locks: ImageLocks,
    /// What is shown of it, if that is a partition, which grows with it.
    partition: Option<Window>,
}

/// Byte of what is shown, which is the disk or its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownOffset(pub u64);

/// A disk that is not changed as a whole as long as this is there.
#[derive(Debug)]
pub struct Steady<'a>(RwLockReadGuard<'a, Open>);

/// How a disk is opened.
#[derive(Debug)]
pub enum Access {
    /// For reading.
    Read,
    /// For reading and writing, with a file for what is not durable yet.
    Write {
        /// What an earlier worker left, and what this one notes.
        ledger: OwnedFd,
    },
}

impl ServedDisk {
    /// Opens the disk, once nobody else has its images; what a writer that died had left is mended
    /// first, as far as nothing is lost. If `shown` is given, it shows the partition that begins there.
    ///
    /// `locked` are the files with the locks of an earlier worker.
    ///
    /// # Errors
    /// `Busy` with who has them; `Corrupt` if there is no such partition; as [`Disk::write`] and
    /// [`Disk::check`].
    pub fn open(
        folder: ServedFolder,
        access: Access,
        shown: Option<u64>,
        locked: Vec<OwnedFd>,
    ) -> mosaic_core::Result<Self> {
        let disk = Disk::open(folder)?;
        let for_writing = matches!(access, Access::Write { .. });
        let locks = ImageLocks::take(&disk, for_writing, locked)?;
        // Nobody changes it now; somebody may have while it was not locked.
        let disk = disk.reopen()?;
        if !locks.cover(&disk) {
            let why = "in use: somebody has just changed it";
            return Err(mosaic_core::Error::new(ErrorKind::Busy, why));
        }
        let mut open = Open::new(disk, locks, access)?;
        open.partition = shown.map(|at| open.partition_at(at)).transpose()?;
        Ok(Self(RwLock::new(open)))
    }

    /// Size in bytes of what is shown.
    pub fn bytes(&self) -> u64 {
        self.shared().shown().bytes
    }

    /// Bytes of a cluster: what is given back to the file system as a whole.
    pub fn cluster(&self) -> u64 {
        self.shared().chain.cluster().bytes()
    }

    /// Fills the buffer as far as the disk goes; how far.
    ///
    /// # Errors
    /// As [`Chain::read`].
    pub fn read(&self, buffer: &mut [u8], at: ShownOffset) -> Result<usize> {
        let open = self.shared();
        let left = open.left_from(at);
        let bytes = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if bytes != 0 {
            let at = open.place(at, bytes as u64)?;
            open.chain.read(&mut buffer[..bytes], at)?;
        }
        Ok(bytes)
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// As [`Chain::write`].
    pub fn write(&self, data: &[u8], at: ShownOffset) -> Result<()> {
        let open = self.shared();
        // It does not move, and becomes no smaller.
        let at = open.place(at, data.len() as u64)?;
        if open.chain.write_in_place(data, at)? {
            return Ok(());
        }
        drop(open);
        self.alone().chain.write(data, at)
    }

    /// Keeps the disk as it is but for bytes in place.
    pub fn steady(&self) -> Steady<'_> {
        Steady(self.shared())
    }

    /// Makes a range read as zeros, as far as it is on the disk.
    ///
    /// # Errors
    /// As [`Chain::write_zeroes`].
    pub fn zero(&self, at: ShownOffset, bytes: u64) -> Result<()> {
        let mut open = self.alone();
        let bytes = bytes.min(open.left_from(at));
        if bytes == 0 {
            return Ok(());
        }
        let at = open.place(at, bytes)?;
        open.chain.write_zeroes(at, bytes)
    }

    /// Makes durable all that was written.
    ///
    /// # Errors
    /// As [`Chain::flush`].
    pub fn flush(&self) -> Result<()> {
        if self.shared().chain.flush_in_place()? {
            return Ok(());
        }
        self.alone().chain.flush()
    }

    /// Makes a snapshot of what is there, and goes on in a new top. A top with nothing in it needs
    /// none: then it is the snapshot beneath it. Which one it is.
    ///
    /// `keep` is given the files that have the locks then, before anything is written to the new top:
    /// whoever has them is told of all that could not be.
    ///
    /// # Errors
    /// As [`Disk::snapshot_open`]; `Busy` with who has the new top, after a moment in which nothing is
    /// read or written.
    pub fn freeze(
        &self,
        guid: Guid,
        keep: impl FnOnce(&[BorrowedFd<'_>]),
    ) -> mosaic_core::Result<Guid> {
        self.freeze_with(guid, ImageLocks::lock_new_top, keep)
    }

    fn freeze_with(
        &self,
        guid: Guid,
        lock: impl FnOnce(&ServedFolder, &str) -> mosaic_core::Result<NewTop>,
        keep: impl FnOnce(&[BorrowedFd<'_>]),
    ) -> mosaic_core::Result<Guid> {
        let mut open = self.alone();
        if let Some(below) = open.unchanged_since() {
            // Who put the descriptor there was perhaps killed over it, and who only reads makes nothing
            // durable.
            open.disk.sync()?;
            open.locks.share_lower()?;
            return Ok(below);
        }
        let Open {
            disk, chain, locks, ..
        } = &mut *open;
        // Locked before the disk has it: where that cannot be, the old top is written on.
        let mut new = None;
        let frozen = chain.for_another(|chain| {
            disk.snapshot_open(guid, chain, |folder, name| {
                new = Some(lock(folder, name)?);
                mosaic_core::Result::Ok(())
            })
        });
        let is_top = locks.go_on_with(new, disk);
        let shared = frozen.and_then(|()| locks.share_lower());
        // Last: a worker that finds the new top not among the keeper's files shares what is beneath it.
        if is_top {
            keep(&locks.files());
        }
        shared.map(|()| guid)
    }

    /// Makes the disk larger, and the partition with it; in bytes, what is shown then. Called again
    /// it does the rest of what was cut short.
    ///
    /// # Errors
    /// As [`Disk::grow_open`] and [`partition::follow`].
    pub fn grow(&self, size: Sectors) -> mosaic_core::Result<u64> {
        let mut open = self.alone();
        let Open {
            disk,
            chain,
            partition,
            ..
        } = &mut *open;
        chain.for_another(|chain| grow(disk, chain, partition.as_mut(), size))?;
        Ok(open.shown().bytes)
    }

    /// Whether the disk is not written any more, since something has failed for good.
    ///
    /// # Errors
    /// As [`Chain::is_broken`].
    pub fn is_broken(&self) -> Result<bool> {
        self.alone().chain.is_broken()
    }

    /// Makes all durable and closes the disk: what comes afterwards is refused.
    ///
    /// # Errors
    /// As [`Chain::close`].
    pub fn close(&self) -> Result<()> {
        self.alone().chain.finish()
    }

    /// Lets `keep` have the files that have the locks.
    pub fn with_locked(&self, keep: impl FnOnce(&[BorrowedFd<'_>])) {
        keep(&self.shared().locks.files());
    }

    // A thread that panicked has the process end: nobody sees what it left half-done.
    fn shared(&self) -> RwLockReadGuard<'_, Open> {
        self.0.read().unwrap_or_else(|e| e.into_inner())
    }

    fn alone(&self) -> RwLockWriteGuard<'_, Open> {
        self.0.write().unwrap_or_else(|e| e.into_inner())
    }
}

/// Makes a disk larger, and the partition that is shown of it.
fn grow(
    disk: &mut Disk<ServedFolder>,
    chain: &mut Chain<ServedFile>,
    shown: Option<&mut Window>,
    size: Sectors,
) -> mosaic_core::Result<()> {
    if shown.is_some() {
        // What cannot follow is said before the disk has grown. A table that is damaged in front is
        // mended: its copy will not be at the end any more, where it is looked for.
        partition::is_due(chain, size)?;
        let now = chain.size();
        partition::follow(chain, now)?;
    }
    disk.grow_open(size, chain)?;
    if let Some(shown) = shown {
        *shown = partition::follow(chain, chain.size())?;
    }
    Ok(())
}

impl Steady<'_> {
    /// Where bytes of what is shown are read from or written to, if that is one place, past the page
    /// cache; `None` also for anything that is to be found out by reading or writing them.
    pub fn place(&self, memory: &[u8], at: ShownOffset, way: Way) -> Option<(BorrowedFd<'_>, u64)> {
        let chain = &self.0.chain;
        let at = self.0.place(at, memory.len() as u64).ok()?;
        let (file, place) = match way {
            Way::Read => chain.place(at, memory.len()).ok()??,
            Way::Write => chain.place_in_top(at, memory.len()).ok()??,
        };
        Some((file.direct_for(memory, place)?, place.0))
    }
}

impl Open {
    /// What is shown of the disk.
    fn shown(&self) -> Window {
        self.partition
            .unwrap_or_else(|| gpt::whole(self.chain.size()))
    }

    /// Bytes from there to the end of what is shown.
    fn left_from(&self, at: ShownOffset) -> u64 {
        self.shown().bytes.saturating_sub(at.0)
    }

    /// Where on the disk a range of what is shown is.
    fn place(&self, ShownOffset(at): ShownOffset, bytes: u64) -> Result<DiskOffset> {
        let shown = self.shown();
        let end = at.checked_add(bytes).filter(|end| *end <= shown.bytes);
        end.map(|_| DiskOffset(shown.at + at)).ok_or(Error::Range {
            at,
            bytes,
            size: shown.bytes,
        })
    }

    fn new(
        mut disk: Disk<ServedFolder>,
        locks: ImageLocks,
        access: Access,
    ) -> mosaic_core::Result<Self> {
        let Access::Write { ledger } = access else {
            let chain = disk.read(disk.descriptor().top())?;
            return Ok(Self::of(disk, chain, locks));
        };
        let chain = disk.serve(ServedFile::unnamed(ledger))?;
        Ok(Self::of(disk, chain, locks))
    }

    fn of(disk: Disk<ServedFolder>, chain: Chain<ServedFile>, locks: ImageLocks) -> Self {
        Self {
            disk,
            chain,
            locks,
            partition: None,
        }
    }

    fn partition_at(&self, at: u64) -> mosaic_core::Result<Window> {
        let table = partition::find(&self.chain)?;
        let found = table.map(|table| table.partition());
        found.filter(|found| found.at == at).ok_or_else(|| {
            let why = format!("there is no partition at byte {at} of the disk any more");
            mosaic_core::Error::new(ErrorKind::Corrupt, why)
        })
    }

    /// The snapshot beneath the top if nothing was written since it was made.
    fn unchanged_since(&self) -> Option<Guid> {
        let is_empty = match self.chain.top() {
            Layer::Writer(writer) => writer.allocated() == 0,
            Layer::Delta(delta) => delta.bat().is_empty() && delta.ensure_closed().is_ok(),
            Layer::Raw(_) => false,
        };
        let below = self.chain.layers().rev().nth(1)?;
        let is_same = is_empty && below.size() == self.chain.size();
        let descriptor = self.disk.descriptor();
        let below = descriptor.shot(descriptor.top())?.parent;
        let stays = descriptor.shot(below)?.temporary.is_none();
        (is_same && stays).then_some(below)
    }
}

#[cfg(test)]
mod tests;
