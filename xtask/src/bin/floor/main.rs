// SPDX-License-Identifier: MIT OR Apache-2.0
//! The floor under `cargo xtask bench`: what each verb cannot do without, and nothing else.
//!
//! Bare system calls with the durability that Mosaic promises (data, then name), no checks, no
//! locks, no config, no driver. What `moctl` takes more is the price of those.

mod ioctl;
mod subvolumes;

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::mount::{MountFlags, UnmountFlags};

const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let words: Vec<&Path> = words.iter().map(Path::new).collect();
    let (verb, paths) = words.split_first().context("no verb")?;
    match (verb.to_str(), paths) {
        (Some("have"), [image]) => drop(fs::open(*image, OFlags::RDONLY, Mode::empty())?),
        (Some("list"), [folder]) => list(folder)?,
        (Some("new"), [image, size]) => create(image, size, None)?,
        (Some("new-fs"), [image, size]) => create(image, size, Some("mkfs.ext4"))?,
        (Some("clone"), [from, to]) => clone(from, to)?,
        (Some("rename"), [from, to]) => {
            fs::renameat_with(CWD, *from, CWD, *to, RenameFlags::NOREPLACE)?;
            sync_parent(to)?;
        }
        (Some("resize"), [image, size]) => {
            let file = open(image)?;
            fs::ftruncate(&file, bytes(size)?)?;
            fs::fsync(&file)?;
        }
        (Some("drop"), [image]) => {
            fs::unlinkat(CWD, *image, AtFlags::empty())?;
            sync_parent(image)?;
        }
        (Some("attach"), [image]) => drop(attach(image, LO_FLAGS_DIRECT_IO)?),
        (Some("detach"), [device]) => ioctl::clear(open(device)?)?,
        (Some("mount"), [image, at]) => {
            let (device, _handle) = attach(image, LO_FLAGS_DIRECT_IO | LO_FLAGS_AUTOCLEAR)?;
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            rustix::mount::mount(&device, *at, "ext4", flags, None)?;
        }
        (Some("umount"), [at]) => rustix::mount::unmount(*at, UnmountFlags::NOFOLLOW)?,
        (Some("subvolume"), words) => subvolumes::run(words)?,
        _ => bail!("no such verb, or not its arguments: {words:?}"),
    }
    Ok(())
}

fn open(path: &Path) -> Result<OwnedFd> {
    Ok(fs::open(
        path,
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

fn bytes(size: &Path) -> Result<u64> {
    Ok(size.to_str().context("no size")?.parse()?)
}

fn list(folder: &Path) -> Result<()> {
    let folder = fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    for entry in fs::Dir::read_from(&folder)? {
        fs::statat(&folder, entry?.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn unnamed(beside: &Path) -> Result<OwnedFd> {
    let folder = beside.parent().context("no folder")?;
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    Ok(fs::open(folder, flags, Mode::RUSR | Mode::WUSR)?)
}

/// Sync the file, give it its name, sync that.
fn commit(file: &OwnedFd, name: &Path) -> Result<()> {
    fs::fsync(file)?;
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::linkat(CWD, unnamed, CWD, name, AtFlags::SYMLINK_FOLLOW)?;
    sync_parent(name)
}

fn sync_parent(name: &Path) -> Result<()> {
    let folder = name.parent().context("no folder")?;
    File::open(folder)?.sync_all()?;
    Ok(())
}

fn create(image: &Path, size: &Path, mkfs: Option<&str>) -> Result<()> {
    let file = unnamed(image)?;
    fs::ftruncate(&file, bytes(size)?)?;
    if let Some(mkfs) = mkfs {
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let status = Command::new(mkfs).args(["-q", "-F", &path]).status();
        if !status.context("cannot run mkfs")?.success() {
            bail!("{mkfs} failed");
        }
    }
    fs::fsetxattr(&file, "user.mosaic.kind", b"disk", XattrFlags::empty())?;
    commit(&file, image)
}

fn clone(from: &Path, to: &Path) -> Result<()> {
    let source = open(from)?;
    let file = unnamed(to)?;
    fs::ioctl_ficlone(&file, &source)?;
    fs::fsetxattr(&file, "user.mosaic.kind", b"disk", XattrFlags::empty())?;
    commit(&file, to)
}

fn attach(image: &Path, flags: u32) -> Result<(PathBuf, OwnedFd)> {
    let file = open(image)?;
    let control = open(Path::new(OsStr::new("/dev/loop-control")))?;
    let number = ioctl::get_free(control)?;
    let device = PathBuf::from(format!("/dev/loop{number}"));
    let handle = open(&device)?;
    let descriptor = u32::try_from(file.as_fd().as_raw_fd())?;
    ioctl::configure(&handle, descriptor, flags)?;
    Ok((device, handle))
}
