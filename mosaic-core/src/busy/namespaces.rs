// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mount tables of all mount namespaces, each read through one process in it.
//!
//! A process in a chroot sees a part of its namespace only, so a namespace is read once for each
//! root that its processes have. Which namespace a process is in is for the privileged to see; its
//! mount table is for everybody, and its first line tells namespaces apart well enough.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Use;
use super::processes::{self, Process};
use crate::error::Result;
use crate::ioctl::namespace::{each_other_mount_namespace, mountinfo_of};
use crate::mounts::mountinfo::{self, MountEntry};

/// How a namespace's file is opened; it does nothing else.
const OPEN: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

/// What is seen of a mount namespace from one root in it.
#[derive(Debug)]
pub(super) struct View {
    /// The mounts.
    pub(super) entries: Vec<MountEntry>,
    /// Where their mountpoints are found from here: `/` or `/proc/PID/root`; `None`: nowhere.
    pub(super) root: Option<PathBuf>,
    seer: Seer,
}

/// Who sees it.
#[derive(Debug)]
enum Seer {
    /// We do.
    Own,
    /// This process and its command.
    Process(u32, String),
    /// No process that was found; the namespace's inode.
    Nobody(u64),
}

impl View {
    fn own() -> Result<Self> {
        Ok(Self {
            entries: mountinfo::own()?,
            root: Some(PathBuf::from("/")),
            seer: Seer::Own,
        })
    }

    fn of(process: &Process) -> rustix::io::Result<Self> {
        let text = process.read("mountinfo").map_err(gone)?;
        let root = format!("/proc/{}/root", process.pid);
        Ok(Self {
            entries: mountinfo::parse(&text).map_err(|_| Errno::BADMSG)?,
            root: Some(root.into()),
            seer: Seer::Process(process.pid, process.command()),
        })
    }

    /// A mount in it as a use.
    pub(super) fn named(&self, entry: &MountEntry) -> Use {
        let at = entry.mountpoint.clone();
        match &self.seer {
            Seer::Own => Use::Mount {
                at,
                pid: None,
                command: None,
            },
            Seer::Process(pid, command) => Use::Mount {
                at,
                pid: Some(*pid),
                command: Some(command.clone()),
            },
            Seer::Nobody(namespace) => Use::DistantMount {
                at,
                namespace: *namespace,
            },
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
    let mut keys = HashSet::new();
    let mut namespaces = HashSet::new();
    let mut pins = Vec::new();
    let mut show = |view: View| {
        pins.extend(pins_in(&view));
        visit(&view);
    };
    show(View::own()?);
    let mut is_new = |key: Key| {
        if let Key::Exact(namespace, ..) = &key {
            namespaces.insert(*namespace);
        }
        keys.insert(key)
    };
    if let Some(own) = Process::find(processes::own_pid()) {
        for key in [exact_key(&own), first_line(&own)].into_iter().flatten() {
            is_new(key);
        }
    }
    let unseen = processes::scan(|process| {
        let key = match exact_key(process) {
            Err(Errno::ACCESS | Errno::PERM) => first_line(process),
            other => other,
        }?;
        if !is_new(key) {
            return Ok(());
        }
        show(View::of(process)?);
        Ok(())
    })?;
    for view in distant_views(&namespaces, pins) {
        visit(&view);
    }
    Ok(unseen)
}

/// The views of the namespaces that no process is in. A thread other than its process's first may
/// still be in one of them.
fn distant_views(namespaces: &HashSet<u64>, pins: Vec<PathBuf>) -> Vec<View> {
    let mut seen = namespaces.clone();
    let mut views = Vec::new();
    let mut visit = |namespace: BorrowedFd<'_>| views.extend(distant_view(namespace, &mut seen));
    let own = rustix::fs::open("/proc/thread-self/ns/mnt", OPEN, Mode::empty());
    if own
        .and_then(|own| each_other_mount_namespace(own.as_fd(), &mut visit))
        .is_err()
    {
        for pin in pins {
            if let Ok(namespace) = rustix::fs::open(pin, OPEN | OFlags::NOFOLLOW, Mode::empty()) {
                visit(namespace.as_fd());
            }
        }
    }
    views
}

fn distant_view(namespace: BorrowedFd<'_>, seen: &mut HashSet<u64>) -> Option<View> {
    let inode = rustix::fs::fstat(namespace).ok()?.st_ino;
    if !seen.insert(inode) {
        return None;
    }
    let text = mountinfo_of(namespace).ok()?;
    Some(View {
        entries: mountinfo::parse(&text).ok()?,
        root: None,
        seer: Seer::Nobody(inode),
    })
}

/// Where mount namespaces are mounted as files in a view: `unshare --mount=FILE`. Before Linux 6.12
/// that is how those without a process are found. Not opened here: while they are, nobody can
/// unmount them.
fn pins_in(view: &View) -> Vec<PathBuf> {
    let is_namespace =
        |e: &&MountEntry| e.fs == "nsfs" && e.root.to_string_lossy().starts_with("mnt:[");
    let pins = view.entries.iter().filter(is_namespace);
    pins.filter_map(|entry| {
        let at = entry.mountpoint.strip_prefix("/").ok()?;
        Some(view.root.as_ref()?.join(at))
    })
    .collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use mosaic_tests::{Scratch, requires_program, requires_root, run};

    #[test]
    fn root_a_namespace_mounted_as_a_file_is_found_in_the_mount_table() {
        if !requires_root() || !requires_program("unshare") {
            return;
        }
        let scratch = Scratch::new("pinned").unwrap();
        let folder = scratch.folder("private").unwrap();
        run("mount", &["-t", "tmpfs", "none", folder.to_str().unwrap()]).unwrap();
        run("mount", &["--make-private", folder.to_str().unwrap()]).unwrap();
        let pin = folder.join("pin");
        std::fs::write(&pin, "").unwrap();
        let view = || View::own().unwrap();
        let _alone = crate::busy::tests::a_new_namespace();
        assert!(!pins_in(&view()).contains(&pin));
        run("unshare", &[&format!("--mount={}", pin.display()), "true"]).unwrap();
        assert!(pins_in(&view()).contains(&pin));
        let number = rustix::fs::stat(&pin).unwrap().st_ino;
        let namespace = rustix::fs::open(&pin, OPEN, Mode::empty()).unwrap();
        let distant = distant_view(namespace.as_fd(), &mut HashSet::new()).unwrap();
        assert!(matches!(distant.seer, Seer::Nobody(n) if n == number));
        assert!(distant.entries.iter().any(|e| e.mountpoint == folder));
    }
}
