// SPDX-License-Identifier: MIT OR Apache-2.0
//! The block servers of ploop disks, as /proc shows them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mosaic_core::loopdev::{LoopDevice, ioctl, sysfs};
use rustix::fs::OFlags;

/// How the kernel calls them.
const NAME: &str = "mosaic-ploop-sr";

/// The processes that serve disks beneath a folder, or the disk in it, in the order in which they were
/// started: of each disk two, the keeper and its worker.
pub fn block_servers_beneath(folder: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<u32> = pids
        .filter(|pid| is_server(*pid) && has_open(*pid, folder))
        .collect();
    // Not by number: those begin again at some time.
    found.sort_by_cached_key(|pid| (started(*pid), is_worker(*pid)));
    found
}

/// When a process was started, in ticks since the boot.
///
/// proc_pid_stat(5), field 22; the name in field 2 may hold anything but ends with the last bracket.
fn started(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// Keeper and worker may be started in the same tick.
fn is_worker(pid: u32) -> bool {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words.split(|byte| *byte == 0).nth(1) == Some(b"work")
}

/// Detaches the loop devices of the disks that are served beneath a folder. Their names end with device
/// and inode number of the disk's folder.
pub(crate) fn detach_served_beneath(folder: &Path) {
    let servers = block_servers_beneath(folder);
    let opened = servers
        .into_iter()
        .flat_map(|pid| open_beneath(pid, folder));
    let names = opened.filter_map(|path| Some(disk_name(&path.metadata().ok()?)));
    let names: Vec<String> = names.collect();
    for shown in sysfs::bound().unwrap_or_default() {
        let Ok(device) = LoopDevice::open(shown.number, OFlags::RDONLY) else {
            continue;
        };
        if let Ok(Some(status)) = device.status()
            && names
                .iter()
                .any(|name| status.name().ends_with(name.as_bytes()))
        {
            // Another holder delays it; what stays is seen by the next test.
            let _ = ioctl::clear(&device);
        }
    }
}

fn disk_name(folder: &Metadata) -> String {
    format!(":{:x}-{:x}", folder.dev(), folder.ino())
}

fn is_server(pid: u32) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    name.is_ok_and(|name| name.trim_end() == NAME)
}

fn has_open(pid: u32, folder: &Path) -> bool {
    open_beneath(pid, folder).next().is_some()
}

fn open_beneath(pid: u32, folder: &Path) -> impl Iterator<Item = PathBuf> {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let fds = fds.into_iter().flatten().flatten();
    let paths = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
    paths.filter(move |path| path.starts_with(folder))
}
