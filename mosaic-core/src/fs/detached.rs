// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mount that is in no directory tree: only the descriptor knows it, and it goes with it.
//!
//! Mounting is how the kernel replays a log, and some sizes can be changed only while mounted.
//! Nobody else sees such a mount, no mount namespace keeps it, a killed process leaves nothing.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::refuse_claimed;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::mounts::log_of;

/// How long a closed mount may take to leave its device: it writes what is dirty.
const LEAVING: Duration = Duration::from_secs(60);
/// The kernel has no event for a device that becomes free.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A file system mounted nowhere.
pub(super) struct DetachedMount {
    mount: OwnedFd,
    device: PathBuf,
    fs: &'static str,
}

impl DetachedMount {
    /// Mounts a block device writable, nosuid, nodev, noexec, with `flags` as options.
    ///
    /// Kernel: fsopen, fsconfig, fsmount, since Linux 5.2.
    ///
    /// # Errors
    /// `Permission` without `CAP_SYS_ADMIN`; `Busy` if it is mounted otherwise; `Corrupt` and
    /// others as the kernel judges, in its own words.
    pub(super) fn new(fs: &'static str, device: &Path, flags: &[&str]) -> Result<Self> {
        let context = fsopen(fs, FsOpenFlags::FSOPEN_CLOEXEC)
            .context(|| format!("cannot mount {fs} for a moment"))?;
        let mount = mount(&context, device, flags)
            .map_err(|errno| refused(errno, fs, device, &log_of(&context)))?;
        Ok(Self {
            mount,
            device: device.to_owned(),
            fs,
        })
    }

    /// The root directory, open for ioctls; the mount's own descriptor is of the O_PATH kind.
    pub(super) fn root(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(self.mount.as_fd(), ".", flags, Mode::empty())
            .context(|| format!("cannot open the root of {} on {:?}", self.fs, self.device))
    }

    /// Unmounts and waits until the device is free again. All descriptors from [`Self::root`] must
    /// be closed.
    ///
    /// # Errors
    /// `Busy` if the device stays claimed.
    pub(super) fn close(self) -> Result<()> {
        drop(self.mount);
        let start = Instant::now();
        loop {
            match refuse_claimed(&self.device) {
                Err(error) if error.kind() == ErrorKind::Busy && start.elapsed() < LEAVING => {
                    std::thread::sleep(LOOK_AGAIN);
                }
                outcome => return outcome,
            }
        }
    }
}

fn mount(context: &OwnedFd, device: &Path, flags: &[&str]) -> rustix::io::Result<OwnedFd> {
    fsconfig_set_string(context, "source", device)?;
    for flag in flags {
        fsconfig_set_flag(context, *flag)?;
    }
    fsconfig_create(context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn refused(errno: Errno, fs: &str, device: &Path, log: &[String]) -> Error {
    let mut what = format!("cannot mount {fs} from {device:?} for a moment");
    if errno == Errno::PERM {
        what += ": that needs root (CAP_SYS_ADMIN)";
    }
    for line in log {
        what += "; kernel: ";
        what += line;
    }
    Error::io(errno, what)
}
