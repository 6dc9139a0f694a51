// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walking `/proc`: processes that come and go meanwhile, and those that we may not look at.
//!
//! Each process is opened once and looked at through that descriptor, so that a number used again
//! by the next process never mixes two of them up.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::error::{Context, Result};

/// `PF_KTHREAD` in include/linux/sched.h; field 9 of proc_pid_stat(5).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// How a folder is opened only to find things in it.
const DIRECTORY_PATH: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Longest prefix of a file in `/proc` that is read here.
const PREFIX: usize = 4096;

/// A process, alive or just gone.
#[derive(Debug)]
pub(super) struct Process {
    /// Its number in our pid namespace.
    pub(super) pid: u32,
    dir: OwnedFd,
}

impl Process {
    fn open(proc: &OwnedFd, pid: u32) -> rustix::io::Result<Self> {
        let dir = rustix::fs::openat(proc, pid.to_string(), DIRECTORY_PATH, Mode::empty())?;
        Ok(Self { pid, dir })
    }

    /// The process of this number, if there is one.
    pub(super) fn find(pid: u32) -> Option<Self> {
        let proc = rustix::fs::open("/proc", DIRECTORY_PATH, Mode::empty()).ok()?;
        Self::open(&proc, pid).ok()
    }

    /// What a link such as `cwd` or `fd/3` leads to; no server on a network is asked.
    pub(super) fn look(&self, link: &str) -> rustix::io::Result<Statx> {
        let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        rustix::fs::statx(&self.dir, link, AtFlags::STATX_DONT_SYNC, mask)
    }

    /// The text of such a link.
    pub(super) fn link(&self, link: &str) -> PathBuf {
        let text = rustix::fs::readlinkat(&self.dir, link, Vec::new());
        let text = text.map(std::ffi::CString::into_bytes).unwrap_or_default();
        OsString::from_vec(text).into()
    }

    /// The names in a folder such as `fd`, one after the other.
    pub(super) fn names(&self, folder: &str) -> rustix::io::Result<impl Iterator<Item = String>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(&self.dir, folder, flags, Mode::empty())?;
        let entries = Dir::new(folder)?;
        let names = entries.map_while(|entry| entry.ok());
        Ok(names
            .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
            .filter(|name| !name.starts_with('.')))
    }

    /// A whole file.
    pub(super) fn read(&self, file: &str) -> rustix::io::Result<Vec<u8>> {
        self.read_up_to(file, usize::MAX)
    }

    /// The first bytes of a file.
    pub(super) fn prefix(&self, file: &str) -> rustix::io::Result<Vec<u8>> {
        self.read_up_to(file, PREFIX)
    }

    fn read_up_to(&self, file: &str, most: usize) -> rustix::io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, file, flags, Mode::empty())?;
        let mut text = Vec::new();
        let mut buffer = vec![0; PREFIX.max(most.min(1 << 16))];
        while text.len() < most {
            match rustix::io::read(&file, &mut buffer) {
                Ok(0) => break,
                Ok(length) => text.extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(text)
    }

    /// Its command, at most 15 bytes; `?` if it is gone.
    pub(super) fn command(&self) -> String {
        let text = self.prefix("comm").unwrap_or_default();
        match String::from_utf8_lossy(&text).trim_end_matches('\n') {
            "" => "?".to_owned(),
            command => command.escape_debug().to_string(),
        }
    }

    /// Whether it has no files at all: a thread of the kernel's, or one that has ended.
    fn is_bare(&self) -> bool {
        let Ok(text) = self.prefix("stat") else {
            return true;
        };
        let text = String::from_utf8_lossy(&text);
        // The command in parentheses may hold anything, also blanks and parentheses.
        let after = text.rsplit_once(')').map_or("", |(_, after)| after);
        let mut fields = after.split_ascii_whitespace();
        let ended = fields.next().is_none_or(|state| "ZX".contains(state));
        let flags: u64 = fields.nth(5).and_then(|f| f.parse().ok()).unwrap_or(0);
        ended || flags & KERNEL_THREAD != 0
    }
}

/// Shows each process to `visit` and counts those that it was not allowed to look at.
///
/// # Errors
/// The kernel's, if `/proc` cannot be read.
pub(super) fn scan(mut visit: impl FnMut(&Process) -> rustix::io::Result<()>) -> Result<usize> {
    let failed = || "cannot read /proc".to_owned();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty()).context(failed)?;
    let mut unseen = 0;
    for entry in Dir::read_from(proc.as_fd()).context(failed)? {
        let entry = entry.context(failed)?;
        let name = entry.file_name().to_str().ok();
        let Some(pid) = name.and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(process) = Process::open(&proc, pid) else {
            continue;
        };
        match visit(&process) {
            Ok(()) | Err(Errno::NOENT | Errno::SRCH) => {}
            Err(_) if process.is_bare() => {}
            Err(_) => unseen += 1,
        }
    }
    Ok(unseen)
}

/// Our own number.
pub(super) fn own_pid() -> u32 {
    std::process::id()
}

/// The command of a process, at most 15 bytes, control characters as escapes; `?` if it is gone.
pub fn command_of(pid: u32) -> String {
    Process::find(pid).map_or_else(|| "?".to_owned(), |process| process.command())
}
