// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts of a volume in all mount namespaces, and who keeps a mount from going.

use std::collections::{HashMap, HashSet};
use std::os::fd::BorrowedFd;
use std::path::Path;

use super::namespaces::each_view;
use super::processes::{self, Process};
use super::{Use, Uses, sysfs};
use crate::error::Result;
use crate::mounts::device::{MountDevices, device_number};
use crate::mounts::{MountEntry, MountTable, TreePath};

/// The mounts of a directory or of what is beneath it, and those that lie on it or beneath it, in
/// all mount namespaces.
///
/// A mount that shows more than the directory (its parent, the whole location) does not count.
///
/// # Errors
/// Those of [`MountTable::tree_path`]; the kernel's, if `/proc` cannot be read.
pub fn mounts_of_directory(dir: BorrowedFd<'_>) -> Result<Uses> {
    let place = MountTable::read()?.tree_path(dir)?;
    mounts_where(|entry, parent, _| {
        let covers = parent.and_then(|parent| TreePath::mountpoint_of(entry, parent));
        place.holds(&TreePath::root_of(entry)) || covers.is_some_and(|at| place.holds(&at))
    })
}

/// The mounts of the file system on a block device, in all mount namespaces.
///
/// # Errors
/// `NotFound` if there is no such device; `Invalid` if it is no block device; the kernel's.
pub fn mounts_of_device(device: &Path) -> Result<Uses> {
    let number = device_number(device)?;
    let devices = MountDevices::default();
    // The same file system is met in each namespace.
    let mut known = HashMap::new();
    mounts_where(|entry, _, root| {
        known
            .entry((entry.major, entry.minor))
            .or_insert_with(|| devices.of(entry, root))
            .contains(&number)
    })
}

/// The mounts in all namespaces that `wanted` picks by the mount, the one that it is on, and where
/// the namespace's root is found.
fn mounts_where(
    mut wanted: impl FnMut(&MountEntry, Option<&MountEntry>, Option<&Path>) -> bool,
) -> Result<Uses> {
    let mut uses = Vec::new();
    let mut seen = HashSet::new();
    let unseen = each_view(|view| {
        let by_id: HashMap<_, _> = view.entries.iter().map(|e| (e.id, e)).collect();
        for entry in &view.entries {
            let parent = by_id.get(&entry.parent).copied();
            if wanted(entry, parent, view.root.as_deref()) && seen.insert(entry.id) {
                uses.push(view.named(entry));
            }
        }
    })?;
    Ok(Uses { uses, unseen })
}

/// What keeps the mount of this number from being unmounted: mounts on it, processes that have a
/// file, a directory or a mapping in it, this one too, loop devices and swap.
///
/// # Errors
/// The kernel's, if `/proc` cannot be read.
pub fn users_of_mount(id: u64) -> Result<Uses> {
    let table = MountTable::read()?;
    let children = table
        .entries()
        .iter()
        .filter(|e| e.parent == id && e.id != id);
    let mut found = Uses {
        uses: children
            .map(|entry| Use::Mount {
                at: entry.mountpoint.clone(),
                pid: None,
                command: None,
            })
            .collect(),
        unseen: 0,
    };
    found = found.and(processes_in(&HashSet::from([id]))?);
    found.uses.extend(sysfs::loop_devices_in(id));
    found.uses.extend(sysfs::swap_in(id));
    if let Some(entry) = table.by_id(id).filter(|_| found.is_empty()) {
        found = found.and(processes_in(&copies_of(entry)?)?);
    }
    Ok(found)
}

/// The mounts in all namespaces that show the same as this one. Under a shared mount they are copies
/// that go together, and a process in one of them holds them all.
fn copies_of(entry: &MountEntry) -> Result<HashSet<u64>> {
    let place = TreePath::root_of(entry);
    let mut ids = HashSet::new();
    each_view(|view| {
        let same = view
            .entries
            .iter()
            .filter(|e| TreePath::root_of(e) == place);
        ids.extend(same.map(|e| e.id));
    })?;
    Ok(ids)
}

/// The processes that hold one of these mounts, one use each.
fn processes_in(mounts: &HashSet<u64>) -> Result<Uses> {
    let mut uses = Vec::new();
    let unseen = processes::scan(|process| {
        uses.extend(use_of(process, mounts)?);
        Ok(())
    })?;
    Ok(Uses { uses, unseen })
}

/// How a process holds one of these mounts.
fn use_of(process: &Process, mounts: &HashSet<u64>) -> rustix::io::Result<Option<Use>> {
    let holds = |link: &str| {
        let stat = process.look(link);
        stat.is_ok_and(|stat| mounts.contains(&stat.stx_mnt_id))
    };
    let names = [
        ("cwd", "working directory"),
        ("root", "root directory"),
        ("exe", "program"),
    ];
    let by = |by| Use::Process {
        pid: process.pid,
        command: process.command(),
        by,
    };
    if let Some((_, how)) = names.iter().find(|(link, _)| holds(link)) {
        return Ok(Some(by(how)));
    }
    for name in process.names("fd")? {
        let link = format!("fd/{name}");
        if holds(&link) {
            return Ok(Some(Use::OpenFile {
                pid: process.pid,
                command: process.command(),
                path: process.link(&link),
            }));
        }
    }
    let mut mapped = process.names("map_files")?;
    let found = mapped.any(|name| holds(&format!("map_files/{name}")));
    Ok(found.then(|| by("mapped file")))
}
