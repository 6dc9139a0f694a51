// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting a program from inside another one, whatever that has done to its signals, children and
//! descriptors.
//!
//! Between us and the program is a waiter, a small process of our own that waits for the program
//! and says how it ended. The waiter has no exit signal (clone(2)): a program around us that
//! ignores SIGCHLD, or that waits for any child, neither loses nor takes its end, and never hears
//! of it. The program itself could not be started like that: execve(2) gives it SIGCHLD again, and
//! is why the waiter never executes anything.
//!
//! Both start as copies of a process that may have threads: until it executes the program, a copy
//! may only make async-signal-safe calls (fork(2)): no allocation, no lock, plain system calls. All
//! signals are blocked from before the copy is made, so that no handler of ours runs in it.
//!
//! The waiter has none of our descriptors and not our directory, and of our memory little more than
//! what all objects have of their own: the rest would be copied, page by page, as we write to it, and
//! files that we have mapped would stay in use until the program has ended. It lets go of it before it
//! copies itself, so that of a large process there is one copy, and that for as long as copying took.
//! It says that it begins when it has made a system call with what is left: one that is killed before
//! has done nothing, and another one keeps all memory.

mod copies;
mod maps;
mod objects;
mod plain;
mod unmap;

use std::ffi::{CString, c_char};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::{ptr, slice};

use copies::{Plan, SAYS_BEGINS, SAYS_ELSEWHERE, SAYS_ENDED, SAYS_NOT_RUN, wait};
use libc::{c_int, c_long};
use plain::set_mask;
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use unmap::Kept;

/// `CLONE_PIDFD` in include/uapi/linux/sched.h, Linux 5.2: the descriptor goes where the third
/// argument points.
const CLONE_PIDFD: c_long = 0x1000;
/// `P_PIDFD` of waitid(2), Linux 5.4.
const P_PIDFD: c_long = 3;
/// What the waiter and the kernel do to the program, and what the program ignores.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// It is killed when the thread that starts it ends.
    pub(crate) dies_with_us: bool,
    /// It is killed, with its group, by [`Waiter::stop`], and by whoever else sends its waiter
    /// SIGTERM.
    pub(crate) can_be_stopped: bool,
    /// What is left of its group when it has ended is killed.
    pub(crate) takes_group_along: bool,
    /// Signals that are ignored in it, until it has a handler of its own. All others are as at
    /// login.
    pub(crate) ignored: &'static [Signal],
}

/// What a waiter keeps of our memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// What it needs, as far as that is known: [`unmap`].
    Little,
    /// All, which is always good.
    All,
}

/// What is to be executed.
#[derive(Debug)]
pub(crate) struct Image {
    /// An absolute path.
    pub(crate) path: CString,
    /// Its arguments, the first of which is its name.
    pub(crate) arguments: Vec<CString>,
    /// Its whole environment.
    pub(crate) environment: Vec<CString>,
    /// Those of our descriptors, beyond 2, that it has by the same numbers.
    pub(crate) descriptors: Vec<RawFd>,
}

impl Image {
    /// All its texts, and where they begin: see [`Plan`].
    fn laid_out(&self) -> (Vec<u8>, Vec<*const c_char>) {
        let lists = [
            slice::from_ref(&self.path),
            &self.arguments,
            &self.environment,
        ];
        let all = || lists.iter().copied().flatten();
        let texts: Vec<u8> = all()
            .flat_map(|text| text.as_bytes_with_nul())
            .copied()
            .collect();
        let mut pointers = Vec::new();
        let mut at = 0;
        for (list, ends) in lists.iter().zip([false, true, true]) {
            for text in *list {
                pointers.push(texts[at..].as_ptr().cast());
                at += text.as_bytes_with_nul().len();
            }
            if ends {
                pointers.push(ptr::null());
            }
        }
        (texts, pointers)
    }
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// It could not be executed.
    NotRun(Errno),
    /// It was, and this is its status as of wait(2).
    Ended(c_int),
    /// It was not: the waiter is in another pid namespace than we are.
    Elsewhere,
    /// It was not: the waiter was killed before, perhaps since it missed memory.
    NotBegun,
}

/// The process that waits for a program. Whoever drops it has called [`Waiter::reap`].
#[derive(Debug)]
pub(crate) struct Waiter {
    /// A pidfd: readable when the waiter has ended, and so the program, unless the waiter was
    /// killed.
    pub(crate) end: OwnedFd,
    /// Readable when it has said something.
    pub(crate) report: OwnedFd,
    begun: bool,
    heard: bool,
    said: Option<Report>,
}

/// Starts a program with these standard streams, in a process group of its own, with `/` as its
/// directory, default signals, and of our other descriptors those of the image.
///
/// `PR_SET_PDEATHSIG` (prctl(2)) follows the **thread** that starts it, not the process: whoever starts
/// a program that [`Manner::dies_with_us`] must wait for it on the same thread.
pub(crate) fn start(
    image: &Image,
    streams: [BorrowedFd<'_>; 3],
    manner: Manner,
    memory: Memory,
) -> io::Result<Waiter> {
    let (report, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&report, true)?;
    // Beyond the numbers that they are to have: 0 to 2 may have been closed when ours were opened.
    let beyond = |fd: BorrowedFd<'_>| fcntl_dupfd_cloexec(fd, 3);
    let [stdin, stdout, stderr] = streams;
    let streams = [beyond(stdin)?, beyond(stdout)?, beyond(stderr)?];
    let theirs = fcntl_dupfd_cloexec(theirs, 3)?;
    let [stdin, stdout, stderr] = [0, 1, 2].map(|at: usize| streams[at].as_raw_fd());
    let mut kept = vec![stdin, stdout, stderr, theirs.as_raw_fd()];
    kept.extend(&image.descriptors);
    kept.sort_unstable();
    let (texts, pointers) = image.laid_out();
    let memory = match memory {
        Memory::Little => unmap::kept([
            Kept::slice(&texts),
            Kept::slice(&pointers),
            Kept::slice(&kept),
            Kept::slice(&image.descriptors),
        ]),
        Memory::All => None,
    };
    let plan = Plan {
        texts,
        pointers,
        environment: 2 + image.arguments.len(),
        streams: [stdin, stdout, stderr],
        report: theirs.as_raw_fd(),
        passed: &image.descriptors,
        kept,
        manner,
        parent: c_long::from(rustix::process::getpid().as_raw_nonzero().get()),
        memory,
    };
    let mut end: c_int = -1;
    let before = set_mask(u64::MAX);
    // SAFETY: no memory is shared, so the copy is as of fork(2); it only runs `wait`, which makes
    // system calls and never returns. The kernel writes one int to `end`, in the parent.
    let waiter = unsafe { plain::copy(CLONE_PIDFD, &raw mut end) };
    if waiter == 0 {
        wait(&plan);
    }
    let failed = io::Error::last_os_error();
    set_mask(before);
    if waiter < 0 {
        return Err(failed);
    }
    // SAFETY: the kernel has just opened it for us (close-on-exec), nobody else has it.
    let end = unsafe { OwnedFd::from_raw_fd(end) };
    Ok(Waiter {
        end,
        report,
        begun: false,
        heard: false,
        said: None,
    })
}

impl Waiter {
    /// Has a program that [`Manner::can_be_stopped`] killed, and its group, also if the waiter was
    /// stopped. The waiter is still to be waited for.
    pub(crate) fn stop(&self) {
        for signal in [Signal::TERM, Signal::CONT] {
            // It can only be gone already.
            let _ = rustix::process::pidfd_send_signal(&self.end, signal);
        }
    }

    /// Has it killed, and by that a program that [`Manner::dies_with_us`]. It is still to be waited
    /// for.
    pub(crate) fn kill(&self) {
        // It can only be gone already.
        let _ = rustix::process::pidfd_send_signal(&self.end, Signal::KILL);
    }

    /// Whether it has killed the program, as [`Waiter::stop`] told it.
    pub(crate) fn has_heard(&mut self) -> bool {
        self.listen();
        self.heard
    }

    /// Waits for the waiter's end, and says what it has said. `None`: it was killed before the
    /// program ended, or could not learn how; the program may still be at work.
    pub(crate) fn reap(&mut self) -> Option<Report> {
        let fd = c_long::from(self.end.as_raw_fd());
        let flags = c_long::from(libc::WEXITED | libc::__WALL);
        loop {
            // Nobody looks at it. The kernel would take a null pointer as well, which memcheck does not.
            let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
            // SAFETY: waitid(2) by the system call, with its fifth argument, which libc's function
            // does not have, and which is null; one siginfo_t is written to where it is told.
            let waited = unsafe {
                let (info, none) = (info.as_mut_ptr(), ptr::null_mut::<u8>());
                libc::syscall(libc::SYS_waitid, P_PIDFD, fd, info, flags, none)
            };
            // ECHILD: somebody waits for really all (__WALL); it has ended then.
            if waited == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                break;
            }
        }
        self.listen();
        let before = (!self.begun).then_some(Report::NotBegun);
        self.said.or(before)
    }

    /// Reads all that it has said.
    fn listen(&mut self) {
        let mut message = [0_u8; 8];
        while let Ok(8) = rustix::io::retry_on_intr(|| rustix::io::read(&self.report, &mut message))
        {
            let word = |at| i32::from_ne_bytes(std::array::from_fn(|byte| message[at + byte]));
            match (word(0), word(4)) {
                (SAYS_NOT_RUN, errno) => {
                    self.said = Some(Report::NotRun(Errno::from_raw_os_error(errno)));
                }
                (SAYS_ENDED, status) => self.said = Some(Report::Ended(status)),
                (SAYS_ELSEWHERE, _) => self.said = Some(Report::Elsewhere),
                (SAYS_BEGINS, _) => self.begun = true,
                _ => self.heard = true,
            }
        }
    }
}

#[cfg(test)]
mod tests;
