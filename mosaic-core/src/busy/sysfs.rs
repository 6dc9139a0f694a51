// SPDX-License-Identifier: MIT OR Apache-2.0
//! Users in the kernel: loop devices by their backing file, devices stacked on others, swap.
//!
//! What sysfs shows of a backing file is the path by which it was opened once, in another process's
//! view perhaps: good enough to name a loop device, not to be sure that there is none.

use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dev, Statx, StatxFlags};

use super::Use;
use crate::mounts::device::{descriptor_path, device_number, device_of};
use crate::mounts::mountinfo::unescape;

/// The loop devices whose backing file this is.
pub(super) fn loop_devices_of(file: BorrowedFd<'_>, wanted: &Statx) -> Vec<Use> {
    // After an unlink both show the old path with the same words behind it.
    let shown = std::fs::read_link(descriptor_path(file)).ok();
    loop_devices(|backing| {
        let same =
            |stat: Statx| stat.stx_ino == wanted.stx_ino && device_of(&stat) == device_of(wanted);
        look(backing).map_or_else(|| shown.as_deref() == Some(backing), same)
    })
}

/// The loop devices whose backing file is this block device.
pub(super) fn loop_devices_on(number: Dev) -> Vec<Use> {
    loop_devices(|backing| device_number(backing).is_ok_and(|n| n == number))
}

/// The loop devices whose backing file is in this mount.
pub(super) fn loop_devices_in(mount: u64) -> Vec<Use> {
    loop_devices(|backing| look(backing).is_some_and(|stat| stat.stx_mnt_id == mount))
}

/// Swap files in this mount.
pub(super) fn swap_in(mount: u64) -> Option<Use> {
    swap(|path| look(path).is_some_and(|stat| stat.stx_mnt_id == mount))
}

/// Swap on this block device.
pub(super) fn swap_on(number: Dev) -> Option<Use> {
    swap(|path| device_number(path).is_ok_and(|n| n == number))
}

/// The devices that are made of this one, by their names.
///
/// Kernel: `/sys/dev/block/MAJOR:MINOR/holders`, sysfs-block in Documentation/ABI.
pub(super) fn holders_of(number: Dev) -> Vec<Use> {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let folder = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/holders"));
    let holders = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    holders
        .map(|holder| {
            let device = holder.file_name().to_string_lossy().into_owned();
            let name = std::fs::read_to_string(holder.path().join("dm/name"));
            Use::Holder {
                name: match name.as_deref().map(str::trim_end) {
                    Ok(name) => format!("{device} ({})", name.escape_debug()),
                    Err(_) => device,
                },
            }
        })
        .collect()
}

/// The loop devices whose backing file `wanted` recognizes by its path.
fn loop_devices(wanted: impl Fn(&Path) -> bool) -> Vec<Use> {
    let devices = std::fs::read_dir("/sys/block")
        .into_iter()
        .flatten()
        .flatten();
    devices
        .filter_map(|device| {
            let name = device.file_name().into_string().ok()?;
            name.strip_prefix("loop")?;
            let mut text = std::fs::read(device.path().join("loop/backing_file")).ok()?;
            text.pop_if(|last| *last == b'\n');
            let backing = PathBuf::from(std::ffi::OsString::from_vec(text));
            wanted(&backing).then(|| Use::LoopDevice {
                device: Path::new("/dev").join(name),
            })
        })
        .collect()
}

/// The paths of swap files and devices in use; proc_swaps(5).
pub fn swap_files() -> Vec<PathBuf> {
    let text = std::fs::read("/proc/swaps").unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n').skip(1);
    lines
        .filter_map(|line| line.split(|byte| matches!(byte, b' ' | b'\t')).next())
        .filter(|path| !path.is_empty())
        .map(|path| unescape(path).into())
        .collect()
}

/// The swap files and devices that `wanted` recognizes by path.
fn swap(wanted: impl Fn(&Path) -> bool) -> Option<Use> {
    swap_files()
        .iter()
        .any(|path| wanted(path))
        .then(|| Use::Holder {
            name: "swap".to_owned(),
        })
}

fn look(path: &Path) -> Option<Statx> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    rustix::fs::statx(CWD, path, AtFlags::STATX_DONT_SYNC, mask).ok()
}
