// SPDX-License-Identifier: MIT OR Apache-2.0
//! One connection: the descriptor of `/dev/fuse` by which a mounted file is served.
//!
//! Any number of threads read from it and answer to it. The kernel gives each request to one reader
//! whole, and takes each answer whole.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result, readv, writev};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::abi::{
    self, FallocateIn, InHeader, InitIn, InitOut, OutHeader, ReadIn, WriteIn, init, opcode,
};
use crate::format::pages::{PAGE, Pages};

/// Most bytes of one write or read.
pub const MAX_WRITE: usize = 1 << 20;
/// The headers of a WRITE, which are received apart so that its data begins with a page.
const HEADERS: usize = size_of::<InHeader>() + size_of::<WriteIn>();
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

/// A request, with where its answer goes.
#[derive(Debug)]
pub struct Request<'a> {
    /// Its number.
    pub unique: u64,
    /// What is wanted.
    pub task: Task<'a>,
}

/// What a request wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Task<'a> {
    /// Kind and size of the file.
    GetAttr,
    /// The file is opened.
    Open,
    /// Bytes of the file.
    Read {
        /// From where on.
        at: u64,
        /// How many.
        bytes: usize,
    },
    /// Bytes for the file.
    Write {
        /// From where on.
        at: u64,
        /// They, beginning with a page of memory.
        data: &'a [u8],
    },
    /// A range is to read as zeros.
    Zero {
        /// From where on.
        at: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// All that was written is to be durable.
    Sync,
    /// Sizes of the file system.
    StatFs,
    /// Something that is done by saying so.
    Nothing,
    /// Something that wants no answer.
    Silent,
    /// Anything else, or something malformed.
    Unknown,
}

/// Where one thread receives requests.
#[derive(Debug)]
pub struct Inbox {
    headers: [u8; HEADERS],
    data: Pages,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            headers: [0; HEADERS],
            // The kernel wants room for the largest write and its headers in what is behind ours too.
            data: Pages::new(MAX_WRITE + PAGE),
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
        let (header, body, _) = inbox.split(length).ok_or(Errno::PROTO)?;
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

    /// Waits for a request. `None`: the file is not mounted nor open any more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn next<'a>(&self, inbox: &'a mut Inbox) -> Result<Option<Request<'a>>> {
        let length = match self.receive(inbox) {
            Err(Errno::NODEV) => return Ok(None),
            received => received?,
        };
        let (header, body, data) = inbox.split(length).ok_or(Errno::PROTO)?;
        Ok(Some(Request {
            unique: header.unique,
            task: Task::parse(header.opcode, body, data),
        }))
    }

    fn receive(&self, inbox: &mut Inbox) -> Result<usize> {
        loop {
            let (headers, data) = (&mut inbox.headers, inbox.data.bytes_mut());
            let mut parts = [IoSliceMut::new(headers), IoSliceMut::new(data)];
            match readv(&self.0, &mut parts) {
                // The request was taken back, or a signal came.
                Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => {}
                other => return other,
            }
        }
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
            // Whoever asked has gone.
            Err(Errno::NOENT) if unique != 0 => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Inbox {
    /// Room for what is read, once a request has been understood; whole pages.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.data.bytes_mut()[..MAX_WRITE]
    }

    /// The header of a request, what follows it up to where data begins, and the data.
    fn split(&self, length: usize) -> Option<(InHeader, &[u8], &[u8])> {
        let (header, rest) = InHeader::read_from_prefix(&self.headers).ok()?;
        let behind = length.checked_sub(size_of::<InHeader>())?;
        let (body, data) = (behind.min(rest.len()), behind.saturating_sub(rest.len()));
        Some((header, &rest[..body], self.data.bytes().get(..data)?))
    }
}

impl<'a> Task<'a> {
    fn parse(number: u32, body: &[u8], data: &'a [u8]) -> Self {
        Self::known(number, body, data).unwrap_or(Task::Unknown)
    }

    fn known(number: u32, body: &[u8], data: &'a [u8]) -> Option<Self> {
        Some(match number {
            opcode::READ => {
                let wanted = ReadIn::read_from_bytes(body).ok()?;
                let bytes = usize::try_from(wanted.size).ok()?;
                let at = wanted.offset;
                Task::Read { at, bytes }
            }
            opcode::WRITE => {
                let wanted = WriteIn::read_from_bytes(body).ok()?;
                let is_whole = usize::try_from(wanted.size) == Ok(data.len());
                let at = wanted.offset;
                is_whole.then_some(Task::Write { at, data })?
            }
            opcode::FALLOCATE => {
                let wanted = FallocateIn::read_from_bytes(body).ok()?;
                let (at, bytes) = (wanted.offset, wanted.length);
                is_zeroing(wanted.mode).then_some(Task::Zero { at, bytes })?
            }
            opcode::FSYNC => Task::Sync,
            opcode::GETATTR => Task::GetAttr,
            opcode::OPEN => Task::Open,
            opcode::STATFS => Task::StatFs,
            opcode::FLUSH | opcode::RELEASE | opcode::DESTROY => Task::Nothing,
            opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT => Task::Silent,
            _ => return None,
        })
    }
}

/// Whether a mode of `fallocate` asks for zeros and leaves the length. Loop devices send discards as
/// `PUNCH_HOLE` and writes of zeros as either.
fn is_zeroing(mode: u32) -> bool {
    let kept = mode & abi::FALLOC_FL_KEEP_SIZE != 0;
    let how = mode & !abi::FALLOC_FL_KEEP_SIZE;
    kept && matches!(how, abi::FALLOC_FL_PUNCH_HOLE | abi::FALLOC_FL_ZERO_RANGE)
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

    /// A request as the kernel puts it into the two parts of an inbox.
    fn received(number: u32, body: &[u8], data: &[u8]) -> (Inbox, usize) {
        let mut inbox = Inbox::default();
        let header = InHeader {
            opcode: number,
            unique: 7,
            ..Default::default()
        };
        let all = [header.as_bytes(), body, data].concat();
        let inside = all.len().min(HEADERS);
        inbox.headers[..inside].copy_from_slice(&all[..inside]);
        inbox.data.bytes_mut()[..all.len() - inside].copy_from_slice(&all[inside..]);
        (inbox, all.len())
    }

    fn parsed<T>(number: u32, body: &[u8], data: &[u8], look: impl Fn(Task<'_>) -> T) -> T {
        let (inbox, length) = received(number, body, data);
        let (header, body, data) = inbox.split(length).unwrap();
        assert_eq!(header.unique, 7);
        look(Task::parse(header.opcode, body, data))
    }

    #[test]
    fn the_data_of_a_write_begins_with_a_page() {
        let wanted = WriteIn {
            offset: 512,
            size: 1024,
            ..Default::default()
        };
        parsed(opcode::WRITE, wanted.as_bytes(), &[9; 1024], |task| {
            let Task::Write { at: 512, data } = task else {
                panic!("{task:?}");
            };
            assert!(data.as_ptr().addr().is_multiple_of(PAGE));
            assert_eq!(data, [9; 1024]);
        });
        let cut = |task: Task<'_>| assert_eq!(task, Task::Unknown);
        parsed(opcode::WRITE, wanted.as_bytes(), &[9; 1023], cut);
        parsed(opcode::WRITE, &[0; 39], &[], cut);
        parsed(opcode::READ, &[], &[], cut);
        parsed(999, &[], &[], cut);
    }

    #[test]
    fn only_what_makes_zeros_is_taken_of_fallocate() {
        for (mode, zeroes) in [(3, true), (0x11, true), (0, false), (1, false), (2, false)] {
            let wanted = FallocateIn {
                offset: 1,
                length: 2,
                mode,
                ..Default::default()
            };
            let expected = match zeroes {
                true => Task::Zero { at: 1, bytes: 2 },
                false => Task::Unknown,
            };
            parsed(opcode::FALLOCATE, wanted.as_bytes(), &[], |task| {
                assert_eq!(task, expected, "{mode:#x}");
            });
        }
    }

    #[test]
    fn a_request_shorter_than_its_header_is_none() {
        let (inbox, _) = received(opcode::OPEN, &[], &[]);
        assert!(inbox.split(39).is_none());
        assert!(inbox.split(usize::MAX).is_none());
    }

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
