// SPDX-License-Identifier: MIT OR Apache-2.0
//! New volumes, and the name that a finished one gets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use mosaic_core::foreign::without_signals;
use mosaic_core::location::{open_in, rename_noreplace};
use mosaic_core::volume::{NewKind, NewVolume};
use mosaic_core::{Context, Error, ErrorKind, Place, Result, ScratchName, VolumeName, label};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Mode, fchmod};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::umask;

use crate::capabilities::NO_DISK;
use crate::commit;
use crate::driver::Btrfs;
use crate::error::Call;
use crate::ioctl;
use crate::limit::Limits;
use crate::stale::Candidates;

/// Mode of a new volume's root: its owner's alone, until the owner says otherwise.
const VOLUME_MODE: Mode = Mode::RWXU;
/// What nobody else may.
const OTHERS: Mode = Mode::RWXG.union(Mode::RWXO);

impl Btrfs {
    /// Steps: look for dead qgroups; make the folders above; make the subvolume at its name, with
    /// its limit, by one ioctl; **commit** of the transaction; remove the dead qgroups.
    ///
    /// Where the volume map gives it a label: make the subvolume in `.mosaic/tmp`, label it, rename
    /// it to its name; both are in one transaction.
    ///
    /// Killed before the ioctl (the rename) there are at most empty folders and a thing in
    /// `.mosaic/tmp`, which the next sweep removes. After it the volume is there, whole; that the
    /// power may go without losing it is true once the transaction is committed.
    pub(crate) fn create_subvolume(&self, name: &VolumeName, new: &NewVolume) -> Result<()> {
        if new.kind == NewKind::Disk {
            return Err(Error::new(ErrorKind::Unsupported, NO_DISK));
        }
        let limits = self.limits(Some(new.size))?;
        self.host.check_cancelled()?;
        let dead = Candidates::before(self);
        let in_place = match name.user() == name.stored() {
            true => self.create_in_place(name, new, limits)?,
            false => None,
        };
        commit::folder(match in_place {
            Some(folder) => folder,
            None => self.create_aside(name, new, limits)?,
        })?;
        dead.sweep(self);
        Ok(())
    }

    /// Gives the folder that it was made in. `Ok(None)`: it was not, since this process may have no
    /// thread with a umask of its own.
    fn create_in_place(
        &self,
        name: &VolumeName,
        new: &NewVolume,
        limits: Limits<'_>,
    ) -> Result<Option<OwnedFd>> {
        self.host
            .debug(&format!("BTRFS_IOC_SUBVOL_CREATE_V2 {name}"));
        let made = self.location.in_parent(name, |folder, leaf| {
            let kept = fcntl_dupfd_cloexec(folder, 0)?;
            let inherit = limits.for_new(folder, new.size)?;
            match privately(|| ioctl::create(folder, leaf, inherit.as_ref())) {
                Ok(made) => made.map(|()| Some(kept)),
                Err(error) => {
                    self.host.debug(&format!("no umask of its own: {error}"));
                    Ok(None)
                }
            }
        });
        if !matches!(made, Ok(Some(_))) {
            self.location.remove_empty_parents(name);
        }
        made.map_err(|error| self.explained(Call::Create, error))
    }

    fn create_aside(
        &self,
        name: &VolumeName,
        new: &NewVolume,
        limits: Limits<'_>,
    ) -> Result<OwnedFd> {
        let tmp = self.tmp()?;
        let scratch = &new.scratch;
        self.host
            .debug(&format!("BTRFS_IOC_SUBVOL_CREATE_V2 in {:?}", Place::Tmp));
        let build = || {
            let inherit = limits.for_new(tmp.as_fd(), new.size);
            inherit
                .and_then(|inherit| ioctl::create(tmp.as_fd(), scratch.as_str(), inherit.as_ref()))
                .context(|| "cannot make a subvolume".to_owned())
                .map_err(|error| self.explained(Call::Create, error))?;
            let dir = open_in(&tmp, scratch.as_str())?;
            fchmod(&dir, VOLUME_MODE).context(|| "cannot set its mode".to_owned())?;
            label::set_name(&dir, name).map_err(|error| self.explained(Call::Label, error))
        };
        build()
            .and_then(|()| self.publish(tmp.as_fd(), scratch, name))
            .map_err(|error| self.discard(scratch, error))
    }

    /// The folder of half-made things.
    pub(crate) fn tmp(&self) -> Result<OwnedFd> {
        self.location
            .private_folder(Place::Tmp)
            .map_err(|error| self.explained(Call::Create, error))
    }

    /// Gives a finished subvolume in `.mosaic/tmp` its volume's name; gives the folder that it is in
    /// now, for the commit.
    pub(crate) fn publish(
        &self,
        tmp: BorrowedFd<'_>,
        scratch: &ScratchName,
        name: &VolumeName,
    ) -> Result<OwnedFd> {
        self.host.debug(&format!("rename {scratch} to {name}"));
        let renamed = self.location.in_parent(name, |folder, leaf| {
            let kept = fcntl_dupfd_cloexec(folder, 0)?;
            rename_noreplace(tmp, scratch.as_str(), folder, leaf).map(|()| kept)
        });
        renamed.map_err(|error| {
            self.location.remove_empty_parents(name);
            self.explained(Call::Rename, error)
        })
    }

    /// Removes a subvolume that did not get its name; the error says why not, and how this went.
    pub(crate) fn discard(&self, scratch: &ScratchName, error: Error) -> Error {
        error.after_undo(self.remove_unfinished(Place::Tmp, scratch))
    }
}

/// Runs the step where only the owner gets what it makes, whatever the umask of the process is,
/// which all its threads share: in a thread that has one of its own.
///
/// The kernel heeds the umask for a subvolume as it does for a directory (fs/btrfs/ioctl.c
/// `create_subvol`); a default ACL of the folder then gives nobody anything either (acl(5)).
///
/// # Errors
/// `EPERM` where a container does not allow unshare(2); none of the step's.
fn privately<T: Send>(step: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let run = || {
            unshare(CloneFlags::CLONE_FS)?;
            umask(OTHERS);
            Ok(step())
        };
        let thread = without_signals(|| thread::Builder::new().spawn_scoped(scope, run))?;
        match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
