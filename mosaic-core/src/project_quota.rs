// SPDX-License-Identifier: MIT OR Apache-2.0
//! The size of a directory, bound by project quota: ext4 with the `project` feature and xfs, both
//! mounted with `prjquota`.
//!
//! A directory gets a project of its own, whose id is the directory's inode number: no second book
//! says which id is whose, and no two directories of a file system can have the same. What is made
//! in the directory inherits the project. The kernel lets nothing be moved **into** such a directory
//! from another project (`EXDEV`), but out of it: so a volume is made outside and renamed to its
//! name, and renamed away when it is dropped, as long as the location itself is in no project.
//!
//! Order, for a kill between any two steps: the directory gets its project first, the limit comes
//! second; and [`clear`] takes the limit away before the directory goes. So a limit never outlives
//! the directory that tells whose it is.
//!
//! On ext4 the limit does not bind processes with `CAP_SYS_RESOURCE` (quota_v2 in fs/quota/dquot.c).

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{Dir, fstat, fstatfs};
use rustix::io::Errno;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::ioctl::quota::{self, ProjectQuotaState};
use crate::location::Location;
use crate::size::{Bytes, SECTOR};

/// The limit of a directory, and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Its limit; `None`: there is none.
    pub limit: Option<Bytes>,
    /// What all in it takes.
    pub used: Bytes,
}

/// Whether sizes of directories in a location can be bound here, by this process.
///
/// # Errors
/// `Unsupported`, with the reason; the kernel's.
pub fn support(location: &Location) -> Result<()> {
    let (dir, path) = (location.dir(), location.path());
    match quota::project_quota_state(dir) {
        Ok(ProjectQuotaState::Enforced) => {}
        Ok(state) => return Err(off(dir, path, state)),
        Err(errno) => {
            return Err(Error::io(
                errno,
                format!("cannot ask for quotas of {path:?}"),
            ));
        }
    }
    let project = quota::project(dir).context(|| format!("cannot read the project of {path:?}"))?;
    if project.inherited {
        let why = format!(
            "{path:?} belongs as a whole to project {}; sizes of its own directories need a location outside of any project",
            project.id
        );
        return Err(not_enforced(&why));
    }
    match quota::project_quota(dir, 0) {
        Err(Errno::PERM) => Err(privilege()),
        other => other
            .map(drop)
            .context(|| format!("cannot read quotas of {path:?}")),
    }
}

/// Whether the size of this directory can be bound.
///
/// # Errors
/// `Unsupported`, with the reason; the kernel's.
pub fn can_limit(location: &Location, dir: impl AsFd) -> Result<()> {
    support(location)?;
    let dir = dir.as_fd();
    if is_own_project(dir, own_id(dir)?)? || is_empty(dir)? {
        return Ok(());
    }
    Err(no_project())
}

/// Binds the size of a directory in the location: of an empty one, which gets a project of its own,
/// or of one that has it.
///
/// # Errors
/// `Unsupported`, with the reason; `Busy` if the id is somebody's already; `NoSpace` if more is in
/// it; the kernel's.
pub fn set_limit(location: &Location, dir: impl AsFd, size: Bytes) -> Result<()> {
    support(location)?;
    let dir = dir.as_fd();
    let id = own_id(dir)?;
    let found = quota::project_quota(dir, id).context(|| reading(id))?;
    if !is_own_project(dir, id)? {
        check_adoption(dir, id, &found)?;
        quota::set_project(dir, id).context(|| format!("cannot set project id {id}"))?;
    } else if found.blocks > size.0 / SECTOR {
        let held = Bytes(found.blocks * SECTOR);
        let why = format!("{held} are in it, more than {size}");
        return Err(Error::new(ErrorKind::NoSpace, why));
    }
    // 0 would be no limit.
    let limit = (size.0 / SECTOR).max(1);
    quota::set_project_limit(dir, id, limit)
        .context(|| format!("cannot set the quota of project id {id}"))
}

/// The limit of a directory in the location that has a project of its own, and what is in it.
///
/// # Errors
/// `Unsupported`, with the reason; the kernel's.
pub fn usage(location: &Location, dir: impl AsFd) -> Result<Usage> {
    support(location)?;
    let dir = dir.as_fd();
    let id = own_id(dir)?;
    if !is_own_project(dir, id)? {
        return Err(no_project());
    }
    let found = quota::project_quota(dir, id).context(|| reading(id))?;
    let limit = (found.block_hard_limit != 0).then(|| blocks(found.block_hard_limit));
    Ok(Usage {
        limit,
        used: blocks(found.blocks),
    })
}

/// Takes the limit of a directory away, which is to be removed next. None is success.
///
/// # Errors
/// The kernel's.
pub fn clear(dir: impl AsFd) -> Result<()> {
    let dir = dir.as_fd();
    let Ok(id) = own_id(dir) else {
        return Ok(());
    };
    if !is_own_project(dir, id)? || quota::project_quota_state(dir) == Ok(ProjectQuotaState::Off) {
        return Ok(());
    }
    quota::set_project_limit(dir, id, 0)
        .context(|| format!("cannot take away the quota of project id {id}"))
}

/// The id that a project of the directory's own has.
fn own_id(dir: BorrowedFd<'_>) -> Result<u32> {
    let inode = fstat(dir)
        .context(|| "cannot read the inode number".to_owned())?
        .st_ino;
    // (projid_t)-1 is no id: include/linux/projid.h.
    match u32::try_from(inode) {
        Ok(id) if id != 0 && id != u32::MAX => Ok(id),
        _ => Err(not_enforced(&format!(
            "inode number {inode} is not possible as a project id, which has 32 bits"
        ))),
    }
}

fn is_own_project(dir: BorrowedFd<'_>, id: u32) -> Result<bool> {
    match quota::project(dir) {
        Ok(project) => Ok(project.inherited && project.id == id),
        Err(Errno::NOTTY | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(Error::io(errno, "cannot read the project id")),
    }
}

/// Whether a directory can be given the project `id`: nothing that would have to be put into it is
/// in the directory yet, and nobody else has the id.
fn check_adoption(dir: BorrowedFd<'_>, id: u32, found: &quota::DiskQuota) -> Result<()> {
    if !is_empty(dir)? {
        return Err(no_project());
    }
    let limits = [
        found.block_hard_limit,
        found.block_soft_limit,
        found.inode_hard_limit,
        found.inode_soft_limit,
    ];
    if found.blocks != 0 || found.inodes != 0 || limits != [0; 4] {
        return Err(Error::new(
            ErrorKind::Busy,
            format!(
                "project id {id}, the directory's inode number, is somebody's already; if it is a leftover, `setquota -P {id} 0 0 0 0 MOUNTPOINT` frees it"
            ),
        ));
    }
    Ok(())
}

fn is_empty(dir: BorrowedFd<'_>) -> Result<bool> {
    let mut entries = Dir::read_from(dir).context(|| "cannot read the directory".to_owned())?;
    let is_named = |name: &[u8]| name != b"." && name != b"..";
    Ok(!entries.any(|e| e.is_ok_and(|e| is_named(e.file_name().to_bytes()))))
}

fn blocks(count: u64) -> Bytes {
    Bytes(count.saturating_mul(SECTOR))
}

fn reading(id: u32) -> String {
    format!("cannot read the quota of project id {id}")
}

/// The one beginning of all refusals: for `new`, `info` and `resize` alike.
fn not_enforced(why: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("size is not enforced: {why}"),
    )
}

fn no_project() -> Error {
    not_enforced("it was made without a project quota, and what is in it counts for none")
}

fn privilege() -> Error {
    not_enforced("project quotas are root's to read and to set")
}

/// Says how quotas could be had here.
fn off(dir: BorrowedFd<'_>, path: &Path, state: ProjectQuotaState) -> Error {
    /// `EXT4_SUPER_MAGIC` and `XFS_SUPER_MAGIC`: uapi/linux/magic.h.
    const EXT4: i64 = 0xef53;
    const XFS: i64 = 0x5846_5342;
    let magic = fstatfs(dir).map(|stat| stat.f_type);
    let why = match (magic, state) {
        (Ok(EXT4), _) => format!(
            "ext4 at {path:?} has project quotas off (tune2fs -O project -Q prjquota, then mount -o prjquota)"
        ),
        (Ok(XFS), ProjectQuotaState::Counted) => format!(
            "xfs at {path:?} counts project quotas without enforcing them (mount -o prjquota)"
        ),
        (Ok(XFS), _) => format!("xfs at {path:?} has project quotas off (mount -o prjquota)"),
        _ => format!("the file system at {path:?} has no project quotas (ext4 and xfs can)"),
    };
    not_enforced(&why)
}
