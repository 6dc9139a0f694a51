// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drop: proof that nobody uses the subvolume, its end, and that of those within it.
//!
//! Destroying a subvolume unlinks it. What it holds the kernel deletes afterwards, once nobody has a
//! file of it open ([`crate::cleaning`]); mounts of it, and in it, would be taken away without a
//! word. So the proof that there are none comes first.

use std::os::fd::{AsFd, BorrowedFd};

use mosaic_core::location::rename_noreplace;
use mosaic_core::volume::Dropped;
use mosaic_core::{Context, Error, ErrorKind, Place, Result, ScratchName, VolumeName, busy, tree};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::cleaning;
use crate::commit;
use crate::driver::Btrfs;
use crate::error::Call;
use crate::ioctl::{self, ROOT_INODE};
use crate::keepers;
use crate::nested;
use crate::stale::Candidates;
use crate::subvolume::Subvolume;

/// How many subvolumes may be made within one while it is being destroyed, and how often. More:
/// somebody works in it.
const MOST_NEWBORN: usize = 1000;
const MOST_PASSES: u32 = 16;
/// After how many subvolumes progress is shown.
const PROGRESS_STEP: usize = 100;

impl Btrfs {
    /// Steps: prove that nothing of it is mounted; **commit**: destroy it, or where it has
    /// subvolumes within it, or may only be emptied, rename it to the trash; wait until that is on
    /// disk. Killed before that nothing has changed (but a read-only one with others in it may be
    /// writable, since no other can leave its folder); after it the host sweeps the trash.
    pub(crate) fn drop_subvolume(
        &self,
        name: &VolumeName,
        scratch: &ScratchName,
    ) -> Result<Dropped> {
        let volume = self.volume(name)?;
        busy::mounts_of_directory(volume.dir())?.refuse()?;
        let stale = Candidates::before(self);
        let (folder, leaf) = self.location.parent(name)?;
        volume.prove_named(&folder, leaf)?;
        let id = volume.id();
        self.host.debug(&format!(
            "BTRFS_IOC_SNAP_DESTROY_V2 {leaf:?}, subvolume {id}"
        ));
        let ids = match ioctl::destroy(folder.as_fd(), leaf) {
            Ok(()) => vec![id],
            Err(Errno::NOTEMPTY) => self.move_to_trash(&volume, folder.as_fd(), leaf, scratch)?,
            Err(errno @ (Errno::PERM | Errno::ACCESS)) => match self.is_privileged() {
                true => return Err(self.kept(errno, &[id])),
                false => self
                    .move_to_trash(&volume, folder.as_fd(), leaf, scratch)
                    .map_err(unprivileged)?,
            },
            Err(errno) => {
                let error = Error::io(errno, format!("cannot destroy {leaf:?}"));
                return Err(self.explained(Call::Destroy, error));
            }
        };
        // As long as this is open nothing of it is deleted.
        drop(volume);
        commit::folder(&folder)?;
        stale.sweep(self);
        self.location.remove_empty_parents(name);
        let pending = ids.into_iter().map(cleaning::word).collect();
        Ok(Dropped { pending })
    }

    /// Renames a volume to the trash, after proof that it and all that is within it can be
    /// destroyed; their ids.
    fn move_to_trash(
        &self,
        volume: &Subvolume,
        folder: BorrowedFd<'_>,
        leaf: &str,
        scratch: &ScratchName,
    ) -> Result<Vec<u64>> {
        let mut ids = vec![volume.id()];
        if self.is_privileged() {
            let nested = nested::within(self.location.dir(), volume.id())
                .context(|| "cannot look for the subvolumes within it".to_owned())?;
            ids.extend(nested.iter().map(|nested| nested.id));
            self.refuse_kept(&ids)?;
        }
        let trash = self.location.private_folder(Place::Trash)?;
        let set_read_only = |to| ioctl::set_read_only(volume.dir(), to);
        let is_read_only = ioctl::is_read_only(volume.dir())
            .and_then(|is| {
                if is {
                    set_read_only(false).map(|()| is)
                } else {
                    Ok(is)
                }
            })
            .context(|| "cannot make it writable, as it has to be to go".to_owned())?;
        self.host.debug(&format!(
            "rename {leaf:?} to the trash: {} subvolumes",
            ids.len()
        ));
        let renamed = rename_noreplace(folder, leaf, &trash, scratch.as_str())
            .context(|| format!("cannot move {leaf:?} to the trash"))
            .map_err(|error| self.explained(Call::Rename, error));
        renamed.map_err(|error| match is_read_only {
            true => error.after_undo(
                set_read_only(true).context(|| "cannot make it read-only again".to_owned()),
            ),
            false => error,
        })?;
        Ok(ids)
    }

    /// Deletes what is left over: a subvolume with all that are within it, or a plain tree.
    ///
    /// Without the privilege for that, or `user_subvol_rm_allowed`, a subvolume goes as a directory
    /// does: once it is empty.
    pub(crate) fn remove_unfinished(&self, place: Place, scratch: &ScratchName) -> Result<()> {
        let Some(folder) = self.location.find_private_folder(place)? else {
            return Ok(());
        };
        let name = scratch.as_str();
        match fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            Ok(stat) if stat.st_ino == ROOT_INODE => match self.destroy_all(folder.as_fd(), name) {
                Err(error) if error.kind() == ErrorKind::Permission => {}
                other => return other,
            },
            _ => {}
        }
        let removed = tree::remove(folder.as_fd(), name, &self.host);
        removed.map_err(|error| match self.is_privileged() {
            true => error,
            false => unprivileged(error),
        })
    }

    /// Destroys a subvolume and all that are within it, those that somebody makes there meanwhile
    /// too.
    fn destroy_all(&self, folder: BorrowedFd<'_>, name: &str) -> Result<()> {
        let failed = || "cannot destroy the subvolume".to_owned();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = fs::openat(folder, name, flags, Mode::empty()).context(failed)?;
        busy::mounts_of_directory(place.as_fd())?.refuse()?;
        let dir = self.location.dir();
        let mut id = None;
        let mut newborn = 0;
        for pass in 0..MOST_PASSES {
            match ioctl::destroy(folder, name) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTEMPTY) => {}
                Err(errno @ Errno::PERM) => {
                    let id = id.or_else(|| id_of(&place).ok());
                    return Err(self.kept(errno, id.as_slice()));
                }
                Err(errno) => return Err(Error::io(errno, failed())),
            }
            let top = match id {
                Some(id) => id,
                None => *id.insert(id_of(&place)?),
            };
            let doomed = nested::within(dir, top).context(failed)?;
            if pass > 0 {
                newborn += doomed.len();
            }
            if newborn > MOST_NEWBORN {
                break;
            }
            for (done, nested) in doomed.iter().rev().enumerate() {
                self.host.check_cancelled()?;
                if done.is_multiple_of(PROGRESS_STEP) {
                    let (done, all) = (done as u64, doomed.len() as u64);
                    self.host.progress(done, all, "destroying subvolumes");
                }
                match nested.destroy(dir) {
                    Ok(()) | Err(Errno::NOTEMPTY) => {}
                    Err(errno @ Errno::PERM) => return Err(self.kept(errno, &[nested.id])),
                    Err(errno) => {
                        let why = format!("cannot destroy subvolume {} in it", nested.id);
                        return Err(Error::io(errno, why));
                    }
                }
            }
        }
        let why = "somebody still makes subvolumes in it";
        Err(Error::new(ErrorKind::Busy, why))
    }

    fn is_privileged(&self) -> bool {
        keepers::is_privileged(self.location.dir())
    }

    /// Why the kernel keeps what it said `EPERM` of.
    fn kept(&self, errno: Errno, ids: &[u64]) -> Error {
        if !self.is_privileged() {
            return unprivileged(Error::io(errno, "the kernel keeps it"));
        }
        match self.refuse_kept(ids) {
            Err(error) => error,
            Ok(()) => Error::io(errno, "the kernel keeps it, and it is not to be seen why"),
        }
    }
}

/// Says who would be allowed to do what an owner could not.
fn unprivileged(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Permission => error.context(
            "only root may destroy any subvolume; its owner one that can be emptied, or any where \
             the file system is mounted with user_subvol_rm_allowed",
        ),
        _ => error,
    }
}

/// The id of a subvolume that is open as a place.
fn id_of(place: impl AsFd) -> Result<u64> {
    let subvolume = Subvolume::at(place)?;
    let gone = || Error::new(ErrorKind::NotFound, "the subvolume is not there any more");
    Ok(subvolume.ok_or_else(gone)?.id())
}
