// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the verbs need of a thin pool: [`ThinPool`]. In life that is the kernel's; in tests one that
//! can be cut at every step, lose what was not made durable, and fail.

use std::path::{Path, PathBuf};

use mosaic_core::volume::Lifetime;
use mosaic_core::{Bytes, Error, ErrorKind, Result};

use crate::catalog::store::Medium;
use crate::target::{Message, PoolStatus, ThinId};
use crate::thin_metadata::Details;

/// A device that shows a thin id, made by Mosaic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThinDevice {
    /// What it shows.
    pub id: ThinId,
    /// `/dev/dm-N`.
    pub path: PathBuf,
    /// It has a table that works. One without is what a killed command left.
    pub is_active: bool,
    /// Reads and writes wait.
    pub is_suspended: bool,
    /// It refuses writes.
    pub is_read_only: bool,
    /// Whether it goes with its last close.
    pub lifetime: Lifetime,
}

/// How a device is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Its size.
    pub size: Bytes,
    /// It refuses writes.
    pub read_only: bool,
}

/// A device that is held open, and goes when it is let go and nobody else has it.
pub trait HeldDevice {
    /// `/dev/dm-N`.
    fn path(&self) -> &Path;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The kernel's.
    fn sync(&self) -> Result<()>;

    /// Gives back the blocks of a range.
    ///
    /// # Errors
    /// `Unsupported` where the pool knows no discard; the kernel's.
    fn discard(&self, from: Bytes, to: Bytes) -> Result<()>;

    /// Lets it go, and returns when it is gone.
    ///
    /// # Errors
    /// `Busy` if it stays because somebody has it open, naming who.
    fn close(self: Box<Self>) -> Result<()>;
}

/// A thin pool with a catalog.
pub trait ThinPool {
    /// For messages: `thin pool "web"`.
    fn label(&self) -> String;

    /// What to do if its metadata met an error: the commands, one after the other.
    fn way_back(&self) -> String;

    /// Where its data are, for a command.
    fn data_device(&self) -> String;

    /// Where its metadata are, for a command.
    fn metadata_device(&self) -> String;

    /// Its data block size.
    fn block(&self) -> Bytes;

    /// What the kernel wants the sizes of its devices to be multiples of: the logical block of the
    /// disk beneath.
    ///
    /// # Errors
    /// The kernel's.
    fn sector(&self) -> Result<Bytes>;

    /// Its status, as it is at this moment.
    ///
    /// # Errors
    /// The kernel's.
    fn status(&self) -> Result<PoolStatus>;

    /// Its status after it has committed whatever it knows.
    ///
    /// # Errors
    /// The kernel's.
    fn committed_status(&self) -> Result<PoolStatus>;

    /// Sends it a message. Success is no proof of anything: look at the status.
    ///
    /// # Errors
    /// The kernel's, with its errno.
    fn message(&self, message: Message) -> Result<()>;

    /// The catalog's device.
    fn catalog(&self) -> &dyn Medium;

    /// What its metadata say of a thin device; `None`: there is none.
    ///
    /// # Errors
    /// `Corrupt`; the kernel's.
    fn details(&self, id: ThinId) -> Result<Option<Details>>;

    /// The devices that Mosaic made of it, the catalog's left out.
    ///
    /// # Errors
    /// The kernel's.
    fn devices(&self) -> Result<Vec<ThinDevice>>;

    /// The device that Mosaic made of one id.
    ///
    /// # Errors
    /// The kernel's.
    fn device(&self, id: ThinId) -> Result<Option<ThinDevice>>;

    /// Goes on if no device shows a thin id, Mosaic's own on its way out being waited for.
    ///
    /// # Errors
    /// `Busy`, naming the device and who uses it.
    fn prove_unused(&self, id: ThinId) -> Result<()>;

    /// Goes on if no other program's device shows a thin id.
    ///
    /// # Errors
    /// `Busy`, naming the device and who uses it.
    fn refuse_others(&self, id: ThinId) -> Result<()>;

    /// Brings the file system on a device to rest and holds up what comes after that. Until the
    /// resume nothing may be logged: it could be written to that very device.
    ///
    /// # Errors
    /// `Interrupted`; the kernel's. It is not suspended then.
    fn suspend(&self, id: ThinId) -> Result<()>;

    /// Lets go on what was held up.
    ///
    /// # Errors
    /// The kernel's.
    fn resume(&self, id: ThinId) -> Result<()>;

    /// Removes a device, waiting a little for who has it open; returns when it is gone.
    ///
    /// # Errors
    /// `Busy`, naming who has it open.
    fn remove(&self, id: ThinId) -> Result<()>;

    /// Sets up a device that nobody knows yet, to go when it is let go.
    ///
    /// # Errors
    /// `Busy` if there is one.
    fn hold(&self, id: ThinId, setup: Setup) -> Result<Box<dyn HeldDevice + '_>>;

    /// Gives a device that works another size, without bringing its file system to rest.
    ///
    /// # Errors
    /// The kernel's.
    fn set_size(&self, id: ThinId, size: Bytes) -> Result<()>;

    /// The command goes on, but the user should know.
    fn warn(&self, text: &str);
}

/// Goes on if a device can have this size.
///
/// # Errors
/// `Invalid`, with the next one that it can have.
///
/// Kernel: `validate_hardware_logical_block_alignment`, drivers/md/dm-table.c; a table whose length is
/// no multiple is refused when it is made active.
pub(crate) fn require_whole_sectors(pool: &dyn ThinPool, size: Bytes) -> Result<()> {
    let sector = pool.sector()?;
    if size.0.is_multiple_of(sector.0) {
        return Ok(());
    }
    let next = Bytes(size.0.next_multiple_of(sector.0));
    Err(Error::new(
        ErrorKind::Invalid,
        format!(
            "a size of {} bytes is not possible: the disk beneath {} has sectors of {} bytes; take \
             {} bytes",
            size.0,
            pool.label(),
            sector.0,
            next.0
        ),
    ))
}
