// SPDX-License-Identifier: MIT OR Apache-2.0
//! Quotas of the file system: which kind is on, what each subvolume may take and takes.
//!
//! A subvolume has the qgroup of its own number. One subvolume is asked for in sysfs, which shows
//! what the kernel counts with, to everybody; all of them in the quota tree, which has the usage of
//! the last commit and needs CAP_SYS_ADMIN.
//!
//! Kernel: fs/btrfs/sysfs.c, `/sys/fs/btrfs/<fsid>/qgroups` (Linux 5.9; `inconsistent` 6.1, `mode`
//! 6.7).

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use linux_raw_sys::btrfs::{
    BTRFS_QGROUP_INFO_KEY, BTRFS_QGROUP_LIMIT_KEY, BTRFS_QGROUP_LIMIT_MAX_RFER,
    BTRFS_QGROUP_STATUS_FLAG_INCONSISTENT, BTRFS_QGROUP_STATUS_FLAG_SIMPLE_MODE,
    BTRFS_QGROUP_STATUS_KEY,
};
use mosaic_core::{Context, Error, Result};

use crate::config::QuotaUse;
use crate::driver::Btrfs;
use crate::ioctl;
use crate::items::{self, Usage, Uuid};
use crate::search::{self, Key, QUOTA_TREE};

/// Number of the first qgroup that is of no subvolume: `BTRFS_QGROUP_LEVEL_SHIFT`.
const SECOND_LEVEL: u64 = 1 << 48;

/// What counts with simple quotas.
const SIMPLE: &str = "simple quotas: size and usage count only what a volume itself wrote since \
                      they are on, not what it shares with its origin";
/// The kernel says so of its qgroups.
const INCONSISTENT: &str = "usage is unknown: the kernel is counting, or its qgroups are \
                            inconsistent (btrfs quota rescan mends them)";

/// The kind of quota that a file system has switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// None: no size binds.
    Off,
    /// Simple quotas (Linux 6.7): data counts for the subvolume that wrote it.
    Simple,
    /// Full qgroups: data counts for each subvolume that refers to it.
    Full {
        /// The numbers are not right: a rescan runs, or is needed.
        inconsistent: bool,
    },
}

impl Mode {
    /// Whether limits bind.
    pub fn is_on(self) -> bool {
        self != Self::Off
    }
}

/// What is known of one subvolume's qgroup. Nothing, if it has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// What it counts.
    pub usage: Option<Usage>,
    /// The limit on what it refers to, bytes.
    pub limit: Option<u64>,
}

/// What is known of the qgroups of all subvolumes.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    // Both in the order of their ids.
    usages: Vec<(u64, Usage)>,
    limits: Vec<(u64, Option<u64>)>,
}

impl Accounts {
    /// That of one subvolume.
    pub fn of(&self, id: u64) -> Account {
        Account {
            usage: value(&self.usages, id),
            limit: value(&self.limits, id).flatten(),
        }
    }

    /// The ids of those that have a qgroup, in order, with what it counts.
    pub fn usages(&self) -> &[(u64, Usage)] {
        &self.usages
    }
}

impl Btrfs {
    /// The kind of quota that binds volumes here: none, where the config says that they are not
    /// used.
    ///
    /// # Errors
    /// Those of [`mode`].
    pub(crate) fn quota_mode(&self) -> Result<Mode> {
        match self.options.quota {
            QuotaUse::Off => Ok(Mode::Off),
            QuotaUse::Auto | QuotaUse::Required => mode(self.location.dir()),
        }
    }

    /// Why the size of a volume does not bind its writer; `None`: it does.
    pub(crate) fn not_enforced(&self, mode: Mode) -> Option<String> {
        let why = match self.options.quota {
            _ if mode.is_on() => return None,
            QuotaUse::Off => "the config says quota: off".to_owned(),
            QuotaUse::Auto | QuotaUse::Required => format!(
                "quotas are off on the btrfs at {:?} (init --quota simple switches them on)",
                self.location.path()
            ),
        };
        Some(format!("size is not enforced: {why}"))
    }

    /// Why no volume can be made: its size has to bind by the config, and does not.
    pub(crate) fn refusal_to_make(&self, mode: Mode) -> Option<String> {
        let why = self.not_enforced(mode)?;
        let has_to = self.options.quota == QuotaUse::Required;
        has_to.then(|| format!("{why}, and the config says quota: required"))
    }

    /// Why a subvolume can have no limit although quotas are on: it is from a time when they were
    /// off, or somebody removed its group.
    pub(crate) fn no_group(&self, id: u64, mode: Mode, account: &Account) -> Option<String> {
        (mode.is_on() && account.usage.is_none()).then(|| {
            format!(
                "size is not enforced: it has no quota group, though quotas are on (btrfs qgroup \
                 create 0/{id} {:?})",
                self.location.path()
            )
        })
    }

    /// What a user should know of the sizes here.
    pub(crate) fn sizes_note(&self, mode: Mode) -> Option<String> {
        match mode {
            Mode::Off => self.not_enforced(mode),
            Mode::Simple => Some(SIMPLE.to_owned()),
            Mode::Full { inconsistent: true } => Some(INCONSISTENT.to_owned()),
            Mode::Full {
                inconsistent: false,
            } => None,
        }
    }
}

/// The value of a key in an ordered list.
fn value<T: Copy>(list: &[(u64, T)], id: u64) -> Option<T> {
    let at = list.binary_search_by_key(&id, |entry| entry.0).ok()?;
    Some(list[at].1)
}

/// Which quotas are on in the file system.
///
/// # Errors
/// `Permission` where there is no sysfs, without CAP_SYS_ADMIN; the kernel's.
pub fn mode(dir: BorrowedFd<'_>) -> Result<Mode> {
    let Some(folder) = folder(dir)? else {
        return mode_by_tree(dir);
    };
    let groups = folder.join("qgroups");
    // A folder that cannot be looked at is not one that is not there: sizes would silently not bind.
    let is_there = groups.try_exists();
    let is_there = is_there.context(|| format!("cannot look at {groups:?}"))?;
    if !is_there || read(&groups, "enabled")?.as_deref() == Some("0") {
        return Ok(Mode::Off);
    }
    if read(&groups, "mode")?.as_deref() == Some("squota") {
        return Ok(Mode::Simple);
    }
    let inconsistent = read(&groups, "inconsistent")?.is_some_and(|text| text != "0");
    Ok(Mode::Full { inconsistent })
}

fn mode_by_tree(dir: BorrowedFd<'_>) -> Result<Mode> {
    let mut flags = None;
    let keys = Key::all(0, BTRFS_QGROUP_STATUS_KEY);
    search::each(dir, QUOTA_TREE, keys, |_, data| {
        flags = items::quota_flags(data);
    })
    .context(|| "cannot tell whether quotas are on without /sys".to_owned())?;
    let has = |flag: u32| flags.is_some_and(|flags| flags & u64::from(flag) != 0);
    Ok(match flags {
        None => Mode::Off,
        Some(_) if has(BTRFS_QGROUP_STATUS_FLAG_SIMPLE_MODE) => Mode::Simple,
        Some(_) => Mode::Full {
            inconsistent: has(BTRFS_QGROUP_STATUS_FLAG_INCONSISTENT),
        },
    })
}

/// What is known of one subvolume's qgroup.
///
/// # Errors
/// `Permission` where there is no sysfs, without CAP_SYS_ADMIN; the kernel's.
pub fn account(dir: BorrowedFd<'_>, id: u64) -> Result<Account> {
    let Some(folder) = folder(dir)? else {
        return account_by_tree(dir, id);
    };
    let group = folder.join(format!("qgroups/0_{id}"));
    let (Some(referenced), Some(exclusive)) =
        (number(&group, "referenced")?, number(&group, "exclusive")?)
    else {
        return Ok(Account::default());
    };
    let flags = number(&group, "limit_flags")?.unwrap_or(0);
    let limit = match flags & u64::from(BTRFS_QGROUP_LIMIT_MAX_RFER) {
        0 => None,
        _ => number(&group, "max_referenced")?,
    };
    Ok(Account {
        usage: Some(Usage {
            referenced,
            exclusive,
        }),
        limit,
    })
}

/// What a subvolume refers to, and besides what was written to it and is in memory only, for which
/// the kernel has set room aside, bytes; `None` where that is not known.
///
/// # Errors
/// Those of [`account`].
pub fn promised(dir: BorrowedFd<'_>, id: u64) -> Result<Option<u64>> {
    let Some(usage) = account(dir, id)?.usage else {
        return Ok(None);
    };
    let in_memory = match folder(dir)? {
        Some(folder) => number(&folder.join(format!("qgroups/0_{id}")), "rsv_data")?,
        None => None,
    };
    Ok(Some(
        usage.referenced.saturating_add(in_memory.unwrap_or(0)),
    ))
}

fn account_by_tree(dir: BorrowedFd<'_>, id: u64) -> Result<Account> {
    let mut account = Account::default();
    for kind in [BTRFS_QGROUP_INFO_KEY, BTRFS_QGROUP_LIMIT_KEY] {
        let key = Key {
            object: 0,
            kind,
            offset: id,
        };
        search::each(dir, QUOTA_TREE, [key, key], |_, data| match kind {
            BTRFS_QGROUP_INFO_KEY => account.usage = Usage::from_item(data),
            _ => account.limit = items::limit(data),
        })
        .context(|| format!("cannot read qgroup 0/{id}"))?;
    }
    Ok(account)
}

/// What is known of the qgroups of all subvolumes, as of the last commit; empty where quotas are
/// off.
///
/// # Errors
/// `Permission` without CAP_SYS_ADMIN; the kernel's.
pub fn accounts(dir: BorrowedFd<'_>) -> Result<Accounts> {
    let mut accounts = Accounts::default();
    let keys = [
        (BTRFS_QGROUP_INFO_KEY, 0),
        (BTRFS_QGROUP_LIMIT_KEY, SECOND_LEVEL - 1),
    ];
    let keys = keys.map(|(kind, offset)| Key {
        object: 0,
        kind,
        offset,
    });
    search::each(dir, QUOTA_TREE, keys, |key, data| match key.kind {
        _ if key.offset >= SECOND_LEVEL => {}
        BTRFS_QGROUP_INFO_KEY => {
            let usage = Usage::from_item(data);
            accounts
                .usages
                .extend(usage.map(|usage| (key.offset, usage)));
        }
        BTRFS_QGROUP_LIMIT_KEY => accounts.limits.push((key.offset, items::limit(data))),
        _ => {}
    })
    .context(|| "cannot read the qgroups".to_owned())?;
    Ok(accounts)
}

/// The file system's folder in sysfs; `None` where that is not mounted.
fn folder(dir: BorrowedFd<'_>) -> Result<Option<PathBuf>> {
    let info = ioctl::fs_info(dir).context(|| "cannot ask the file system".to_owned())?;
    let folder = Uuid::new(info.fsid).map(|fsid| PathBuf::from(format!("/sys/fs/btrfs/{fsid}")));
    Ok(folder.filter(|folder| folder.is_dir()))
}

/// A file of sysfs; `None` if it is not there, as on a kernel that does not have it yet.
fn read(folder: &Path, name: &str) -> Result<Option<String>> {
    let path = folder.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        // ENODEV: it went while it was open.
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(Error::io(error, format!("cannot read {path:?}"))),
    }
}

fn is_gone(error: &io::Error) -> bool {
    const ENODEV: i32 = rustix::io::Errno::NODEV.raw_os_error();
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ENODEV)
}

fn number(folder: &Path, name: &str) -> Result<Option<u64>> {
    Ok(read(folder, name)?.and_then(|text| text.parse().ok()))
}
