// SPDX-License-Identifier: MIT OR Apache-2.0
//! The limit of a volume that is there.

use mosaic_core::{Bytes, Error, ErrorKind, Result, VolumeName};

use crate::commit;
use crate::driver::Btrfs;
use crate::limit::too_small;
use crate::quota::{self, Mode};
use crate::stale::Candidates;
use crate::subvolume::Subvolume;

impl Btrfs {
    /// Steps: see that more is not in it; look for dead qgroups; set the limit, which binds writers
    /// at once; **commit** of the transaction; remove the dead qgroups. Killed before the commit the
    /// volume has either limit, and after a power cut the old one.
    ///
    /// A writer may have got in between look and limit. So what is in it is looked at again, and
    /// if that is more than the new limit the old one is put back: a volume over its limit could
    /// not even be emptied.
    pub(crate) fn resize_subvolume(&self, name: &VolumeName, size: Bytes) -> Result<()> {
        let volume = self.volume(name)?;
        let mode = self.quota_mode()?;
        if let Some(why) = self.not_enforced(mode) {
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        let account = self.account(volume.id(), mode)?;
        if let Some(why) = self.no_group(volume.id(), mode, &account) {
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        let limits = self.limits(Some(size))?;
        self.refuse_if_fuller(&volume, mode, size)?;
        let dead = Candidates::before(self);
        limits.set(&volume, Some(size.0))?;
        let kept = commit::everything(self.location.dir())
            .and_then(|()| self.refuse_if_fuller(&volume, mode, size));
        if let Err(error) = kept {
            let undone = limits
                .set(&volume, account.limit)
                .and_then(|()| commit::everything(self.location.dir()));
            return Err(error.after_undo(undone));
        }
        dead.sweep(self);
        Ok(())
    }

    /// Refuses a limit that is below what is in the volume or about to be written to it.
    fn refuse_if_fuller(&self, volume: &Subvolume, mode: Mode, size: Bytes) -> Result<()> {
        if mode == (Mode::Full { inconsistent: true }) {
            // The kernel itself says that its numbers are wrong.
            return Ok(());
        }
        match quota::promised(self.location.dir(), volume.id())? {
            Some(used) if used > size.0 => Err(too_small(Bytes(used), size)),
            _ => Ok(()),
        }
    }
}
