// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a mount: detached, with its attributes, then moved in place as the last step.
//!
//! Until then it exists only through a descriptor, so a process killed on the way leaves nothing.
//! A mount moved onto a place whose own mount is shared becomes shared with it, and appears in the
//! other mount namespaces of that group: ours is made private again at once, the copies go with it
//! at umount.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    open_tree, unmount,
};

use super::device::descriptor_path;
use super::options::MountOptions;
use super::target::Target;
use crate::busy;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host_services::Host;
use crate::ioctl::mount::mount_setattr_private;

/// Most lines of the kernel's that an error repeats.
const LOG_LINES: usize = 8;

/// Mounts a directory, and only its own file system: what is mounted beneath it stays out.
///
/// # Errors
/// `Permission` without `CAP_SYS_ADMIN`, or if `rw` is asked for where the file system is
/// read-only; `Unsupported` before Linux 5.12; the kernel's.
///
/// Kernel: open_tree(2) and move_mount(2) since Linux 5.2, mount_setattr(2) since 5.12.
pub fn mount_directory(dir: BorrowedFd<'_>, target: &Target, options: &MountOptions) -> Result<()> {
    let failed = |errno| refused(errno, &format!("cannot mount on {:?}", target.path()));
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(dir, "", flags).map_err(failed)?;
    put(&mount, target, options, options.clear())
}

/// Mounts the file system on a block device.
///
/// The mount is read-only if the options say so; the file system itself then still may write (a
/// journal's replay, another mount of it). With `read_only_superblock` it does not, and its journal
/// is left unread: only where nobody else has it mounted, as one file system cannot be both. Where a
/// read-only mount can be had in no other way (the device is read-only, or the file system is
/// mounted with a read-only superblock already), it gets that without being asked for it.
///
/// # Errors
/// `Unsupported` for a file system that the kernel lacks, and before Linux 5.12; `Busy` if it is
/// mounted the other way (writable or not) already; `Permission`; the kernel's, with its own words.
///
/// Kernel: fsopen(2), fsconfig(2), fsmount(2) since Linux 5.2; mount options of ext4(5), xfs(5),
/// btrfs(5).
pub fn mount_device(
    host: &Host,
    fs: &str,
    device: &Path,
    target: &Target,
    options: &MountOptions,
    read_only_superblock: bool,
) -> Result<()> {
    host.debug(&format!(
        "mount {fs} {device:?} {:?} -o {options}{}",
        target.path(),
        if read_only_superblock {
            ", read-only superblock"
        } else {
            ""
        }
    ));
    let mut made = create(fs, device, options, read_only_superblock);
    let other_way = made.as_ref().err().is_some_and(|f| f.is_for_writing(fs));
    if other_way && options.is_read_only() && !read_only_superblock {
        made = create(fs, device, options, true).or(made);
    }
    let mount = made.map_err(|failure| failure.explain(fs, device))?;
    put(&mount, target, options, MountAttrFlags::empty())
}

/// Sets the file system up and makes a detached mount of it.
fn create(
    fs: &str,
    device: &Path,
    options: &MountOptions,
    read_only_superblock: bool,
) -> Result<OwnedFd, Failure> {
    let failed = |errno| Failure {
        errno,
        log: Vec::new(),
    };
    let context = fsopen(fs, FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
    if !is_on_devices(fs) {
        return Err(failed(Errno::NOTBLK));
    }
    let made = configure(&context, fs, device, read_only_superblock).and_then(|()| {
        let mut attributes = options.set();
        if read_only_superblock {
            attributes.remove(MountAttrFlags::MOUNT_ATTR_RDONLY);
        }
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    });
    // btrfs gives out its writable superblock even if a read-only one is asked for (Linux 6.8). As
    // the mount itself is not read-only yet, what is seen through it is the superblock's.
    let made = made.and_then(
        |mount| match read_only_superblock && !is_read_only(&mount)? {
            true => Err(Errno::BUSY),
            false => Ok(mount),
        },
    );
    made.map_err(|errno| Failure {
        errno,
        log: log_of(&context),
    })
}

fn configure(
    context: &OwnedFd,
    fs: &str,
    device: &Path,
    read_only_superblock: bool,
) -> rustix::io::Result<()> {
    fsconfig_set_string(context, "source", device)?;
    if read_only_superblock {
        fsconfig_set_flag(context, "ro")?;
        match fs {
            "ext3" | "ext4" => fsconfig_set_flag(context, "noload")?,
            "xfs" => fsconfig_set_flag(context, "norecovery")?,
            "btrfs" => fsconfig_set_string(context, "rescue", "nologreplay")?,
            _ => {}
        }
    }
    fsconfig_create(context)
}

/// Whether file systems of this type are on block devices. The others take a device for their source
/// too, and show something else: all control groups of the host, say. The type of a volume can be
/// what its tenant wrote in the label of an image.
///
/// Kernel: `/proc/filesystems`, in which they are marked with `nodev`; proc_filesystems(5).
fn is_on_devices(fs: &str) -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| {
        line.split_once('\t')
            .is_some_and(|(mark, name)| mark.is_empty() && name == fs)
    })
}

fn is_read_only(mount: &OwnedFd) -> rustix::io::Result<bool> {
    let state = rustix::fs::fstatvfs(mount)?;
    Ok(state.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Gives a detached mount its attributes and moves it in place.
fn put(
    mount: &OwnedFd,
    target: &Target,
    options: &MountOptions,
    clear: MountAttrFlags,
) -> Result<()> {
    let failed = |errno| refused(errno, &format!("cannot mount on {:?}", target.path()));
    let private = |clear| mount_setattr_private(mount.as_fd(), options.set(), clear);
    private(clear).map_err(|errno| match errno {
        Errno::INVAL => Error::new(
            ErrorKind::Unsupported,
            format!("this kernel does not know all of the mount options {options}"),
        ),
        _ => failed(errno),
    })?;
    check_writable(mount, target, options)?;
    target.check_free()?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target.dir(), "", flags).map_err(failed)?;
    private(clear).map_err(|errno| {
        // What was moved in place is the mount that this descriptor stands for.
        let undone = unmount(descriptor_path(mount), UnmountFlags::DETACH);
        match undone.context(|| format!("{:?} is still mounted", target.path())) {
            Ok(()) => failed(errno),
            Err(left) => failed(errno).with_failed_undo(&left),
        }
    })
}

/// Compares what was asked for with what the kernel made of it.
fn check_writable(mount: &OwnedFd, target: &Target, options: &MountOptions) -> Result<()> {
    let read_only = is_read_only(mount)
        .context(|| format!("cannot look at the mount for {:?}", target.path()))?;
    if read_only && options.is_writable() {
        return Err(Error::new(
            ErrorKind::Permission,
            format!(
                "cannot mount on {:?} with rw: the file system is read-only",
                target.path()
            ),
        ));
    }
    if !read_only && options.is_read_only() {
        return Err(Error::new(
            ErrorKind::Io,
            format!("the kernel made a writable mount for {:?}", target.path()),
        ));
    }
    Ok(())
}

/// Errors that all of the calls have in common.
fn refused(errno: Errno, what: &str) -> Error {
    match errno {
        Errno::NOSYS => Error::new(
            ErrorKind::Unsupported,
            format!("{what}: this needs Linux 5.12 or later (mount_setattr)"),
        ),
        Errno::PERM => Error::new(
            ErrorKind::Permission,
            format!("{what}: mounting needs root (CAP_SYS_ADMIN)"),
        )
        .with_errno(errno.raw_os_error()),
        _ => Error::io(errno, what),
    }
}

/// A file system that could not be mounted.
struct Failure {
    errno: Errno,
    /// The kernel's own words, where it has any.
    log: Vec<String>,
}

impl Failure {
    /// Whether only a writable superblock may have been refused. A btrfs that is mounted without its
    /// log says EINVAL then; for the others that is a fault of the file system.
    fn is_for_writing(&self, fs: &str) -> bool {
        match self.errno {
            Errno::BUSY | Errno::ACCESS | Errno::ROFS => true,
            Errno::INVAL => fs == "btrfs",
            _ => false,
        }
    }

    fn explain(self, fs: &str, device: &Path) -> Error {
        let mut what = format!("cannot mount {fs} from {device:?}");
        match self.errno {
            Errno::NODEV => {
                let text = format!("this kernel has no file system \"{fs}\"");
                return Error::new(ErrorKind::Unsupported, text);
            }
            Errno::NOTBLK => {
                let text = format!("file systems of type \"{fs}\" are not on block devices");
                return Error::new(ErrorKind::Unsupported, text);
            }
            Errno::BUSY => {
                let uses = busy::mounts_of_device(device).unwrap_or_default();
                what += ": one file system cannot be writable and read-only at once, and it is ";
                what += &uses.describe();
            }
            Errno::INVAL => what += ": no file system of this type that the kernel can read",
            Errno::ACCESS | Errno::ROFS => what += ": the device is read-only; mount with ro",
            _ => {}
        }
        for line in self.log {
            what += "; kernel: ";
            what += &line;
        }
        refused(self.errno, &what)
    }
}

/// What the kernel wrote about a file system that is being set up: `e ext4: ...`, one message a
/// read, `ENODATA` after the last.
pub(crate) fn log_of(context: &OwnedFd) -> Vec<String> {
    let mut lines = Vec::new();
    let mut buffer = [0; 1024];
    while lines.len() < LOG_LINES {
        let Ok(length) = rustix::io::read(context, &mut buffer) else {
            break;
        };
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        let text = text.trim_end();
        lines.push(text.get(2..).unwrap_or(text).escape_debug().to_string());
    }
    lines
}
