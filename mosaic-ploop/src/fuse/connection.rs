// SPDX-License-Identifier: MIT OR Apache-2.0
//! One connection: the descriptor of `/dev/fuse` by which a mounted file is served.
//!
//! Any number of threads read from it and answer to it. The kernel gives each request to one reader
//! whole, and takes each answer whole.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, Result, readv, writev};
use zerocopy::{FromZeros, IntoBytes};

use super::abi::{self, InitIn, InitOut, OutHeader, init, opcode};
use super::inbox::Inbox;
use crate::format::pages::PAGE;

/// Most bytes of one write or read.
pub const MAX_WRITE: usize = 1 << 20;
/// Requests that the kernel has under way at most, and from how many on it calls it crowded.
const MAX_BACKGROUND: u16 = 256;
const CONGESTION: u16 = 192;

/// The descriptor.
#[derive(Debug)]
pub struct Connection(OwnedFd);

/// What the kernel agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Requests without an answer can be sent to a server that takes over.
    pub resend: bool,
}

/// Where one thread waits for requests.
///
/// Of several threads that wait the kernel wakes one, always the first in the order in which they
/// began (epoll_ctl(2), `EPOLLEXCLUSIVE`, Linux 4.5). Threads that read the descriptor are woken in
/// turn instead, so that memory of all of them goes through the processor's caches.
#[derive(Debug)]
pub struct Waiter(OwnedFd);

impl Waiter {
    /// Waits until there may be a request.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self) -> Result<()> {
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }];
        match epoll::wait(&self.0, &mut events, None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

impl Connection {
    /// Takes a descriptor of `/dev/fuse` that is mounted.
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Answers the first request of a connection. Whoever takes over finds that done.
    ///
    /// # Errors
    /// `ENODEV` if it is not mounted any more; `EPROTO`; the kernel's.
    pub fn initialise(&self, inbox: &mut Inbox) -> Result<Features> {
        let length = self.receive(inbox)?;
        let (header, body) = inbox.heads(length).ok_or(Errno::PROTO)?;
        // All that is of use is in front; older kernels send less of it.
        let mut wanted = InitIn::new_zeroed();
        let there = body.len().min(size_of::<InitIn>());
        wanted.as_mut_bytes()[..there].copy_from_slice(&body[..there]);
        let is_ours = wanted.major == abi::KERNEL_VERSION && there >= 16;
        if header.opcode != opcode::INIT || !is_ours {
            self.refuse(header.unique, Errno::PROTO)?;
            return Err(Errno::PROTO);
        }
        let mut offered = u64::from(wanted.flags);
        if offered & init::INIT_EXT != 0 {
            offered |= u64::from(wanted.flags2) << 32;
        }
        let asked = init::ASYNC_READ
            | init::BIG_WRITES
            | init::ASYNC_DIO
            | init::MAX_PAGES
            | init::INIT_EXT
            | init::HAS_RESEND;
        let agreed = offered & asked;
        self.reply(header.unique, answer(&wanted, agreed).as_bytes())?;
        Ok(Features {
            resend: agreed & init::HAS_RESEND != 0,
        })
    }

    /// Has [`Connection::gather`] return where it would wait, for all who have the descriptor.
    ///
    /// # Errors
    /// The kernel's.
    pub fn stop_waiting(&self) -> Result<()> {
        let flags = fcntl_getfl(&self.0)?;
        fcntl_setfl(&self.0, flags | OFlags::NONBLOCK)
    }

    /// Receives requests that are there, `most` of them, as far as it is good to have them together.
    /// `false`: the file is not mounted nor open any more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn gather(&self, inbox: &mut Inbox, most: usize) -> Result<bool> {
        inbox.clear();
        while inbox.has_room_for_more(most) {
            match self.receive(inbox) {
                Ok(length) => inbox.add(length).ok_or(Errno::PROTO)?,
                Err(Errno::AGAIN) => break,
                // The other one: it was ended by who would not wait for us.
                Err(Errno::NODEV | Errno::CONNABORTED) if inbox.is_empty() => return Ok(false),
                // It will be said again.
                Err(Errno::NODEV | Errno::CONNABORTED) => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(true)
    }

    fn receive(&self, inbox: &mut Inbox) -> Result<usize> {
        loop {
            match readv(&self.0, &mut inbox.parts()) {
                // The request was taken back, or a signal came.
                Err(Errno::NOENT | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Lets a thread wait for requests.
    ///
    /// # Errors
    /// The kernel's.
    pub fn waiter(&self) -> Result<Waiter> {
        let waiter = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let what = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        epoll::add(&waiter, &self.0, epoll::EventData::new_u64(0), what)?;
        Ok(Waiter(waiter))
    }

    /// Answers a request with data, perhaps none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn reply(&self, unique: u64, data: &[u8]) -> Result<()> {
        self.send(unique, 0, data)
    }

    /// Answers a request with an error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn refuse(&self, unique: u64, errno: Errno) -> Result<()> {
        self.send(unique, -errno.raw_os_error(), &[])
    }

    /// Has the kernel send again what a server that died has not answered.
    ///
    /// # Errors
    /// `EINVAL` before Linux 6.9; the kernel's.
    pub fn resend(&self) -> Result<()> {
        self.send(0, abi::NOTIFY_RESEND, &[])
    }

    /// Lets the kernel know that the file is longer now, by a byte for the page cache at its end,
    /// which nothing reads: the kernel takes its place for the end, and asks for the size when it
    /// needs it. Kernels before 6.17 do not ask under a loop device.
    ///
    /// # Errors
    /// The kernel's.
    pub fn notify_length(&self, bytes: u64) -> Result<()> {
        let store = abi::NotifyStoreOut {
            nodeid: abi::ROOT_ID,
            offset: bytes.saturating_sub(1),
            size: 1,
            padding: 0,
        };
        let data = [store.as_bytes(), &[0]].concat();
        self.send(0, abi::NOTIFY_STORE, &data)
    }

    fn send(&self, unique: u64, error: i32, data: &[u8]) -> Result<()> {
        let length = size_of::<OutHeader>() + data.len();
        let header = OutHeader {
            len: u32::try_from(length).map_err(|_| Errno::INVAL)?,
            error,
            unique,
        };
        let parts = [IoSlice::new(header.as_bytes()), IoSlice::new(data)];
        match writev(&self.0, &parts) {
            Ok(written) if written == length => Ok(()),
            Ok(_) => Err(Errno::IO),
            // Whoever asked has gone, or all have.
            Err(Errno::NOENT | Errno::NODEV) if unique != 0 => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn answer(wanted: &InitIn, agreed: u64) -> InitOut {
    let [low, high] = [agreed & u64::from(u32::MAX), agreed >> 32];
    InitOut {
        major: abi::KERNEL_VERSION,
        minor: abi::KERNEL_MINOR_VERSION.min(wanted.minor),
        max_readahead: wanted.max_readahead,
        flags: u32::try_from(low).unwrap_or_default(),
        flags2: u32::try_from(high).unwrap_or_default(),
        max_background: MAX_BACKGROUND,
        congestion_threshold: CONGESTION,
        max_write: u32::try_from(MAX_WRITE).unwrap_or_default(),
        time_gran: 1,
        max_pages: u16::try_from(MAX_WRITE / PAGE).unwrap_or_default(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_agreed_on_stands_in_both_halves() {
        let wanted = InitIn {
            minor: 45,
            max_readahead: 1,
            ..Default::default()
        };
        let said = answer(&wanted, init::HAS_RESEND | init::INIT_EXT | init::ASYNC_DIO);
        assert_eq!((said.flags, said.flags2), (1 << 30 | 1 << 15, 1 << 7));
        assert_eq!((said.minor, said.max_pages), (38, 256));
    }
}
