// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mount tables of all mount namespaces, each read through one process in it.
//!
//! A process in a chroot sees a part of its namespace only, so a namespace is read once for each
//! root that its processes have. Which namespace a process is in is for the privileged to see; its
//! mount table is for everybody, and its first line tells namespaces apart well enough.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::Use;
use super::processes::{self, Process};
use crate::error::Result;
use crate::ioctl::namespace::{mountinfo_of, other_mount_namespaces};
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
    let mut pinned = Vec::new();
    let mut show = |view: View| {
        pinned.extend(pinned_in(&view));
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
    for view in distant_views(&namespaces, pinned) {
        visit(&view);
    }
    Ok(unseen)
}

/// The views of the namespaces that no process is in. A thread other than its process's first may
/// still be in one of them.
fn distant_views(namespaces: &HashSet<u64>, pinned: Vec<OwnedFd>) -> Vec<View> {
    let own = rustix::fs::open("/proc/thread-self/ns/mnt", OPEN, Mode::empty());
    let listed = own.and_then(|own| other_mount_namespaces(own.as_fd()));
    let mut seen = namespaces.clone();
    let candidates = listed.unwrap_or(pinned).into_iter();
    let views = candidates.filter_map(|namespace| {
        let inode = rustix::fs::fstat(&namespace).ok()?.st_ino;
        if !seen.insert(inode) {
            return None;
        }
        let text = mountinfo_of(namespace.as_fd()).ok()?;
        Some(View {
            entries: mountinfo::parse(&text).ok()?,
            root: None,
            seer: Seer::Nobody(inode),
        })
    });
    views.collect()
}

/// The mount namespaces that are mounted as files in a view: `unshare --mount=FILE`. Before Linux
/// 6.12 that is how those without a process are found.
fn pinned_in(view: &View) -> Vec<OwnedFd> {
    let Some(root) = &view.root else {
        return Vec::new();
    };
    let is_namespace =
        |e: &&MountEntry| e.fs == "nsfs" && e.root.to_string_lossy().starts_with("mnt:[");
    let files = view.entries.iter().filter(is_namespace);
    files
        .filter_map(|entry| {
            let at = entry.mountpoint.strip_prefix("/").ok()?;
            rustix::fs::openat(CWD, root.join(at), OPEN | OFlags::NOFOLLOW, Mode::empty()).ok()
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
        let inodes = |view| -> Vec<u64> {
            let inode = |n: &OwnedFd| rustix::fs::fstat(n).unwrap().st_ino;
            pinned_in(&view).iter().map(inode).collect()
        };
        let before = inodes(view());
        let _alone = crate::busy::tests::a_new_namespace();
        run("unshare", &[&format!("--mount={}", pin.display()), "true"]).unwrap();
        let after = inodes(view());
        let number = rustix::fs::stat(&pin).unwrap().st_ino;
        assert!(!before.contains(&number) && after.contains(&number));
        let pinned = pinned_in(&view());
        let views = distant_views(&HashSet::new(), pinned);
        assert!(
            views
                .iter()
                .any(|v| matches!(v.seer, Seer::Nobody(n) if n == number))
        );
    }
}
