// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mount tables of all mount namespaces, each read through one process in it.
//!
//! A process in a chroot sees a part of its namespace only, so a namespace is read once for each
//! root that its processes have. Which namespace a process is in is for the privileged to see; its
//! mount table is for everybody, and its first line tells namespaces apart well enough.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Use;
use super::processes::{self, Process};
use crate::error::Result;
use crate::mounts::mountinfo::{self, MountEntry};

/// What one process sees of its mount namespace.
#[derive(Debug)]
pub(super) struct View {
    /// The mounts.
    pub(super) entries: Vec<MountEntry>,
    /// Where their mountpoints are found from here: `/` or `/proc/PID/root`.
    pub(super) root: PathBuf,
    /// That process and its command; `None`: ours.
    process: Option<(u32, String)>,
}

impl View {
    /// A mount in it as a use.
    pub(super) fn named(&self, entry: &MountEntry) -> Use {
        Use::Mount {
            at: entry.mountpoint.clone(),
            pid: self.process.as_ref().map(|(pid, _)| *pid),
            command: self.process.as_ref().map(|(_, command)| command.clone()),
        }
    }
}

/// What tells apart what two processes see.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Inode of the namespace; mount and inode of the root directory.
    Exact(u64, u64, u64),
    /// First line of the mount table.
    FirstLine(Vec<u8>),
}

/// Shows the views of all namespaces to `visit`, our own first, and gives the number of processes
/// whose view could not be had.
///
/// # Errors
/// The kernel's, if `/proc` cannot be read.
pub(super) fn each_view(mut visit: impl FnMut(&View)) -> Result<usize> {
    let mut seen = HashSet::new();
    visit(&View {
        entries: mountinfo::own()?,
        root: PathBuf::from("/"),
        process: None,
    });
    if let Some(own) = Process::find(processes::own_pid()) {
        seen.extend(exact_key(&own));
        seen.extend(first_line(&own));
    }
    processes::scan(|process| {
        let key = match exact_key(process) {
            Err(Errno::ACCESS | Errno::PERM) => first_line(process),
            other => other,
        }?;
        if !seen.insert(key) {
            return Ok(());
        }
        let text = process.read("mountinfo").map_err(gone)?;
        let entries = mountinfo::parse(&text).map_err(|_| Errno::ACCESS)?;
        visit(&View {
            entries,
            root: Path::new("/proc")
                .join(process.pid.to_string())
                .join("root"),
            process: Some((process.pid, process.command())),
        });
        Ok(())
    })
}

fn exact_key(process: &Process) -> rustix::io::Result<Key> {
    let namespace = process.look("ns/mnt")?;
    let root = process.look("root")?;
    Ok(Key::Exact(namespace.stx_ino, root.stx_mnt_id, root.stx_ino))
}

fn first_line(process: &Process) -> rustix::io::Result<Key> {
    let text = process.prefix("mountinfo").map_err(gone)?;
    let line = text.split(|byte| *byte == b'\n').next();
    Ok(Key::FirstLine(line.unwrap_or_default().to_vec()))
}

/// A process that is just ending has no mount namespace any more: `EINVAL`, `mounts_open_common` in
/// fs/proc_namespace.c.
fn gone(errno: Errno) -> Errno {
    match errno {
        Errno::INVAL => Errno::SRCH,
        other => other,
    }
}
