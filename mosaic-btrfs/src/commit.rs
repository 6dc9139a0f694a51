// SPDX-License-Identifier: MIT OR Apache-2.0
//! What makes a change durable: the commit of the transaction that it is in.
//!
//! Every change of subvolumes joins the running transaction, which the kernel commits by itself
//! after 30 s. A command waits for that commit, and asks for it once, after its last change. fsync
//! of a folder does the same since it has to, but not on all kernels; `BTRFS_IOC_SYNC` would first
//! write out what other people have in memory.
//!
//! The kernel can forget that it was asked: it wakes the thread that commits, and that thread, if it
//! is about to sleep after another commit, does so all the same, until its 30 s are over
//! (fs/btrfs/disk-io.c `transaction_kthread`, Linux 6.18). With commands at the same time this happens
//! all the time. So what does not come back soon is asked for once more.

use std::os::fd::BorrowedFd;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use mosaic_core::{Context, Result};

use crate::ioctl;

/// How long the beginning of a commit is awaited before it is asked for again, the first time and at
/// most. It waits for the end of the one before, which takes its time on a slow disk.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Returns when all that was changed in this file system before is on disk.
///
/// # Errors
/// What the commit failed with; the file system then takes no changes any more.
pub fn commit(dir: BorrowedFd<'_>) -> Result<()> {
    let failed = || "cannot write the change to disk".to_owned();
    let transaction = start(dir).context(failed)?;
    ioctl::wait_sync(dir, transaction).context(failed)
}

/// Has the running transaction committed; the number of that which is to be awaited. Returns when
/// the commit has begun.
fn start(dir: BorrowedFd<'_>) -> rustix::io::Result<u64> {
    let (sender, answers) = channel();
    thread::scope(|scope| {
        let ask = || {
            let sender = sender.clone();
            // The receiver is there until all have answered.
            scope.spawn(move || sender.send(ioctl::start_sync(dir)));
        };
        let mut patience = PATIENCE.0;
        let mut first = None;
        let mut unanswered = 1;
        ask();
        while unanswered > 0 {
            match answers.recv_timeout(patience) {
                Ok(answer) => {
                    unanswered -= 1;
                    first.get_or_insert(answer);
                }
                // Who was asked last may have met the next transaction, and waits for that one.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    unanswered += 1;
                    patience = (patience * 2).min(PATIENCE.1);
                    ask();
                }
            }
        }
        first.expect("one was asked")
    })
}

/// The number of the running transaction, or of the last one: it grows by one with each commit.
///
/// # Errors
/// The kernel's.
pub fn generation(dir: BorrowedFd<'_>) -> Result<u64> {
    let info = ioctl::fs_info(dir).context(|| "cannot ask the file system".to_owned())?;
    Ok(info.generation)
}
