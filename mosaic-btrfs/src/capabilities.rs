// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be done here and with one volume, and for the rest why not.

use linux_raw_sys::btrfs::BTRFS_ROOT_SUBVOL_RDONLY;
use mosaic_core::volume::{About, Capability, capability};
use mosaic_core::{Result, VolumeName};
use rustix::fs::{StatVfsMountFlags, fstatvfs};

use crate::config::QuotaUse;
use crate::driver::Btrfs;
use crate::error::{Call, privilege};
use crate::ioctl;
use crate::keepers;
use crate::layout::missing;
use crate::quota::Mode;
use crate::subvolume::Subvolume;

/// Why there are no disks.
pub(crate) const NO_DISK: &str = "a subvolume is no block device; types dmthin and loop have disks";

/// One answer from a reason or none.
fn answer(name: &str, refusal: Option<&String>) -> Capability {
    match refusal {
        None => Capability::yes(name),
        Some(reason) => Capability::no(name, reason),
    }
}

impl Btrfs {
    /// For the location, or for one volume in it.
    ///
    /// # Errors
    /// `NotFound`; else those of [`Btrfs::place`].
    pub(crate) fn abilities(&self, volume: Option<&VolumeName>) -> Result<Vec<Capability>> {
        let mode = self.quota_mode();
        let write = self.refusal_to_write();
        let (mut size, required) = match &mode {
            Ok(mode) => (self.not_enforced(*mode), self.refusal_to_make(*mode)),
            Err(error) => (Some(error.chain()), None),
        };
        let create = write.clone().or(required);
        if let Some(name) = volume {
            let place = self.place(name)?.ok_or_else(|| missing(name))?;
            if let (Ok(mode), Ok(Some(subvolume))) = (mode, Subvolume::at(place)) {
                let id = subvolume.id();
                size = size.or(self.no_group(id, mode, &self.account(id, mode)?));
            }
        }
        let resize = write.clone().or(size.clone()).or_else(|| self.no_limits());
        Ok(vec![
            answer(capability::CLONE, create.as_ref()),
            Capability::no(capability::BDEV, NO_DISK),
            answer(capability::VOLSIZE, size.as_ref()),
            answer(capability::FS, create.as_ref()),
            Capability::no(capability::DISK, NO_DISK),
            answer(capability::GROW, resize.as_ref()),
            answer(capability::SHRINK, resize.as_ref()),
            answer(capability::RENAME, write.as_ref()),
        ])
    }

    /// Why nothing can be made or renamed here, whoever asks.
    pub(crate) fn refusal_to_write(&self) -> Option<String> {
        let (dir, path) = (self.location.dir(), self.location.path());
        let flags = fstatvfs(dir).ok()?.f_flag;
        if flags.contains(StatVfsMountFlags::RDONLY) {
            return Some(format!("the file system at {path:?} is mounted read-only"));
        }
        let info = ioctl::subvolume_info(dir).ok()?;
        let is_read_only = info.flags & u64::from(BTRFS_ROOT_SUBVOL_RDONLY) != 0;
        is_read_only.then(|| format!("the subvolume that location {path:?} is in is read-only"))
    }

    /// Why limits of subvolumes that are there are not this process' to change.
    fn no_limits(&self) -> Option<String> {
        match keepers::is_privileged(self.location.dir()) {
            true => None,
            false => privilege(Call::Limit).map(str::to_owned),
        }
    }

    /// What a user should know of the location.
    pub(crate) fn description(&self) -> About {
        let sizes = self.sizes();
        let quotas = match (self.options.quota, sizes.mode) {
            (QuotaUse::Off, _) => "not used",
            (_, Mode::Off) => "off",
            (_, Mode::Simple) => "simple",
            (_, Mode::Full { .. }) => "full",
        };
        About {
            notes: sizes.note.into_iter().collect(),
            facts: vec![("quotas".to_owned(), quotas.to_owned())],
        }
    }
}
