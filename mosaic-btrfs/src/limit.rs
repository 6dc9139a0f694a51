// SPDX-License-Identifier: MIT OR Apache-2.0
//! The limit that a new subvolume begins with, and the quota groups that it joins.
//!
//! A limit that is given along with the call that makes a subvolume binds its first writer. What the
//! two kinds of quota do with it, both tried in the tests (Linux 6.18):
//!
//! | | simple quotas | full qgroups |
//! |---|---|---|
//! | new subvolume | the limit given | the limit given |
//! | snapshot | the limit given, else none | always its source's |
//! | groups, where a limit is given | those named | those named |
//! | groups, where none is given | those of the subvolume above | none |
//!
//! So the groups of the subvolume above are named with simple quotas; and with full ones a snapshot
//! is put into the groups of its source: outside of them the kernel could not go on counting, and
//! would call all its numbers inconsistent.
//!
//! A limit binds one subvolume, not those within it: each of these has a limit of its own, or none,
//! and a clone's have those of their sources.

use std::os::fd::BorrowedFd;

use linux_raw_sys::btrfs::{BTRFS_QGROUP_LEVEL_SHIFT, BTRFS_QGROUP_RELATION_KEY};
use mosaic_core::{Bytes, Context, Error, ErrorKind, Result};
use rustix::io::Errno;

use crate::config::QuotaUse;
use crate::driver::Btrfs;
use crate::error::Call;
use crate::ioctl::{self, Inherit};
use crate::quota::Mode;
use crate::search::{self, Key, QUOTA_TREE};
use crate::subvolume::Subvolume;

/// How many blocks of metadata a subvolume can do with. The kernel sets some aside for each change:
/// with less than 8 of them no file can be made in an empty one (tried; Linux 6.18).
const LEAST: u64 = 16;

/// How sizes become limits in this location.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits<'b> {
    btrfs: &'b Btrfs,
    /// What enforces them; `Off`: nothing does, or is to.
    mode: Mode,
}

impl Btrfs {
    /// How sizes become limits; says so where the size asked for will not bind.
    ///
    /// # Errors
    /// `Unsupported` if it has to bind by the config, and cannot; `Invalid` if it would leave no room
    /// for a file.
    pub(crate) fn limits(&self, asked: Option<Bytes>) -> Result<Limits<'_>> {
        let mode = self.quota_mode()?;
        if let Some(why) = self.refusal_to_make(mode) {
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        if let Some(why) = self.not_enforced(mode) {
            if asked.is_some() {
                self.host.warn(&why);
            }
        } else if let Some(size) = asked {
            let info = ioctl::fs_info(self.location.dir())
                .context(|| "cannot ask the file system".to_owned())?;
            let least = Bytes(LEAST * u64::from(info.nodesize));
            if size < least {
                let why = format!("{size} are not enough for a subvolume; the least is {least}");
                return Err(Error::new(ErrorKind::Invalid, why));
            }
        }
        Ok(Limits { btrfs: self, mode })
    }
}

impl Limits<'_> {
    /// The limit of a subvolume, bytes; `None` also where limits are left alone.
    pub(crate) fn of(&self, subvolume: &Subvolume) -> Result<Option<u64>> {
        Ok(self.btrfs.account(subvolume.id(), self.mode)?.limit)
    }

    /// The limit of a clone: the size asked for, else the source's.
    ///
    /// # Errors
    /// `Invalid` if it would be full from the start, or has none and has to have one.
    pub(crate) fn of_clone(&self, source: &Subvolume, asked: Option<Bytes>) -> Result<Option<u64>> {
        let account = self.btrfs.account(source.id(), self.mode)?;
        let limit = asked.map(|size| size.0).or(account.limit);
        match (limit, account.usage) {
            _ if self.mode == Mode::Off => Ok(None),
            (None, _) if self.btrfs.options.quota == QuotaUse::Required => Err(Error::new(
                ErrorKind::Invalid,
                "the source has no size, and the config says quota: required; give the clone one",
            )),
            // With simple quotas what a clone shares does not count.
            (Some(limit), Some(usage))
                if asked.is_some() && self.is_full() && usage.referenced > limit =>
            {
                Err(too_small(Bytes(usage.referenced), Bytes(limit)))
            }
            _ => Ok(limit),
        }
    }

    /// Whether the kernel gives a snapshot of a subvolume with the limit `source` the limit `wanted`
    /// while it makes it.
    pub(crate) fn come_with_a_snapshot(&self, source: Option<u64>, wanted: Option<u64>) -> bool {
        !self.is_full() || source == wanted
    }

    /// What a new subvolume in `folder` begins with.
    pub(crate) fn for_new(
        &self,
        folder: BorrowedFd<'_>,
        limit: Bytes,
    ) -> rustix::io::Result<Option<Inherit>> {
        let groups = match self.mode {
            Mode::Off => return Ok(None),
            Mode::Simple => groups_above(folder, ioctl::subvolume_id(folder)?)?,
            Mode::Full { .. } => Vec::new(),
        };
        let limit = Some(limit.0);
        Ok(Some(Inherit { limit, groups }))
    }

    /// What a snapshot of `source` in `folder` begins with.
    pub(crate) fn for_snapshot(
        &self,
        folder: BorrowedFd<'_>,
        source: &Subvolume,
        limit: Option<u64>,
    ) -> rustix::io::Result<Option<Inherit>> {
        let inherit = match self.mode {
            Mode::Off => return Ok(None),
            Mode::Simple if limit.is_none() => return Ok(None),
            Mode::Simple => Inherit {
                limit,
                groups: groups_above(folder, ioctl::subvolume_id(folder)?)?,
            },
            Mode::Full { .. } => Inherit {
                limit: None,
                groups: groups_above(folder, source.id())?,
            },
        };
        Ok((inherit != Inherit::default()).then_some(inherit))
    }

    /// Takes the limit off a snapshot that is still to be changed: with full quotas it has its
    /// source's limit, and counts what its source counts, which may be as much.
    /// [`Limits::settle`] gives it one again.
    pub(crate) fn lift(&self, copy: &Subvolume) -> Result<()> {
        if !self.is_full() || self.of(copy)?.is_none() {
            return Ok(());
        }
        match ioctl::limit(self.btrfs.location.dir(), copy.id(), None) {
            // Without privilege the limit stays; it may still be large enough.
            Ok(()) | Err(Errno::PERM) => Ok(()),
            Err(errno) => Err(self.refused(errno)),
        }
    }

    /// Gives a snapshot this limit, where it has another one.
    pub(crate) fn settle(&self, copy: &Subvolume, limit: Option<u64>) -> Result<()> {
        match self.of(copy)? == limit {
            true => Ok(()),
            false => self.set(copy, limit),
        }
    }

    /// Gives a subvolume that is there this limit. The kernel sets room aside for that in the
    /// subvolume that is open: the location's, since this one may be full.
    pub(crate) fn set(&self, subvolume: &Subvolume, limit: Option<u64>) -> Result<()> {
        let words = match limit {
            Some(limit) => format!("{limit} bytes"),
            None => "nothing".to_owned(),
        };
        let id = subvolume.id();
        self.btrfs
            .host
            .debug(&format!("BTRFS_IOC_QGROUP_LIMIT 0/{id} to {words}"));
        ioctl::limit(self.btrfs.location.dir(), id, limit).map_err(|errno| self.refused(errno))
    }

    fn refused(&self, errno: Errno) -> Error {
        let error = Error::io(errno, "cannot set its limit");
        self.btrfs.explained(Call::Limit, error)
    }

    fn is_full(&self) -> bool {
        matches!(self.mode, Mode::Full { .. })
    }
}

/// The groups of a higher level that the quota group of a subvolume is a member of; none for a
/// caller without CAP_SYS_ADMIN, who cannot see them.
fn groups_above(dir: BorrowedFd<'_>, id: u64) -> rustix::io::Result<Vec<u64>> {
    let mut groups = Vec::new();
    let keys = Key::all(id, BTRFS_QGROUP_RELATION_KEY);
    let searched = search::each(dir, QUOTA_TREE, keys, |key, _| {
        // Each relation is there twice, once under either member.
        if key.kind == BTRFS_QGROUP_RELATION_KEY && key.offset >> BTRFS_QGROUP_LEVEL_SHIFT != 0 {
            groups.push(key.offset);
        }
    });
    match searched {
        Ok(()) | Err(Errno::PERM) => Ok(groups),
        Err(errno) => Err(errno),
    }
}

/// A volume that is over its limit could not even be emptied.
pub(crate) fn too_small(used: Bytes, limit: Bytes) -> Error {
    let why = format!("{used} are in it, more than {limit}");
    Error::new(ErrorKind::Invalid, why)
}
