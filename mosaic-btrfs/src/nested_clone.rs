// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots of a subvolume along with all subvolumes within it, however deep.
//!
//! The kernel's snapshot has an empty directory, a stub, where its source has a subvolume. Each stub
//! is replaced by a snapshot of that subvolume ([`crate::stub`]).
//!
//! Each of them is an instant of its own. A tenant at work may make, drop and move subvolumes
//! meanwhile. One that is younger than the snapshot of the one above it is not part of it. Else what
//! does not fit together is thrown away, and the whole begun again by the caller; also where a
//! subvolume was in the source only at the instant of the snapshot, and neither before nor after
//! (without CAP_SYS_ADMIN this cannot be seen). A stub that the source had itself stays one.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::vec;

use linux_raw_sys::btrfs::BTRFS_DIR_INDEX_KEY;
use mosaic_core::{Context, Error, Result};
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, fstat, futimens, openat, unlinkat};
use rustix::io::Errno;

use crate::commit::generation;
use crate::driver::Btrfs;
use crate::error::Call;
use crate::ioctl;
use crate::items::Entry;
use crate::limit::Limits;
use crate::search::{self, Key, OWN_TREE};
use crate::stub;
use crate::subvolume::{Child, Subvolume};

/// To open a directory on the way, beneath a subvolume.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A subvolume that a snapshot is to be taken of.
struct Source {
    subvolume: Subvolume,
    /// Where it is, from the volume's root; empty for the volume itself.
    path: PathBuf,
    /// The limit that the snapshot is to have.
    limit: Option<u64>,
    /// The snapshot is to be read-only.
    read_only: bool,
}

/// A snapshot into which those within its source are being put.
struct Level {
    source: Source,
    copy: Subvolume,
    /// The transaction that it was taken in.
    taken: u64,
    /// Those that were within the source after that, still to be done.
    rest: vec::IntoIter<Child>,
}

/// What became of one subvolume within another.
enum Step {
    /// Its snapshot is there.
    Into(Level),
    /// It is younger than the snapshot that it would be in.
    Younger,
    /// The source has changed meanwhile, so that nothing fits together.
    Changed,
}

/// The work on one clone.
struct Work<'b> {
    btrfs: &'b Btrfs,
    limits: Limits<'b>,
}

impl Btrfs {
    /// Makes a writable snapshot of `source` in `tmp`, a folder of Mosaic's own, with snapshots in it
    /// of all subvolumes within the source. Those that are read-only stay so. Each has the limit of
    /// its source, the outermost one about the `limit` given.
    ///
    /// `Ok(None)`: the source has changed meanwhile; what was made has to be removed.
    ///
    /// # Errors
    /// `Permission` where one within cannot be opened or snapshotted; `Busy` where something is
    /// mounted over one; the kernel's. What was made is still there.
    pub(crate) fn copy_nested(
        &self,
        source: &Subvolume,
        tmp: BorrowedFd<'_>,
        name: &str,
        limits: Limits<'_>,
        limit: Option<u64>,
    ) -> Result<Option<Subvolume>> {
        let work = Work {
            btrfs: self,
            limits,
        };
        let Some(subvolume) = Subvolume::at(source.dir())? else {
            return Ok(None);
        };
        let source = Source {
            subvolume,
            path: PathBuf::new(),
            limit,
            read_only: false,
        };
        let Some(root) = work.take(source, tmp, name.as_bytes())? else {
            return Ok(None);
        };
        let mut levels = vec![root];
        loop {
            let child = levels.last_mut().and_then(|level| level.rest.next());
            match (levels.last(), child) {
                (Some(level), Some(child)) => match work.descend(level, &child)? {
                    Step::Into(level) => levels.push(level),
                    Step::Younger => {}
                    Step::Changed => return Ok(None),
                },
                _ => match levels.pop() {
                    Some(done) if levels.is_empty() => return Ok(Some(done.copy)),
                    Some(done) => work.close(&done)?,
                    None => return Ok(None),
                },
            }
        }
    }
}

impl Work<'_> {
    /// Takes a snapshot of one subvolume; `Ok(None)`: it, or those right within it, changed
    /// meanwhile.
    fn take(&self, source: Source, folder: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Level>> {
        let host = &self.btrfs.host;
        host.check_cancelled()?;
        let (from, path) = (&source.subvolume, &source.path);
        host.debug(&format!(
            "BTRFS_IOC_SNAP_CREATE_V2 of {path:?} in the source"
        ));
        let began = Began::now(from)?;
        // Nothing could be put into a read-only one.
        let sealed = source.read_only && began.children.is_empty();
        let inherit = self.limits.for_snapshot(folder, from, source.limit);
        let taken = inherit.and_then(|inherit| {
            ioctl::snapshot(folder, name, from.dir(), sealed, inherit.as_ref())
        });
        match taken {
            // The source was dropped.
            Err(Errno::NOENT) => return Ok(None),
            other => other
                .context(|| "cannot take a snapshot".to_owned())
                .map_err(|error| self.btrfs.explained(Call::Snapshot, error))?,
        }
        let opened = openat(folder, name, DIRECTORY, Mode::empty())
            .context(|| "cannot open the snapshot".to_owned())?;
        let Some(copy) = Subvolume::at(opened)? else {
            return Ok(None);
        };
        let Some(after) = began.fits(from, &copy)? else {
            return Ok(None);
        };
        if sealed && !after.is_empty() {
            return Ok(None);
        }
        if !after.is_empty() {
            self.limits.lift(&copy)?;
        }
        let standing = copy.standing();
        let standing = standing.context(|| "cannot look at the snapshot".to_owned())?;
        Ok(Some(Level {
            taken: standing.made,
            source,
            copy,
            rest: after.into_iter(),
        }))
    }

    /// Puts a snapshot of one subvolume to the place where the snapshot above it has a stub.
    fn descend(&self, level: &Level, child: &Child) -> Result<Step> {
        let (above, copy) = (&level.source.subvolume, &level.copy);
        let path = stub::path_of(above, child);
        let path = level.source.path.join(OsStr::from_bytes(&path));
        let failed = || format!("subvolume {path:?} within it");
        let dir = self.btrfs.location.dir();
        let Some(found) = stub::find(dir, above, copy, child).context(failed)? else {
            return Ok(Step::Changed);
        };
        // One of the same transaction is older: snapshots are taken when that takes no more changes
        // (fs/btrfs/transaction.c `create_pending_snapshots`).
        if found.standing.made > level.taken {
            return Ok(Step::Younger);
        }
        let name = &found.standing.place.name;
        if !stub::is_stub(&found.folder, name) {
            return Ok(Step::Changed);
        }
        let source = Source {
            limit: self.limits.of(&found.subvolume)?,
            read_only: is_read_only(&found.subvolume).context(failed)?,
            path: path.clone(),
            subvolume: found.subvolume,
        };
        let level = self.replace(source, &found.folder, name).context(failed)?;
        Ok(level.map_or(Step::Changed, Step::Into))
    }

    /// Puts a snapshot to the place of a stub; the folder keeps its times.
    fn replace(&self, source: Source, folder: &OwnedFd, name: &[u8]) -> Result<Option<Level>> {
        let failed = || "cannot make room for it in the clone".to_owned();
        let before = fstat(folder).context(failed)?;
        unlinkat(folder, name, AtFlags::REMOVEDIR).context(failed)?;
        let level = self.take(source, folder.as_fd(), name)?;
        let time = |tv_sec, nanoseconds: u64| Timespec {
            tv_sec,
            tv_nsec: nanoseconds.cast_signed(),
        };
        let times = Timestamps {
            last_access: time(before.st_atime, before.st_atime_nsec),
            last_modification: time(before.st_mtime, before.st_mtime_nsec),
        };
        // Where the folder is somebody else's it has the time of the clone.
        let _ = futimens(folder, &times);
        Ok(level)
    }

    /// Ends the work on a snapshot that has all within it.
    fn close(&self, level: &Level) -> Result<()> {
        let failed = || format!("subvolume {:?} within it", level.source.path);
        if level.source.read_only && !is_read_only(&level.copy)? {
            ioctl::set_read_only(level.copy.dir(), true)
                .context(|| "cannot make its snapshot read-only".to_owned())
                .context(failed)?;
        }
        // Last: a limit that is used up lets nothing else be done.
        self.limits
            .settle(&level.copy, level.source.limit)
            .context(failed)
    }
}

/// What was known of a subvolume before a snapshot was taken of it.
pub(crate) struct Began {
    /// The transaction that then ran, or the last one.
    transaction: u64,
    /// The subvolumes right within it.
    pub(crate) children: Vec<Child>,
}

impl Began {
    pub(crate) fn now(source: &Subvolume) -> Result<Self> {
        Ok(Self {
            transaction: generation(source.dir())?,
            children: source.children()?,
        })
    }

    /// Those that are right within the source after its snapshot `copy` was taken; `Ok(None)`: some
    /// were at that instant, and are not any more.
    pub(crate) fn fits(&self, source: &Subvolume, copy: &Subvolume) -> Result<Option<Vec<Child>>> {
        let after = source.children()?;
        let there: HashSet<_> = after.iter().map(|c| (c.id, c.directory)).collect();
        if !self
            .children
            .iter()
            .all(|c| there.contains(&(c.id, c.directory)))
        {
            return Ok(None);
        }
        let ids: HashSet<u64> = after.iter().map(|child| child.id).collect();
        let mut came_and_went = false;
        let (keys, since) = (Key::ALL, self.transaction);
        let searched = search::each_since(copy.dir(), OWN_TREE, keys, since, |key, data| {
            let entry = Entry::from_item(data).filter(|_| key.kind == BTRFS_DIR_INDEX_KEY);
            let made = entry.filter(|entry| entry.made >= since);
            let subvolume = made.and_then(|entry| entry.subvolume);
            came_and_went |= subvolume.is_some_and(|id| !ids.contains(&id));
        });
        match searched {
            Ok(()) | Err(Errno::PERM) => Ok((!came_and_went).then_some(after)),
            Err(errno) => Err(Error::io(errno, "cannot search the snapshot")),
        }
    }
}

fn is_read_only(subvolume: &Subvolume) -> Result<bool> {
    ioctl::is_read_only(subvolume.dir()).context(|| "cannot ask whether it is read-only".to_owned())
}
