// SPDX-License-Identifier: MIT OR Apache-2.0
//! What keeps a subvolume from being destroyed, besides its mounts.
//!
//! The kernel refuses one that is mounted by default, that is being sent, or that holds an active
//! swap file, always with `EPERM` (fs/btrfs/inode.c, `btrfs_delete_subvolume`). Here is found which
//! of it is the case: before anything is done where there is more than one subvolume, since then the
//! kernel's refusal would come in the middle; else afterwards.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use linux_raw_sys::btrfs::{BTRFS_DIR_ITEM_KEY, BTRFS_ROOT_TREE_DIR_OBJECTID};
use mosaic_core::{Context, Error, ErrorKind, Result, busy};
use rustix::fs::{self, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::driver::Btrfs;
use crate::ioctl::{self, ROOT_INODE};
use crate::search::{self, Key, ROOT_TREE};
use crate::subvolume::Subvolume;

impl Btrfs {
    /// Goes on only if none of these subvolumes is kept by anything. The first is the one that the
    /// user speaks of, the others are within it.
    ///
    /// Whether one is being sent only the kernel knows, and does not tell; a sender has the root of
    /// a read-only subvolume open, so that one that anybody has open is refused.
    ///
    /// # Errors
    /// `Busy`, naming the keeper; `Permission` without CAP_SYS_ADMIN; the kernel's.
    pub(crate) fn refuse_kept(&self, ids: &[u64]) -> Result<()> {
        let dir = self.location.dir();
        let failed = || "cannot find out what keeps it".to_owned();
        let which = |id: u64| match ids.first() == Some(&id) {
            true => "it".to_owned(),
            false => format!("subvolume {id} in it"),
        };
        let busy = |why: String| Err(Error::new(ErrorKind::Busy, why));
        if let Some(id) = default_subvolume(dir).context(failed)?
            && ids.contains(&id)
        {
            let which = which(id);
            return busy(format!(
                "{which} is what this file system mounts by default \
                 (btrfs subvolume set-default 5 {:?} changes that)",
                self.location.path()
            ));
        }
        if let Some((id, path)) = swap_file_in(dir, ids) {
            let which = which(id);
            return busy(format!("{which} holds the active swap file {path:?}"));
        }
        let mut roots = HashSet::new();
        for id in ids {
            self.host.check_cancelled()?;
            let subvolume = match Subvolume::of_id(dir, *id) {
                // Without CAP_DAC_READ_SEARCH. What the kernel keeps then stays in the trash.
                Err(error) if error.kind() == ErrorKind::Permission => None,
                other => other?,
            };
            if let Some(subvolume) = subvolume
                && ioctl::is_read_only(subvolume.dir()).context(failed)?
            {
                roots.insert(fs::fstat(subvolume.dir()).context(failed)?.st_dev);
            }
        }
        if roots.is_empty() {
            return Ok(());
        }
        let senders =
            busy::openers_of(|device, inode| inode == ROOT_INODE && roots.contains(&device))?;
        senders
            .refuse()
            .context(|| "it may be being sent".to_owned())
    }
}

/// The subvolume that is mounted where none is asked for.
fn default_subvolume(dir: BorrowedFd<'_>) -> rustix::io::Result<Option<u64>> {
    let entries = Key::all(u64::from(BTRFS_ROOT_TREE_DIR_OBJECTID), BTRFS_DIR_ITEM_KEY);
    let mut id = None;
    // The item begins with the key of what the directory's only entry, "default", leads to.
    search::each(dir, ROOT_TREE, entries, |_, data| {
        id = data.first_chunk().map(|id| u64::from_le_bytes(*id));
    })?;
    Ok(id)
}

/// The first swap file in use that is in one of these subvolumes, and in which. One that cannot be
/// looked at is left to the kernel.
fn swap_file_in(dir: BorrowedFd<'_>, ids: &[u64]) -> Option<(u64, std::path::PathBuf)> {
    busy::swap_files().into_iter().find_map(|path| {
        let id = subvolume_of_file(dir, &path)?;
        ids.contains(&id).then_some((id, path))
    })
}

/// The id of the subvolume that a file is in, if that is in the file system of `dir`.
fn subvolume_of_file(dir: BorrowedFd<'_>, path: &Path) -> Option<u64> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::openat(CWD, path, flags, Mode::empty()).ok()?;
    let id = ioctl::subvolume_id(&file).ok()?;
    let root = ioctl::open_directory(dir, id, ROOT_INODE).ok()?;
    let device = |file: BorrowedFd<'_>| fs::fstat(file).map(|stat| stat.st_dev).ok();
    (device(file.as_fd())? == device(root.as_fd())?).then_some(id)
}

/// Whether the kernel let us look into the trees: CAP_SYS_ADMIN.
pub(crate) fn is_privileged(dir: BorrowedFd<'_>) -> bool {
    !matches!(default_subvolume(dir), Err(Errno::PERM | Errno::ACCESS))
}
