// SPDX-License-Identifier: MIT OR Apache-2.0
//! What makes a change durable: the commit of the transaction that it is in.
//!
//! Every change of subvolumes joins the running transaction, which the kernel commits by itself
//! after 30 s. A command waits for that commit, and asks for it once, after its last change.
//!
//! For a name that came, went or changed, fsync of its folder is what commits: such a change is not
//! written to the log of the folder's tree, so that nothing less would do (fs/btrfs/tree-log.c,
//! `btrfs_record_new_subvolume`, `btrfs_record_snapshot_destroy`, `btrfs_set_log_full_commit`; kernels
//! without the first of these commit by themselves when a subvolume is made). What was committed
//! meanwhile is not committed again.
//!
//! Of the calls that are meant for it, `BTRFS_IOC_SYNC` first writes out what other people have in
//! memory, and `BTRFS_IOC_START_SYNC` only wakes the kernel's thread, which misses that while it is
//! about to sleep after another commit: with commands at the same time it comes back up to 30 s
//! later (fs/btrfs/disk-io.c, `transaction_kthread`; seen with Linux 6.18).

use std::os::fd::{AsFd, BorrowedFd};

use mosaic_core::{Context, Result};
use rustix::fs::{fstat, fsync};

use crate::ioctl;

/// Returns when a name of a subvolume that came to this folder, or went from it, is on disk, and with
/// it all that was changed in the file system before.
///
/// # Errors
/// What the commit failed with; the file system then takes no changes any more.
pub fn folder(folder: impl AsFd) -> Result<()> {
    let failed = || "cannot write the change to disk".to_owned();
    fsync(&folder).context(failed)?;
    // A neighbour that took the last volume from it removed it meanwhile. There are kernels that write
    // nothing for a folder without a name (fs/btrfs/tree-log.c, `btrfs_log_inode_parent`).
    if fstat(&folder).context(failed)?.st_nlink == 0 {
        return everything(folder.as_fd());
    }
    Ok(())
}

/// Returns when all that was changed in the file system before is on disk, other people's data too:
/// for a change that no folder shows, such as a limit.
///
/// # Errors
/// What the commit failed with; the file system then takes no changes any more.
pub fn everything(dir: BorrowedFd<'_>) -> Result<()> {
    ioctl::sync(dir).context(|| "cannot write the change to disk".to_owned())
}

/// The number of the running transaction, or of the last one: it grows by one with each commit.
///
/// # Errors
/// The kernel's.
pub fn generation(dir: BorrowedFd<'_>) -> Result<u64> {
    let info = ioctl::fs_info(dir).context(|| "cannot ask the file system".to_owned())?;
    Ok(info.generation)
}
