// SPDX-License-Identifier: MIT OR Apache-2.0
//! What makes a change durable: the commit of the transaction that it is in.
//!
//! Every change of subvolumes joins the running transaction, which the kernel commits by itself
//! after 30 s. A command waits for that commit, and asks for it once, after its last change. fsync
//! of a folder does the same since it has to, but not on all kernels; `BTRFS_IOC_SYNC` would first
//! write out what other people have in memory.

use std::os::fd::BorrowedFd;

use mosaic_core::{Context, Result};

use crate::ioctl;

/// Returns when all that was changed in this file system before is on disk.
///
/// # Errors
/// What the commit failed with; the file system then takes no changes any more.
pub fn commit(dir: BorrowedFd<'_>) -> Result<()> {
    let failed = || "cannot write the change to disk".to_owned();
    let transaction = ioctl::start_sync(dir).context(failed)?;
    ioctl::wait_sync(dir, transaction).context(failed)
}

/// The number of the running transaction, or of the last one: it grows by one with each commit.
///
/// # Errors
/// The kernel's.
pub fn generation(dir: BorrowedFd<'_>) -> Result<u64> {
    let info = ioctl::fs_info(dir).context(|| "cannot ask the file system".to_owned())?;
    Ok(info.generation)
}
