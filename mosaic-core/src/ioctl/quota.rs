// SPDX-License-Identifier: MIT OR Apache-2.0
//! Project ids of directories (`FS_IOC_FSSETXATTR`) and their quotas (`quotactl_fd`, Linux 5.14).
//!
//! The quota commands are those of the XFS interface, which all file systems answer that have
//! quotas: ext4 too, through fs/quota/quota.c. They count in units of 512 bytes.

use std::os::fd::{AsRawFd, BorrowedFd};

use linux_raw_sys::general::{FS_XFLAG_PROJINHERIT, fsxattr};
use rustix::io::{Errno, Result};
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

/// `_IOR('X', 31, struct fsxattr)`: uapi/linux/fs.h.
const FS_IOC_FSGETXATTR: Opcode = opcode::read::<fsxattr>(b'X', 31);
/// `_IOW('X', 32, struct fsxattr)`: uapi/linux/fs.h.
const FS_IOC_FSSETXATTR: Opcode = opcode::write::<fsxattr>(b'X', 32);

/// `XQM_CMD(3)`, `XQM_CMD(4)`, `XQM_CMD(8)`: uapi/linux/dqblk_xfs.h.
const Q_XGETQUOTA: u32 = 0x5803;
const Q_XSETQLIM: u32 = 0x5804;
const Q_XGETQSTATV: u32 = 0x5808;
/// `PRJQUOTA`: uapi/linux/quota.h.
const PRJQUOTA: u32 = 2;
/// `FS_QSTATV_VERSION1`: uapi/linux/dqblk_xfs.h.
const FS_QSTATV_VERSION1: i8 = 1;
/// Project quotas are counted, and enforced: uapi/linux/dqblk_xfs.h.
const FS_QUOTA_PDQ_ACCT: u16 = 1 << 4;
const FS_QUOTA_PDQ_ENFD: u16 = 1 << 5;
/// `FS_DQUOT_VERSION`, `FS_PROJ_QUOTA`, `FS_DQ_BSOFT`, `FS_DQ_BHARD`: uapi/linux/dqblk_xfs.h.
const FS_DQUOT_VERSION: i8 = 1;
const FS_PROJ_QUOTA: i8 = 1 << 1;
const FS_DQ_BSOFT: u16 = 1 << 2;
const FS_DQ_BHARD: u16 = 1 << 3;

/// `struct fs_disk_quota`: uapi/linux/dqblk_xfs.h. Blocks are 512 bytes each.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct DiskQuota {
    version: i8,
    flags: i8,
    fields: u16,
    id: u32,
    /// Most blocks; 0: no limit.
    pub block_hard_limit: u64,
    /// Blocks beyond which a grace period runs; 0: no limit.
    pub block_soft_limit: u64,
    /// Most inodes; 0: no limit.
    pub inode_hard_limit: u64,
    /// Inodes beyond which a grace period runs; 0: no limit.
    pub inode_soft_limit: u64,
    /// Blocks in use.
    pub blocks: u64,
    /// Inodes in use.
    pub inodes: u64,
    timers: [i32; 2],
    warnings: [u16; 2],
    timers_high: [i8; 4],
    realtime: [u64; 3],
    realtime_timer: i32,
    realtime_warnings: u16,
    padding: [u8; 10],
}
const _: () = assert!(size_of::<DiskQuota>() == 112);

/// `struct fs_quota_statv`: uapi/linux/dqblk_xfs.h.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct QuotaState {
    version: i8,
    pad: u8,
    flags: u16,
    in_core: u32,
    files: [[u64; 3]; 3],
    time_limits: [i32; 3],
    warning_limits: [u16; 4],
    pad_4: u32,
    pad_8: [u64; 7],
}
const _: () = assert!(size_of::<QuotaState>() == 160);

/// How far project quotas go on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProjectQuotaState {
    /// None, or switched off.
    Off,
    /// Counted without consequence.
    Counted,
    /// Binding.
    Enforced,
}

/// What a directory says of its project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Project {
    /// The project's id; 0: none.
    pub id: u32,
    /// What is made in the directory belongs to the project too.
    pub inherited: bool,
}

/// The project of a directory. `ENOTTY` or `EOPNOTSUPP` where the file system has no projects.
pub(crate) fn project(dir: BorrowedFd<'_>) -> Result<Project> {
    let attributes = attributes(dir)?;
    Ok(Project {
        id: attributes.fsx_projid,
        inherited: attributes.fsx_xflags & FS_XFLAG_PROJINHERIT != 0,
    })
}

/// Puts a directory, and what will be made in it, into a project.
pub(crate) fn set_project(dir: BorrowedFd<'_>, id: u32) -> Result<()> {
    let mut attributes = attributes(dir)?;
    attributes.fsx_projid = id;
    attributes.fsx_xflags |= FS_XFLAG_PROJINHERIT;
    // SAFETY: the opcode takes a pointer to one fsxattr, which Setter holds; the kernel reads it.
    unsafe { ioctl(dir, Setter::<FS_IOC_FSSETXATTR, _>::new(attributes)) }
}

fn attributes(dir: BorrowedFd<'_>) -> Result<fsxattr> {
    // SAFETY: the opcode fills one fsxattr, plain numbers, to which Getter gives the pointer.
    unsafe { ioctl(dir, Getter::<FS_IOC_FSGETXATTR, fsxattr>::new()) }
}

/// Whether the file system of an open file enforces project quotas. Needs no privilege.
pub(crate) fn project_quota_state(file: BorrowedFd<'_>) -> Result<ProjectQuotaState> {
    let mut state = QuotaState {
        version: FS_QSTATV_VERSION1,
        ..QuotaState::default()
    };
    // SAFETY: Q_XGETQSTATV fills one fs_quota_statv of the version given in it.
    match unsafe { quotactl_fd(file, Q_XGETQSTATV, 0, &mut state) } {
        // No quota of any type is on, or the file system has none at all (quotactl(2)).
        Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => Ok(ProjectQuotaState::Off),
        Err(errno) => Err(errno),
        Ok(()) if state.flags & FS_QUOTA_PDQ_ENFD != 0 => Ok(ProjectQuotaState::Enforced),
        Ok(()) if state.flags & FS_QUOTA_PDQ_ACCT != 0 => Ok(ProjectQuotaState::Counted),
        Ok(()) => Ok(ProjectQuotaState::Off),
    }
}

/// Limits and usage of a project on the file system of an open file; all 0 for an unknown project.
/// Needs `CAP_SYS_ADMIN`, else `EPERM`.
pub(crate) fn project_quota(file: BorrowedFd<'_>, id: u32) -> Result<DiskQuota> {
    let mut quota = DiskQuota::default();
    // SAFETY: Q_XGETQUOTA fills one fs_disk_quota.
    match unsafe { quotactl_fd(file, Q_XGETQUOTA, id, &mut quota) } {
        Err(Errno::NOENT) => Ok(DiskQuota::default()),
        other => other.map(|()| quota),
    }
}

/// Limits a project to so many blocks of 512 bytes; 0: no limit. Needs `CAP_SYS_ADMIN`.
pub(crate) fn set_project_limit(file: BorrowedFd<'_>, id: u32, blocks: u64) -> Result<()> {
    let mut quota = DiskQuota {
        version: FS_DQUOT_VERSION,
        flags: FS_PROJ_QUOTA,
        fields: FS_DQ_BHARD | FS_DQ_BSOFT,
        id,
        block_hard_limit: blocks,
        ..DiskQuota::default()
    };
    // SAFETY: Q_XSETQLIM reads one fs_disk_quota.
    unsafe { quotactl_fd(file, Q_XSETQLIM, id, &mut quota) }
}

/// `quotactl_fd(fd, QCMD(command, PRJQUOTA), id, argument)`.
///
/// # Safety
/// `T` must be what the command reads or fills, and any bytes in it must be a value of it.
unsafe fn quotactl_fd<T>(
    file: BorrowedFd<'_>,
    command: u32,
    id: u32,
    argument: &mut T,
) -> Result<()> {
    let command = (command << 8) | PRJQUOTA;
    // SAFETY: the descriptor is open, the pointer valid for reads and writes of a T, which is what
    // the kernel takes it for by the caller's promise.
    let status = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            file.as_raw_fd(),
            command,
            id,
            std::ptr::from_mut(argument),
        )
    };
    if status == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_headers() {
        assert_eq!(FS_IOC_FSGETXATTR, linux_raw_sys::ioctl::FS_IOC_FSGETXATTR);
        assert_eq!(FS_IOC_FSSETXATTR, linux_raw_sys::ioctl::FS_IOC_FSSETXATTR);
        assert_eq!(Q_XGETQUOTA, (u32::from(b'X') << 8) + 3);
        assert_eq!(std::mem::offset_of!(DiskQuota, block_hard_limit), 8);
        assert_eq!(std::mem::offset_of!(DiskQuota, blocks), 40);
        assert_eq!(std::mem::offset_of!(DiskQuota, realtime), 72);
        assert_eq!(std::mem::offset_of!(QuotaState, flags), 2);
    }
}
