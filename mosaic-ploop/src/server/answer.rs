// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers to the kernel's requests.
//!
//! Reads and writes that need nothing but bytes in one place are begun together where several are
//! there at once; everything else is done one after the other.

use std::time::{Duration, Instant};

use rustix::io::{Errno, Result};
use zerocopy::IntoBytes;

use super::disk::{ServedDisk, ShownOffset};
use crate::format;
use crate::fuse::abi::{
    AttrOut, FOPEN_DIRECT_IO, FOPEN_PARALLEL_DIRECT_WRITES, OpenOut, ROOT_ID, StatfsOut, WriteOut,
};
use crate::fuse::{Connection, Inbox, Request, Task};
use crate::ioctl::{MOST, Queue, Transfer, Way};

/// After that the kernel is asked again for a queue that it had not: others give theirs back.
const AGAIN: Duration = Duration::from_secs(10);
/// Seconds for which what is said of the file holds.
const FOR_EVER: u64 = 1 << 40;

/// Answers requests, in one thread of many, until there will be none any more.
///
/// # Errors
/// The kernel's.
pub(super) fn all(connection: &Connection, disk: &ServedDisk) -> Result<()> {
    let clerk = Clerk { connection, disk };
    let mut batches = Batches::default();
    let mut inbox = Inbox::default();
    let waiter = connection.waiter()?;
    while connection.gather(&mut inbox, batches.most())? {
        if inbox.is_empty() {
            waiter.wait()?;
            continue;
        }
        let queue = match inbox.len() {
            0 | 1 => None,
            _ => batches.queue(Queue::new),
        };
        match queue {
            Some(queue) => clerk.answer_together(queue, &mut inbox)?,
            None => {
                for (request, data) in inbox.open() {
                    clerk.answer(request, data)?;
                }
            }
        }
    }
    Ok(())
}

/// Where one thread has requests done together, if the kernel lets it.
#[derive(Default)]
struct Batches {
    queue: Option<Queue>,
    /// When the kernel had none.
    refused: Option<Instant>,
}

impl Batches {
    /// How many requests are taken at once: those that are done one after the other are for others.
    fn most(&self) -> usize {
        match self.refused.is_some_and(|when| when.elapsed() < AGAIN) {
            true => 1,
            false => MOST,
        }
    }

    /// The queue, which is asked for when it is needed: the kernel has not so many that idle disks
    /// should have some.
    fn queue(&mut self, make: impl FnOnce() -> Result<Queue>) -> Option<&Queue> {
        if self.queue.is_none() && self.most() > 1 {
            self.queue = make().ok();
            self.refused = self.queue.is_none().then(Instant::now);
        }
        self.queue.as_ref()
    }
}

/// What each of the threads has.
struct Clerk<'a> {
    connection: &'a Connection,
    disk: &'a ServedDisk,
}

impl Clerk<'_> {
    fn answer_together(&self, queue: &Queue, inbox: &mut Inbox) -> Result<()> {
        let mut requests = [const { None }; MOST];
        let mut transfers = [const { None }; MOST];
        let mut rest = [const { None }; MOST];
        let mut done = Ok(());
        let steady = self.disk.steady();
        for (tag, (request, memory)) in inbox.open().enumerate() {
            requests[tag] = Some(request);
            let place = transfer_of(request).and_then(|(at, way)| {
                let (file, at) = steady.place(memory, at, way)?;
                Some((file, at, way))
            });
            match place {
                Some((file, at, way)) => {
                    transfers[tag] = Some(Transfer {
                        file,
                        at,
                        memory,
                        way,
                        tag,
                    });
                }
                None => rest[tag] = Some(memory),
            }
        }
        queue.run(&mut transfers, |transfer, bytes| {
            let Transfer { memory, tag, .. } = transfer;
            match requests[tag] {
                Some(request) if bytes == Ok(memory.len()) => {
                    let answered = self.reply_to_transfer(request, memory);
                    done = done.and(answered);
                    requests[tag] = None;
                }
                // Whatever the matter is, it is found out by doing it alone.
                _ => rest[tag] = Some(memory),
            }
        });
        drop(steady);
        done?;
        // A read is not to wait for a write that copies a cluster.
        for way in [Some(Way::Read), Some(Way::Write), None] {
            for (request, memory) in requests.iter().zip(&mut rest) {
                if let (Some(request), Some(memory)) = (request, memory)
                    && transfer_of(*request).map(|(_, way)| way) == way
                {
                    self.answer(*request, memory)?;
                }
            }
        }
        Ok(())
    }

    fn answer(&self, request: Request, data: &mut [u8]) -> Result<()> {
        let (unique, connection) = (request.unique, self.connection);
        match request.task {
            Task::Read { at } => match self.disk.read(data, ShownOffset(at)) {
                Ok(bytes) => connection.reply(unique, &data[..bytes]),
                Err(error) => connection.refuse(unique, errno(error)),
            },
            Task::Write { at } => match self.disk.write(data, ShownOffset(at)) {
                Ok(()) => self.reply_to_transfer(request, data),
                Err(error) => connection.refuse(unique, errno(error)),
            },
            Task::Zero { at, bytes } => self.say(unique, self.disk.zero(ShownOffset(at), bytes)),
            Task::Sync => self.say(unique, self.disk.flush()),
            Task::GetAttr => connection.reply(unique, self.attributes().as_bytes()),
            Task::Open => connection.reply(unique, opened().as_bytes()),
            Task::StatFs => connection.reply(unique, self.sizes().as_bytes()),
            Task::Nothing => connection.reply(unique, &[]),
            Task::Unknown => connection.refuse(unique, Errno::NOSYS),
            Task::Silent => Ok(()),
        }
    }

    /// Answers a read with all its data, or a write of all of it.
    fn reply_to_transfer(&self, request: Request, data: &[u8]) -> Result<()> {
        match request.task {
            Task::Write { .. } => {
                let written = WriteOut {
                    size: u32::try_from(data.len()).unwrap_or(u32::MAX),
                    padding: 0,
                };
                self.connection.reply(request.unique, written.as_bytes())
            }
            _ => self.connection.reply(request.unique, data),
        }
    }

    fn say(&self, unique: u64, done: format::Result<()>) -> Result<()> {
        match done {
            Ok(()) => self.connection.reply(unique, &[]),
            Err(error) => self.connection.refuse(unique, errno(error)),
        }
    }

    /// Valid for ever, so that a loop device can be asked what it shows when nobody answers any more
    /// (it looks for the inode number, Linux 5.16 and later ask nobody for it then). The size is an
    /// exception: the kernel forgets it with each write, and when it is told of another one.
    fn attributes(&self) -> AttrOut {
        let size = self.disk.bytes();
        AttrOut {
            attr_valid: FOR_EVER,
            ino: ROOT_ID,
            size,
            blocks: size / 512,
            // A regular file for its owner.
            mode: 0o100_600,
            nlink: 1,
            blksize: 4096,
            ..Default::default()
        }
    }

    /// The block size is that of what a loop device discards: it is the granularity of its discards.
    fn sizes(&self) -> StatfsOut {
        let cluster = u32::try_from(self.disk.cluster()).unwrap_or(4096);
        StatfsOut {
            blocks: self.disk.bytes() / u64::from(cluster.max(1)),
            bsize: cluster,
            frsize: cluster,
            namelen: 255,
            ..Default::default()
        }
    }
}

/// Where a read or write begins, and which way it goes.
fn transfer_of(request: Request) -> Option<(ShownOffset, Way)> {
    match request.task {
        Task::Read { at } => Some((ShownOffset(at), Way::Read)),
        Task::Write { at } => Some((ShownOffset(at), Way::Write)),
        _ => None,
    }
}

fn opened() -> OpenOut {
    OpenOut {
        open_flags: FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
        ..Default::default()
    }
}

/// What the kernel is told: no space, or that it failed.
fn errno(error: format::Error) -> Errno {
    match mosaic_core::Error::from(error).kind() {
        mosaic_core::ErrorKind::NoSpace => Errno::NOSPC,
        mosaic_core::ErrorKind::Permission => Errno::ROFS,
        _ => Errno::IO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_the_kernel_had_not_is_asked_for_again() {
        let mut batches = Batches::default();
        assert_eq!(batches.most(), MOST);
        assert!(batches.queue(|| Err(Errno::AGAIN)).is_none());
        assert_eq!(batches.most(), 1);
        let asked = batches.queue(|| unreachable!("it was refused just now"));
        assert!(asked.is_none());
        // As if that time had passed.
        let refused = batches.refused.unwrap();
        batches.refused = Some(refused.checked_sub(AGAIN).unwrap());
        assert_eq!(batches.most(), MOST);
        assert!(batches.queue(Queue::new).is_some());
        assert_eq!(batches.most(), MOST);
        let again = batches.queue(|| unreachable!("there is one"));
        assert!(again.is_some());
    }
}
