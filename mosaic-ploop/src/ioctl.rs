// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's asynchronous I/O: many transfers begun by one call, each told when it ends.
//!
//! A device gets what is begun together in one go, which costs much less than one after the other.
//! Only direct I/O is asynchronous; anything else would be done before the call returns.
//!
//! Kernel: io_setup(2), io_submit(2), io_getevents(2); include/uapi/linux/aio_abi.h, Linux 2.6 and
//! later. A kernel may lack it (`CONFIG_AIO`), or have given away all (`/proc/sys/fs/aio-max-nr`).
//!
//! What a process had begun ends before the process has ended, as with any other write, but for one
//! case: whoever reads its memory through `/proc/PID` at that very moment holds it up.

#![allow(
    unsafe_code,
    reason = "the one place in this crate that talks to the kernel in raw memory"
)]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::io::{Errno, Result};

/// Most transfers of a [`Queue`].
pub const MOST: usize = 16;

/// `aio_context_t`.
type ContextId = libc::c_ulong;

/// `IOCB_CMD_PREAD` and `IOCB_CMD_PWRITE`.
const READ: u16 = 0;
const WRITE: u16 = 1;

/// `struct iocb`; the two words in `key` change places with the byte order, and both are 0.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Iocb {
    data: u64,
    key: [u32; 2],
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event_fd: u32,
}
const _: () = assert!(size_of::<Iocb>() == 64);

/// `struct io_event`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Event {
    data: u64,
    object: u64,
    result: i64,
    result2: i64,
}
const _: () = assert!(size_of::<Event>() == 32);

/// Where transfers of one thread are under way.
#[derive(Debug)]
pub struct Queue(ContextId);

/// Bytes between a file and memory.
#[derive(Debug)]
pub struct Transfer<'f, 'm> {
    /// The file, open for direct I/O.
    pub file: BorrowedFd<'f>,
    /// Where in the file.
    pub at: u64,
    /// Where in memory.
    pub memory: &'m mut [u8],
    /// Which way.
    pub way: Way,
    /// The caller's own.
    pub tag: usize,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the file to memory.
    Read,
    /// From memory to the file.
    Write,
}

impl Queue {
    /// Asks the kernel for one.
    ///
    /// # Errors
    /// `ENOSYS`, `EAGAIN` where there is none; the kernel's.
    pub fn new() -> Result<Self> {
        let mut id: ContextId = 0;
        // SAFETY: the kernel writes one `aio_context_t` to the pointer, which is to one that is 0.
        let made = unsafe { libc::syscall(libc::SYS_io_setup, MOST, &raw mut id) };
        checked(made).map(|_| Self(id))
    }

    /// Begins all transfers, of which there are [`MOST`] at most, and returns when all have ended.
    /// Each comes back with the number of bytes as soon as that is known.
    pub fn run<'f, 'm>(
        &self,
        transfers: &mut [Option<Transfer<'f, 'm>>; MOST],
        mut done: impl FnMut(Transfer<'f, 'm>, Result<usize>),
    ) {
        let mut blocks = [Iocb::default(); MOST];
        let mut pointers = [ptr::null_mut(); MOST];
        let mut count = 0;
        for (number, transfer) in transfers.iter_mut().enumerate() {
            if let Some(transfer) = transfer {
                blocks[number] = transfer.block(number);
                pointers[count] = &raw mut blocks[number];
                count += 1;
            }
        }
        // From here on the kernel has the memory that is borrowed by `transfers`, which are behind a
        // reference of ours until `UnderWay` is back at 0.
        let mut under_way = UnderWay(0);
        let mut next = &mut pointers[..count];
        while !next.is_empty() {
            match self.submit(next) {
                Ok(begun) if begun > 0 => {
                    under_way.0 += begun;
                    next = &mut next[begun..];
                }
                // The rest was not begun: those that have no end come back below.
                _ => break,
            }
        }
        let mut events = [Event::default(); MOST];
        while under_way.0 > 0 {
            for event in self.events(&mut events) {
                under_way.0 -= 1;
                let ended = usize::try_from(event.data).ok();
                let ended = ended.and_then(|number| transfers.get_mut(number)?.take());
                if let Some(transfer) = ended {
                    done(transfer, outcome(event.result));
                }
            }
        }
        drop(under_way);
        for transfer in transfers.iter_mut().filter_map(Option::take) {
            done(transfer, Err(Errno::AGAIN));
        }
    }

    /// How many were begun, from the first on.
    fn submit(&self, blocks: &mut [*mut Iocb]) -> Result<usize> {
        let (count, first) = (blocks.len(), blocks.as_mut_ptr());
        // SAFETY: `first` points to `count` pointers to blocks that live until the call returns, which
        // is how long the kernel looks at them. The memory that they name is borrowed by the transfers
        // of `run`, which does not return before the kernel is done with it.
        checked(unsafe { libc::syscall(libc::SYS_io_submit, self.0, count, first) })
    }

    /// Waits for ends, one at least.
    fn events<'e>(&self, events: &'e mut [Event; MOST]) -> &'e [Event] {
        let none = ptr::null_mut::<libc::timespec>();
        let first = events.as_mut_ptr();
        // SAFETY: the kernel writes at most MOST events to `first`, which has room for as many; without
        // a time limit it reads none.
        let got = unsafe { libc::syscall(libc::SYS_io_getevents, self.0, 1, MOST, first, none) };
        match checked(got) {
            Ok(count) => &events[..count],
            Err(Errno::INTR) => &[],
            // The kernel has memory of ours, and will not say when it gives it back.
            Err(_) => std::process::abort(),
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the context is ours, and nobody has its number afterwards.
        let _ = unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
}

/// Transfers of which the kernel has the memory: nobody may get past this before there are none.
struct UnderWay(usize);

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0 > 0 {
            std::process::abort();
        }
    }
}

impl Transfer<'_, '_> {
    fn block(&mut self, number: usize) -> Iocb {
        Iocb {
            data: number as u64,
            opcode: match self.way {
                Way::Read => READ,
                Way::Write => WRITE,
            },
            fd: self.file.as_raw_fd().cast_unsigned(),
            buffer: self.memory.as_mut_ptr().expose_provenance() as u64,
            bytes: self.memory.len() as u64,
            // A file offset beyond that is refused by the kernel.
            offset: i64::try_from(self.at).unwrap_or(i64::MAX),
            ..Default::default()
        }
    }
}

fn outcome(result: i64) -> Result<usize> {
    usize::try_from(result).map_err(|_| {
        let errno = i32::try_from(-result).unwrap_or_default();
        Errno::from_raw_os_error(errno)
    })
}

/// What a call returned, or what it left in `errno`.
fn checked(returned: libc::c_long) -> Result<usize> {
    usize::try_from(returned).map_err(|_| {
        let errno = std::io::Error::last_os_error().raw_os_error();
        Errno::from_raw_os_error(errno.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn transfers<'f, 'm>(
        wanted: impl IntoIterator<Item = Transfer<'f, 'm>>,
    ) -> [Option<Transfer<'f, 'm>>; MOST] {
        let mut wanted = wanted.into_iter();
        std::array::from_fn(|_| wanted.next())
    }

    #[test]
    fn all_that_was_begun_ends_with_its_bytes_in_place() {
        const PART: usize = 512;
        let file = tempfile::tempfile().unwrap();
        let queue = Queue::new().unwrap();
        let run = |content: &mut [u8], way| {
            let mut ended = Vec::new();
            let parts = content.chunks_mut(PART).enumerate();
            let mut all = transfers(parts.map(|(tag, memory)| Transfer {
                file: file.as_fd(),
                at: (tag * PART) as u64,
                memory,
                way,
                tag,
            }));
            queue.run(&mut all, |transfer, bytes| {
                assert_eq!(bytes, Ok(PART));
                ended.push(transfer.tag);
            });
            ended.sort_unstable();
            assert!(ended.into_iter().eq(0..MOST));
        };
        let mut content = vec![0; MOST * PART];
        for (part, number) in content.chunks_mut(PART).zip(1..) {
            part.fill(number);
        }
        let expected = content.clone();
        run(&mut content, Way::Write);
        content.fill(0);
        run(&mut content, Way::Read);
        assert!(content == expected);
    }

    #[test]
    fn what_cannot_be_begun_comes_back_and_so_does_what_is_behind_it() {
        let file = tempfile::tempfile().unwrap();
        let path = mosaic_core::command::fd_path(file.as_fd());
        let only_read = std::fs::File::open(path).unwrap();
        let mut memory = [[7; 512]; 3];
        let files = [&file, &only_read, &file];
        let files = files.into_iter().zip(&mut memory).enumerate();
        let mut writes = transfers(files.map(|(tag, (file, memory))| Transfer {
            file: file.as_fd(),
            at: 0,
            memory,
            way: Way::Write,
            tag,
        }));
        let mut ended = Vec::new();
        Queue::new().unwrap().run(&mut writes, |transfer, bytes| {
            ended.push((transfer.tag, bytes.is_ok()));
        });
        ended.sort_unstable();
        assert_eq!(ended, [(0, true), (1, false), (2, false)]);
        assert!(writes.iter().all(Option::is_none));
    }

    #[test]
    fn a_short_read_says_how_short() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(100).unwrap();
        let mut memory = [1; 512];
        let read = Transfer {
            file: file.as_fd(),
            at: 0,
            memory: &mut memory,
            way: Way::Read,
            tag: 0,
        };
        let queue = Queue::new().unwrap();
        queue.run(&mut transfers([read]), |_, bytes| {
            assert_eq!(bytes, Ok(100))
        });
    }
}
