// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where one thread receives requests: several that are small, or one that is large.
//!
//! Small ones together cost the device less. Of large ones each is another thread's, so that they
//! are copied side by side.

use std::io::IoSliceMut;

use zerocopy::FromBytes;

use super::abi::{self, FallocateIn, InHeader, ReadIn, WriteIn, opcode};
use super::connection::MAX_WRITE;
use crate::format::pages::{PAGE, Pages};

/// The headers of a WRITE, which are received apart so that its data begins with a page.
const HEADERS: usize = size_of::<InHeader>() + size_of::<WriteIn>();
/// Bytes of the largest request that is small.
const SMALL: usize = 64 << 10;
/// Bytes of small requests that are received together; it may be one of them more.
const TOGETHER: usize = 256 << 10;

/// Requests, and the memory of their data.
#[derive(Debug)]
pub struct Inbox {
    headers: [u8; HEADERS],
    data: Pages,
    /// So much of it belongs to the requests.
    used: usize,
    requests: Vec<Request>,
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Its number, for the answer.
    pub unique: u64,
    /// What is wanted.
    pub task: Task,
    /// Bytes of its data.
    bytes: usize,
}

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Kind and size of the file.
    GetAttr,
    /// The file is opened.
    Open,
    /// Bytes of the file, as many as there is room for.
    Read {
        /// From where on.
        at: u64,
    },
    /// The data is for the file.
    Write {
        /// From where on.
        at: u64,
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

impl Default for Inbox {
    fn default() -> Self {
        Self {
            headers: [0; HEADERS],
            // The kernel wants room for the largest write and its headers in what is behind ours too.
            data: Pages::new(TOGETHER + MAX_WRITE + PAGE),
            used: 0,
            requests: Vec::new(),
        }
    }
}

impl Inbox {
    /// Requests in it.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Hands out the requests, each with its data: what is to be written, or room for what is read.
    /// It begins with a page of memory.
    pub fn open(&mut self) -> impl Iterator<Item = (Request, &mut [u8])> {
        let mut rest = self.data.bytes_mut();
        self.requests.drain(..).map(move |request| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(request.room());
            rest = after;
            (request, &mut part[..request.bytes])
        })
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.requests.clear();
    }

    pub(super) fn has_room_for_more(&self, most: usize) -> bool {
        let is_small = |last: &Request| {
            let moves = matches!(last.task, Task::Read { .. } | Task::Write { .. });
            moves && last.bytes <= SMALL
        };
        self.requests.last().is_none_or(is_small) && self.len() < most && self.used <= TOGETHER
    }

    /// Where the kernel puts the next request.
    pub(super) fn parts(&mut self) -> [IoSliceMut<'_>; 2] {
        let data = &mut self.data.bytes_mut()[self.used..];
        [IoSliceMut::new(&mut self.headers), IoSliceMut::new(data)]
    }

    /// The header of what was received last, and what follows it up to where data begins.
    pub(super) fn heads(&self, length: usize) -> Option<(InHeader, &[u8])> {
        let (header, rest) = InHeader::read_from_prefix(&self.headers).ok()?;
        let behind = length.checked_sub(size_of::<InHeader>())?;
        Some((header, &rest[..behind.min(rest.len())]))
    }

    /// Takes in what was received last; `None`: it is no request.
    pub(super) fn add(&mut self, length: usize) -> Option<()> {
        let (header, body) = self.heads(length)?;
        let known = Task::known(header.opcode, body, length.saturating_sub(HEADERS));
        let (task, bytes) = known.unwrap_or((Task::Unknown, 0));
        let unique = header.unique;
        let request = Request {
            unique,
            task,
            bytes,
        };
        self.used += request.room();
        self.requests.push(request);
        Some(())
    }
}

impl Request {
    /// Bytes of memory that it takes.
    fn room(&self) -> usize {
        self.bytes.next_multiple_of(PAGE)
    }
}

impl Task {
    /// The task, and how many bytes of data belong to it, of which `there` have come.
    fn known(number: u32, body: &[u8], there: usize) -> Option<(Self, usize)> {
        let task = match number {
            opcode::READ => {
                let wanted = ReadIn::read_from_bytes(body).ok()?;
                let bytes = usize::try_from(wanted.size).ok()?.min(MAX_WRITE);
                return Some((Self::Read { at: wanted.offset }, bytes));
            }
            opcode::WRITE => {
                let wanted = WriteIn::read_from_bytes(body).ok()?;
                let is_whole = usize::try_from(wanted.size) == Ok(there) && there <= MAX_WRITE;
                let task = Self::Write { at: wanted.offset };
                return is_whole.then_some((task, there));
            }
            opcode::FALLOCATE => {
                let wanted = FallocateIn::read_from_bytes(body).ok()?;
                let (at, bytes) = (wanted.offset, wanted.length);
                is_zeroing(wanted.mode).then_some(Self::Zero { at, bytes })?
            }
            opcode::FSYNC => Self::Sync,
            opcode::GETATTR => Self::GetAttr,
            opcode::OPEN => Self::Open,
            opcode::STATFS => Self::StatFs,
            opcode::FLUSH | opcode::RELEASE | opcode::DESTROY => Self::Nothing,
            opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT => Self::Silent,
            _ => return None,
        };
        Some((task, 0))
    }
}

/// Whether a mode of `fallocate` asks for zeros and leaves the length. Loop devices send discards as
/// `PUNCH_HOLE` and writes of zeros as either.
fn is_zeroing(mode: u32) -> bool {
    let kept = mode & abi::FALLOC_FL_KEEP_SIZE != 0;
    let how = mode & !abi::FALLOC_FL_KEEP_SIZE;
    kept && matches!(how, abi::FALLOC_FL_PUNCH_HOLE | abi::FALLOC_FL_ZERO_RANGE)
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    /// Puts a request where the kernel puts it.
    fn receive(inbox: &mut Inbox, number: u32, unique: u64, body: &[u8], data: &[u8]) {
        let header = InHeader {
            opcode: number,
            unique,
            ..Default::default()
        };
        let all = [header.as_bytes(), body, data].concat();
        let mut rest = &all[..];
        for part in &mut inbox.parts() {
            let (now, later) = rest.split_at(rest.len().min(part.len()));
            part[..now.len()].copy_from_slice(now);
            rest = later;
        }
        inbox.add(all.len()).unwrap();
    }

    fn write(at: u64, size: u32) -> WriteIn {
        WriteIn {
            offset: at,
            size,
            ..Default::default()
        }
    }

    fn alone(number: u32, body: &[u8], data: &[u8]) -> Task {
        let mut inbox = Inbox::default();
        receive(&mut inbox, number, 7, body, data);
        let (request, _) = inbox.open().next().unwrap();
        assert_eq!(request.unique, 7);
        request.task
    }

    #[test]
    fn the_data_of_each_request_begins_with_a_page() {
        let mut inbox = Inbox::default();
        let read = ReadIn {
            offset: 9,
            size: 4097,
            ..Default::default()
        };
        for (unique, byte) in (1..=3).zip(1..) {
            let body = write(unique * 512, 1024);
            let data = [byte; 1024];
            receive(&mut inbox, opcode::WRITE, unique, body.as_bytes(), &data);
            receive(&mut inbox, opcode::READ, unique, read.as_bytes(), &[]);
            assert!(inbox.has_room_for_more(7));
        }
        assert!(!inbox.has_room_for_more(6));
        let mut opened = inbox.open();
        for (unique, byte) in (1..=3).zip(1..) {
            let (request, data) = opened.next().unwrap();
            let task = Task::Write { at: unique * 512 };
            assert_eq!((request.unique, request.task), (unique, task));
            assert!(data.as_ptr().addr().is_multiple_of(PAGE));
            assert_eq!(data, [byte; 1024]);
            let (request, room) = opened.next().unwrap();
            assert_eq!(request.task, Task::Read { at: 9 });
            assert!(room.as_ptr().addr().is_multiple_of(PAGE));
            assert_eq!(room.len(), 4097);
        }
        assert!(opened.next().is_none());
    }

    #[test]
    fn what_is_large_or_no_transfer_comes_last_and_room_for_the_largest_is_left() {
        let mut inbox = Inbox::default();
        let data = vec![1; SMALL];
        let small = write(0, 64 << 10);
        while inbox.has_room_for_more(100) {
            assert!(inbox.parts()[1].len() >= MAX_WRITE + PAGE);
            receive(&mut inbox, opcode::WRITE, 1, small.as_bytes(), &data);
        }
        assert_eq!(inbox.open().count(), 5);
        inbox.clear();
        let large = write(0, (64 << 10) + 1);
        receive(
            &mut inbox,
            opcode::WRITE,
            1,
            large.as_bytes(),
            &[1; SMALL + 1],
        );
        assert!(!inbox.has_room_for_more(100));
        inbox.clear();
        receive(&mut inbox, opcode::FSYNC, 1, &[0; 16], &[]);
        assert!(!inbox.has_room_for_more(100));
    }

    #[test]
    fn what_is_malformed_is_unknown() {
        let wanted = write(512, 1024);
        assert_eq!(
            alone(opcode::WRITE, wanted.as_bytes(), &[9; 1023]),
            Task::Unknown
        );
        assert_eq!(alone(opcode::WRITE, &[0; 39], &[]), Task::Unknown);
        assert_eq!(alone(opcode::READ, &[], &[]), Task::Unknown);
        assert_eq!(alone(999, &[], &[]), Task::Unknown);
        assert!(Inbox::default().add(39).is_none());
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
            let found = alone(opcode::FALLOCATE, wanted.as_bytes(), &[]);
            assert_eq!(found, expected, "{mode:#x}");
        }
    }
}
