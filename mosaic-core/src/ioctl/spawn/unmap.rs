// SPDX-License-Identifier: MIT OR Apache-2.0
//! Letting go of the memory that a copy of a process does not need.
//!
//! What is not let go is copied page by page as the process that we are a copy of writes to it, and
//! keeps the files that were mapped, and so their file systems, in use.

use std::ptr;

use libc::c_long;

use super::maps::Line;
use super::objects::objects;
use super::plain::{address, call};

/// What is kept on both sides of what is needed in the midst of other memory: a stack, and what a
/// thread has for itself, may each be a part of anything.
const AROUND: usize = 512 * 1024;
/// As much as the kernel gives at once: its `seq_file` has a page of 4 KiB or more.
const CHUNK: usize = 4096;
/// `PR_GET_SHADOW_STACK_STATUS` in include/uapi/linux/prctl.h, since Linux 6.13.
const PR_GET_SHADOW_STACK_STATUS: c_long = 74;
/// `ARCH_SHSTK_STATUS` in arch/x86/include/uapi/asm/prctl.h, since Linux 6.6.
#[cfg(target_arch = "x86_64")]
const ARCH_SHSTK_STATUS: c_long = 0x5005;

/// Memory that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kept {
    start: usize,
    end: usize,
    /// Whose mapping it is a part of, if that is of a file; `None`: of any.
    place: Option<usize>,
}

impl Kept {
    /// All pages that have memory from one place to another.
    fn memory(start: usize, end: usize) -> Self {
        let page = rustix::param::page_size();
        Self {
            start: start & !(page - 1),
            end: end.next_multiple_of(page),
            place: Some(start),
        }
    }

    /// What is read of a slice.
    pub(super) fn slice<T>(slice: &[T]) -> Self {
        let start = slice.as_ptr().expose_provenance();
        Self::memory(start, start + size_of_val(slice))
    }

    /// What surrounds a place.
    fn around(place: usize) -> Self {
        let (start, end) = (place.saturating_sub(AROUND), place + AROUND);
        Self {
            place: Some(place),
            ..Self::memory(start, end)
        }
    }
}

/// What [`unmap_all_but`] keeps for a copy of this thread, in ascending order; `None`: it had better
/// keep all.
/// - All objects with their data, `.bss` among it: what replaces a function of the C library, such as
///   `syscall`, has data as well.
/// - The stack around where we are, and the thread's own memory, where `errno` is, and what the
///   kernel writes when a thread goes to another processor (rseq(2)).
/// - What is `needed` besides, and the list itself.
///
/// Nobody says where a shadow stack is. And whoever is not where the loader has its objects was loaded
/// in a way of which nothing is known here.
pub(super) fn kept(needed: [Kept; 4]) -> Option<Vec<Kept>> {
    let objects = objects();
    let code = [kept as *const u8, libc::syscall as *const u8];
    let is_known = |code: &*const u8| objects.iter().any(|object| object.contains(&code.addr()));
    if has_shadow_stack() || !code.iter().all(is_known) {
        return None;
    }
    // SAFETY: neither writes to memory.
    let (errno, thread) = unsafe { (libc::__errno_location(), libc::pthread_self()) };
    #[allow(clippy::cast_possible_truncation, reason = "a pointer, or as wide")]
    let thread = thread as usize;
    let mut list: Vec<Kept> = Vec::with_capacity(objects.len() + needed.len() + 4);
    let own = list.as_ptr().expose_provenance();
    list.extend([
        Kept::memory(own, own + list.capacity() * size_of::<Kept>()),
        Kept::around(ptr::from_ref(&errno).expose_provenance()),
        Kept::around(errno.expose_provenance()),
        Kept::around(thread),
    ]);
    list.extend(needed);
    list.extend(objects.iter().map(|object| Kept {
        place: None,
        ..Kept::memory(object.start, object.end)
    }));
    list.sort_unstable();
    Some(list)
}

/// Unmaps everything but what is `kept`, and
/// - each file that is mapped for execution, with what else of it is mapped beside, and what is of no
///   file and can be executed,
/// - the kernel's own.
///
/// Nothing at all is unmapped where there is no `/proc`. What the kernel refuses to unmap stays as
/// well.
///
/// # Safety
/// The process is a copy, with one thread, of what made the list by [`kept`]. It blocks all signals,
/// and never returns from the function that calls this. Afterwards it uses nothing but system calls
/// (`plain`), constants of its code, what is `kept`, and what is on its stack within [`AROUND`] of
/// where the list was made; no function of another object that was not called before, nor memcpy and
/// its like, which a program may have replaced.
pub(super) unsafe fn unmap_all_but(kept: &[Kept]) {
    let mut chunk = [0_u8; CHUNK];
    let maps = address(c"/proc/self/maps".as_ptr());
    let flags = c_long::from(libc::O_RDONLY | libc::O_CLOEXEC);
    let here = c_long::from(libc::AT_FDCWD);
    let maps = call(libc::SYS_openat, [here, maps, flags, 0]);
    if maps < 0 {
        return;
    }
    let (mut line, mut run) = (Line::EMPTY, Run::EMPTY);
    loop {
        // It goes on after the address where it was, so that it does not matter what is gone.
        let to = address(ptr::from_mut(&mut chunk));
        let read = call(libc::SYS_read, [maps, to, CHUNK as c_long, 0]);
        let read = usize::try_from(read).unwrap_or(0);
        if read == 0 {
            break;
        }
        let mut at = 0;
        while at < read {
            if line.ends_with(chunk[at]) {
                if !run.goes_on_with(&line) {
                    // SAFETY: the caller's.
                    unsafe { run.unmap(kept) };
                    run.begin_with(&line);
                }
                line.clear();
            }
            at += 1;
        }
    }
    // SAFETY: the caller's.
    unsafe { run.unmap(kept) };
    call(libc::SYS_close, [maps, 0, 0, 0]);
}

/// Mappings of the same file that follow each other, or one of no file.
struct Run {
    start: usize,
    end: usize,
    device: u64,
    inode: u64,
    is_needed: bool,
}

impl Run {
    const EMPTY: Self = Self {
        start: 0,
        end: 0,
        device: 0,
        inode: 0,
        is_needed: true,
    };

    fn begin_with(&mut self, line: &Line) {
        self.start = line.start;
        self.end = line.end;
        self.device = line.device;
        self.inode = line.inode;
        self.is_needed = line.is_executable || line.is_kernels();
    }

    /// Whether the mapping belongs to it; it does from now on.
    fn goes_on_with(&mut self, line: &Line) -> bool {
        let same = line.inode != 0 && line.inode == self.inode && line.device == self.device;
        if same {
            self.end = line.end;
            self.is_needed |= line.is_executable;
        }
        same
    }

    /// Whether something is kept that is a part of it. A file that is mapped beside a place is not
    /// around it.
    fn has(&self, kept: &Kept) -> bool {
        let is_its = |place| self.start <= place && place < self.end;
        self.inode == 0 || kept.place.is_none_or(is_its)
    }

    /// Unmaps it, if it is not needed, but for what is to be kept, which is in ascending order.
    ///
    /// # Safety
    /// As of [`unmap_all_but`].
    unsafe fn unmap(&self, kept: &[Kept]) {
        if self.is_needed {
            return;
        }
        let mut from = self.start;
        for kept in kept {
            if self.has(kept) && kept.end > from && kept.start < self.end {
                // SAFETY: the caller's.
                unsafe { unmap(from, kept.start) };
                from = kept.end;
            }
        }
        // SAFETY: the caller's.
        unsafe { unmap(from, self.end) };
    }
}

/// # Safety
/// Nothing in between is used any more.
unsafe fn unmap(from: usize, to: usize) {
    if from < to {
        let (from, length) = (
            from.cast_signed() as c_long,
            (to - from).cast_signed() as c_long,
        );
        call(libc::SYS_munmap, [from, length, 0, 0]);
    }
}

/// Whether returning needs more memory than the stack.
fn has_shadow_stack() -> bool {
    let mut status = 0_u64;
    let to = address(ptr::from_mut(&mut status));
    // SAFETY: the kernel writes one word. It wants all five arguments, the last three 0.
    unsafe {
        let get = PR_GET_SHADOW_STACK_STATUS;
        libc::syscall(libc::SYS_prctl, get, to, 0_usize, 0_usize, 0_usize)
    };
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_arch_prctl, [ARCH_SHSTK_STATUS, to, 0, 0]);
    status & 1 != 0
}
