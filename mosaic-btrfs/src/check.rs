// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares the location with what it should be: what stands in it, what its volumes may take, and
//! the state of the file system that it is on.
//!
//! What is in a volume is not read; `btrfs scrub` does that.

use std::os::fd::AsFd;
use std::path::Path;

use mosaic_core::finding::{Finding, Remedy, Repair};
use mosaic_core::volume::Volume;
use mosaic_core::{Context, ErrorKind, Result};
use rustix::fs::{StatVfsMountFlags, fstatvfs};
use rustix::io::Errno;

use crate::config::QuotaUse;
use crate::driver::Btrfs;
use crate::ioctl;
use crate::quota::Mode;
use crate::stale::{self, Candidates};

/// What the counters of a device count, in the kernel's order (`enum btrfs_dev_stat_values`).
const COUNTERS: [&str; 5] = ["write", "read", "flush", "corruption", "generation"];

/// The class of quota groups that are of no subvolume any more.
const GROUPS: &str = "quota-groups";

impl Btrfs {
    /// Looks at everything; removes quota groups of no subvolume, if `repair` names them.
    ///
    /// # Errors
    /// What kept it from looking, but for damage: on a failing device one look may find what the next
    /// one cannot read.
    pub(crate) fn findings(&self, repair: &Repair) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let parts = [
            Self::stopped,
            Self::failing_devices,
            Self::strays,
            Self::wrong_sizes,
        ];
        for part in parts {
            unless_damaged(part(self, &mut findings), &mut findings)?;
        }
        unless_damaged(self.dead_groups(repair, &mut findings), &mut findings)?;
        Ok(findings)
    }

    /// Whether the file system has stopped taking changes. One that was mounted read-only has not:
    /// it has nothing to write, and says so.
    fn stopped(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let (dir, path) = (self.location.dir(), self.location.path());
        let state = fstatvfs(dir).context(|| format!("cannot look at location {path:?}"))?;
        let is_read_only = state.f_flag.contains(StatVfsMountFlags::RDONLY);
        if is_read_only && ioctl::sync(dir) == Err(Errno::ROFS) {
            findings.push(fault(
                None,
                format!(
                    "the file system at {path:?} takes no changes any more, because of an error that \
                     the kernel's log names; unmount it and look at it with btrfs check"
                ),
            ));
        }
        Ok(())
    }

    /// Devices that have failed since their counters were last reset.
    fn failing_devices(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let dir = self.location.dir();
        let failed = || "cannot ask for the devices of the file system".to_owned();
        let last = ioctl::fs_info(dir).context(failed)?.max_id;
        for number in 1..=last {
            let counters = match ioctl::device_errors(dir, number) {
                Err(Errno::NODEV) => continue,
                other => other.context(failed)?,
            };
            let counters = COUNTERS.iter().zip(counters);
            let errors: Vec<String> = counters
                .filter(|(_, count)| *count > 0)
                .map(|(what, count)| format!("{count} {what}"))
                .collect();
            if !errors.is_empty() {
                let (errors, path) = (errors.join(", "), self.location.path());
                let device = self.device_name(number);
                findings.push(fault(
                    None,
                    format!(
                        "device {device} had errors: {errors} (btrfs device stats {path:?} shows \
                         them, with -z it forgets them)"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Its path, or its number in the file system.
    fn device_name(&self, number: u64) -> String {
        let info = ioctl::device_info(self.location.dir(), number);
        let path = info.map(|info| {
            let bytes = info.path.iter().take_while(|byte| **byte != 0);
            bytes.copied().collect::<Vec<u8>>()
        });
        match path {
            Ok(path) if !path.is_empty() => {
                format!("{:?}", Path::new(&*String::from_utf8_lossy(&path)))
            }
            _ => number.to_string(),
        }
    }

    /// What stands in the place of a volume and is none.
    fn strays(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let (depth, metadata) = (self.options.depth, self.options.metadata.as_deref());
        findings.extend(self.location.strays(depth, metadata)?);
        for name in self.location.directories(depth, metadata)? {
            self.host.check_cancelled()?;
            match self.place(&name) {
                Ok(_) => {}
                // Replaced or dropped while we were looking.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => findings.push(fault(None, error.chain())),
            }
        }
        Ok(())
    }

    /// Volumes whose size does not bind, or did not.
    fn wrong_sizes(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let mode = self.quota_mode()?;
        if mode == (Mode::Full { inconsistent: true }) {
            findings.push(fault(
                None,
                format!(
                    "the quota groups are inconsistent, so that limits and usage may be wrong, or \
                     are being counted just now (btrfs quota rescan {:?} mends them)",
                    self.location.path()
                ),
            ));
        }
        if let Some(why) = self.refusal_to_make(mode) {
            findings.push(fault(None, why));
        }
        if !mode.is_on() {
            return Ok(());
        }
        let volumes = self.volumes()?;
        findings.extend(volumes.iter().filter_map(|volume| self.wrong_size(volume)));
        Ok(())
    }

    fn wrong_size(&self, volume: &Volume) -> Option<Finding> {
        let what = match (volume.size, volume.used) {
            (Some(size), Some(used)) if used > size => format!(
                "it takes {used}, more than its size of {size}, so that nothing can be written or \
                 deleted in it; resize it"
            ),
            _ if self.options.quota != QuotaUse::Required => return None,
            // One without a quota group cannot have a limit; a note of it says how to make one.
            (None, None) => volume.notes.join("; "),
            (None, _) => {
                "it has no limit, although the config says quota: required; resize it".to_owned()
            }
            _ => return None,
        };
        Some(fault(Some(volume), what))
    }

    /// Removes the groups that count nothing and are of no subvolume, if that is asked for by name.
    /// They are no fault, so a look does not find them: each drop under simple quotas leaves one for
    /// the next commands to remove. Nor are those that count something: clones share that with a
    /// dropped subvolume.
    fn dead_groups(&self, repair: &Repair, findings: &mut Vec<Finding>) -> Result<()> {
        let remedy = |action| Remedy::new(GROUPS, action).by_name();
        if !repair.covers(&remedy("")) || !self.quota_mode()?.is_on() {
            return Ok(());
        }
        let dead = match stale::dead_groups(self.location.dir()) {
            Err(Errno::PERM) => {
                self.host
                    .warn("only root can see whether dropped subvolumes left quota groups behind");
                return Ok(());
            }
            other => other.context(|| "cannot look for dead quota groups".to_owned())?,
        };
        let empty = dead.iter().filter(|group| group.is_empty()).count();
        if empty == 0 {
            return Ok(());
        }
        let removed = self.remove_dead()?;
        let (what, action) = match empty {
            1 => (
                "a quota group is of a subvolume that is gone, and counts nothing".to_owned(),
                "remove it",
            ),
            number => (
                format!("{number} quota groups are of subvolumes that are gone, and count nothing"),
                "remove them",
            ),
        };
        findings.push(Finding {
            remedy: Some(remedy(action)),
            repaired: removed >= empty,
            ..fault(None, what)
        });
        Ok(())
    }

    fn remove_dead(&self) -> Result<usize> {
        let mut removed = 0;
        loop {
            let candidates = Candidates::all_before(self);
            crate::commit::everything(self.location.dir().as_fd())?;
            let more = candidates.sweep(self);
            removed += more;
            self.host.check_cancelled()?;
            if more == 0 {
                return Ok(removed);
            }
        }
    }
}

/// Makes a finding of a look that failed because something is damaged.
fn unless_damaged(looked: Result<()>, findings: &mut Vec<Finding>) -> Result<()> {
    match looked {
        Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::Corrupt) => {
            findings.push(fault(None, error.chain()));
            Ok(())
        }
        other => other,
    }
}

fn fault(volume: Option<&Volume>, fault: String) -> Finding {
    Finding {
        volume: volume.map(|volume| volume.stored.clone()),
        fault,
        remedy: None,
        repaired: false,
    }
}
