// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clones: writable snapshots.
//!
//! A snapshot is one instant of its source. The kernel writes out what is in memory of the source
//! before it takes one, so it holds all that was written before the command, synced or not
//! (fs/btrfs/ioctl.c `create_snapshot`). Of what is written at the same time it may hold a part; where
//! that makes a file longer, the length can be there before the data, which then reads as zeros, as
//! after a power cut. A snapshot begins as its source is: owner,
//! mode, attributes, with full quotas the limit. It is writable also if the source is read-only, and
//! then does not count as received.
//!
//! A snapshot commits by itself. So a clone that needs nothing else gets its name by that very call,
//! at the cost of one commit; one that has to be finished first is made aside, and costs two.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mosaic_core::location::rename_noreplace;
use mosaic_core::volume::CloneOptions;
use mosaic_core::{Context, Error, ErrorKind, Place, Result, ScratchName, VolumeName, label};

use crate::commit;
use crate::driver::Btrfs;
use crate::error::Call;
use crate::ioctl;
use crate::limit::Limits;
use crate::nested_clone::Began;
use crate::stale::Candidates;
use crate::subvolume::Subvolume;

/// How often a clone is begun again whose source's subvolumes change meanwhile.
const ATTEMPTS: u32 = 10;

/// What is to become of a clone.
#[derive(Debug, Clone, Copy)]
struct Wanted<'b> {
    limits: Limits<'b>,
    /// Its limit, bytes.
    limit: Option<u64>,
    /// It carries another label than its source.
    relabel: bool,
}

impl Btrfs {
    /// Steps where the source holds no subvolumes, and the clone has its label and, by the kernel,
    /// the right limit: look for dead qgroups; make the folders above; **commit**: one snapshot at
    /// the clone's name. Killed before it there are at most empty folders, after it the clone. Where a
    /// subvolume was made in the source at that moment the clone is taken back, which costs a commit
    /// more, and is made as follows.
    ///
    /// Else: snapshot to `.mosaic/tmp`, those within put into it one by one; limit; label; rename to
    /// its name; **commit** of the transaction. Killed before the rename there is at most a thing in
    /// `.mosaic/tmp`, which the next sweep removes. After it the clone is there, whole, and survives
    /// the power once the transaction is committed.
    ///
    /// Either way the dead qgroups go last, and the source is never changed.
    pub(crate) fn clone_subvolume(
        &self,
        from: &VolumeName,
        to: &VolumeName,
        how: &CloneOptions,
    ) -> Result<()> {
        let source = self.volume(from)?;
        let limits = self.limits(how.size)?;
        let limit = limits.of_clone(&source, how.size)?;
        let wanted_label = (to.user() != to.stored()).then(|| to.user());
        let wanted = Wanted {
            limits,
            limit,
            relabel: label::name(source.dir())?.as_deref() != wanted_label,
        };
        self.host.check_cancelled()?;
        let dead = Candidates::before(self);
        let began = Began::now(&source)?;
        let comes_whole = !wanted.relabel
            && limits.come_with_a_snapshot(limits.of(&source)?, limit)
            && began.children.is_empty();
        if !comes_whole || !self.snapshot_in_place(&source, to, wanted, &began, &how.scratch)? {
            commit::folder(self.snapshot_aside(&source, to, wanted, how)?)?;
        }
        dead.sweep(self);
        Ok(())
    }

    /// `Ok(false)`: a subvolume was in the source meanwhile, and nothing is left of the clone.
    fn snapshot_in_place(
        &self,
        source: &Subvolume,
        to: &VolumeName,
        wanted: Wanted<'_>,
        began: &Began,
        scratch: &ScratchName,
    ) -> Result<bool> {
        self.host.debug(&format!("BTRFS_IOC_SNAP_CREATE_V2 {to}"));
        let made = self.location.in_parent(to, |folder, leaf| {
            let inherit = wanted.limits.for_snapshot(folder, source, wanted.limit)?;
            ioctl::snapshot(folder, leaf, source.dir(), false, inherit.as_ref())
        });
        made.map_err(|error| {
            self.location.remove_empty_parents(to);
            self.explained(Call::Snapshot, error)
        })?;
        let clone = self.volume(to)?;
        let within = began.fits(source, &clone);
        if matches!(&within, Ok(Some(within)) if within.is_empty()) {
            return Ok(true);
        }
        let taken_back = self.take_back(source, &clone, to, scratch);
        self.location.remove_empty_parents(to);
        match within {
            Err(error) => Err(error.after_undo(taken_back)),
            Ok(_) => taken_back.map(|()| false),
        }
    }

    /// Removes the clone that was made at its name just now. It is on disk, so that its name goes by a
    /// commit first, and as a rename, which its owner may do who may not destroy it.
    fn take_back(
        &self,
        source: &Subvolume,
        clone: &Subvolume,
        to: &VolumeName,
        scratch: &ScratchName,
    ) -> Result<()> {
        let (is_of, uuid) = (clone.root()?.parent, source.root()?.uuid);
        if is_of.is_none() || is_of != uuid {
            let why = format!("volume \"{to}\" was replaced meanwhile");
            return Err(Error::new(ErrorKind::Busy, why));
        }
        let failed = || format!("cannot remove the clone \"{to}\", which is not whole");
        let (folder, leaf) = self.location.parent(to)?;
        let tmp = self.tmp()?;
        clone.prove_named(&folder, leaf)?;
        rename_noreplace(&folder, leaf, &tmp, scratch.as_str())
            .context(failed)
            .map_err(|error| self.explained(Call::Rename, error))?;
        commit::folder(folder)?;
        self.remove_unfinished(Place::Tmp, scratch).context(failed)
    }

    fn snapshot_aside(
        &self,
        source: &Subvolume,
        to: &VolumeName,
        wanted: Wanted<'_>,
        how: &CloneOptions,
    ) -> Result<OwnedFd> {
        let tmp = self.tmp()?;
        let scratch = &how.scratch;
        self.copy_whole(source, tmp.as_fd(), to, wanted, how)
            .and_then(|()| self.publish(tmp.as_fd(), scratch, to))
            .map_err(|error| self.discard(scratch, error))
    }

    /// Makes all of the clone but its name.
    fn copy_whole(
        &self,
        source: &Subvolume,
        tmp: BorrowedFd<'_>,
        to: &VolumeName,
        wanted: Wanted<'_>,
        how: &CloneOptions,
    ) -> Result<()> {
        for _ in 0..ATTEMPTS {
            self.host.check_cancelled()?;
            let name = how.scratch.as_str();
            let copied = self.copy_nested(source, tmp, name, wanted.limits, wanted.limit)?;
            if let Some(copy) = copied {
                if wanted.relabel {
                    wanted.limits.lift(&copy)?;
                    label::set_name(copy.dir(), to)
                        .map_err(|error| self.explained(Call::Label, error))?;
                }
                return wanted.limits.settle(&copy, wanted.limit);
            }
            self.host
                .debug("subvolumes in the source changed meanwhile: begin again");
            self.remove_unfinished(Place::Tmp, &how.scratch)?;
        }
        Err(Error::new(
            ErrorKind::Busy,
            "subvolumes in it are made and dropped all the time, so that no clone catches all of \
             them; try again when that is over",
        ))
    }
}
