// SPDX-License-Identifier: MIT OR Apache-2.0
//! The btrfs driver's ioctls: only here and in the files beneath is `unsafe`. No policy.
//!
//! Structs and numbers are those of include/uapi/linux/btrfs.h (Linux 6.18). What is younger than
//! Linux 5.12, which Mosaic needs anyway, says so.

#![allow(unsafe_code, reason = "ioctl(2) has no safe form")]

mod drop;

use std::ffi::c_void;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use linux_raw_sys::btrfs::{
    BTRFS_FS_INFO_FLAG_GENERATION, BTRFS_QGROUP_INHERIT_SET_LIMITS, BTRFS_QGROUP_LIMIT_MAX_RFER,
    BTRFS_QUOTA_CTL_ENABLE, BTRFS_QUOTA_CTL_ENABLE_SIMPLE_QUOTA, BTRFS_SUBVOL_QGROUP_INHERIT,
    BTRFS_SUBVOL_RDONLY, btrfs_ioctl_dev_info_args, btrfs_ioctl_fs_info_args,
    btrfs_ioctl_get_dev_stats, btrfs_ioctl_get_subvol_info_args,
    btrfs_ioctl_get_subvol_rootref_args, btrfs_ioctl_ino_lookup_args,
    btrfs_ioctl_ino_lookup_user_args, btrfs_ioctl_qgroup_create_args,
    btrfs_ioctl_qgroup_limit_args, btrfs_ioctl_quota_ctl_args, btrfs_ioctl_search_key,
    btrfs_ioctl_space_info, btrfs_ioctl_vol_args_v2, btrfs_qgroup_inherit, btrfs_qgroup_limit,
};
use linux_raw_sys::ioctl::{
    BTRFS_IOC_DEV_INFO, BTRFS_IOC_FS_INFO, BTRFS_IOC_GET_DEV_STATS, BTRFS_IOC_GET_SUBVOL_INFO,
    BTRFS_IOC_GET_SUBVOL_ROOTREF, BTRFS_IOC_INO_LOOKUP, BTRFS_IOC_INO_LOOKUP_USER,
    BTRFS_IOC_QGROUP_CREATE, BTRFS_IOC_QGROUP_LIMIT, BTRFS_IOC_QUOTA_CTL, BTRFS_IOC_SNAP_CREATE_V2,
    BTRFS_IOC_SNAP_DESTROY_V2, BTRFS_IOC_SPACE_INFO, BTRFS_IOC_SUBVOL_CREATE_V2,
    BTRFS_IOC_SUBVOL_GETFLAGS, BTRFS_IOC_SUBVOL_SETFLAGS, BTRFS_IOC_SYNC, BTRFS_IOC_TREE_SEARCH_V2,
};
use rustix::io::{Errno, Result};
use rustix::ioctl::{Getter, Ioctl, IoctlOutput, NoArg, Opcode, Setter, Updater, ioctl};

pub use drop::{await_cleaned, open_directory};

/// Inode of the root directory of every subvolume, `BTRFS_FIRST_FREE_OBJECTID`.
pub const ROOT_INODE: u64 = 256;

/// Where the last field of `btrfs_ioctl_vol_args_v2` begins, a name, and where it ends.
const ARGS_HEAD: usize = offset_of!(btrfs_ioctl_vol_args_v2, __bindgen_anon_2);
const ARGS: usize = size_of::<btrfs_ioctl_vol_args_v2>();
/// Where the items begin in what [`tree_search`] fills: the buffer of `btrfs_ioctl_search_args_v2`,
/// whose length stands before it.
pub const SEARCH_HEAD: usize = size_of::<btrfs_ioctl_search_key>() + 8;
/// Where the array of `btrfs_ioctl_space_args` begins, and its entries' size.
const SPACE_HEAD: usize = 16;
const SPACE: usize = size_of::<btrfs_ioctl_space_info>();

/// An ioctl on a struct that ends in an array, or holds a union: its bytes.
struct Raw<'b> {
    opcode: u32,
    bytes: &'b mut [u8],
}

// SAFETY: the kernel reads and writes the struct that the opcode names, and for those with a buffer
// at their end as much more as the struct itself says. Every caller in this file makes `bytes` that
// long before the call. The kernel copies to and from any address, aligned or not.
unsafe impl Ioctl for Raw<'_> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode as Opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.bytes.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> Result<()> {
        Ok(())
    }
}

/// Puts a number where a struct has a field.
fn put(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_ne_bytes());
}

/// The number that stands in a field.
fn number(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(field)
}

/// A struct of the header with all its bytes 0.
///
/// # Safety
/// `T` is a C struct of integers and arrays of them.
unsafe fn zeroed<T>() -> T {
    // SAFETY: the caller promises that all zeroes are a valid T.
    unsafe { std::mem::zeroed() }
}

/// A limit on the bytes that a subvolume refers to.
fn limit_of(max_rfer: Option<u64>) -> btrfs_qgroup_limit {
    btrfs_qgroup_limit {
        flags: u64::from(BTRFS_QGROUP_LIMIT_MAX_RFER),
        // CLEAR_VALUE of fs/btrfs/qgroup.c (Linux 4.1): takes the limit away.
        max_rfer: max_rfer.unwrap_or(u64::MAX),
        max_excl: 0,
        rsv_rfer: 0,
        rsv_excl: 0,
    }
}

/// What the qgroup of a new subvolume begins with.
///
/// A subvolume that is made without gets, with simple quotas, the groups of the one that it is made
/// in; with it only those named here (fs/btrfs/qgroup.c `btrfs_qgroup_inherit`, Linux 6.7).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inherit {
    /// The most bytes that the subvolume may refer to; `None`: this says nothing of it.
    pub limit: Option<u64>,
    /// Groups of a higher level that it becomes a member of. They exist.
    pub groups: Vec<u64>,
}

impl Inherit {
    /// The bytes of a `btrfs_qgroup_inherit`, which ends in the array of groups.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<btrfs_qgroup_inherit>()];
        if let Some(limit) = self.limit {
            let at = offset_of!(btrfs_qgroup_inherit, lim);
            put(&mut bytes, 0, u64::from(BTRFS_QGROUP_INHERIT_SET_LIMITS));
            let limits = at + offset_of!(btrfs_qgroup_limit, flags);
            put(&mut bytes, limits, u64::from(BTRFS_QGROUP_LIMIT_MAX_RFER));
            let most = at + offset_of!(btrfs_qgroup_limit, max_rfer);
            put(&mut bytes, most, limit);
        }
        let number = offset_of!(btrfs_qgroup_inherit, num_qgroups);
        put(&mut bytes, number, self.groups.len() as u64);
        bytes.extend(self.groups.iter().flat_map(|group| group.to_ne_bytes()));
        bytes
    }
}

/// Runs an ioctl on `btrfs_ioctl_vol_args_v2`.
fn volume_ioctl(
    dir: BorrowedFd<'_>,
    opcode: u32,
    fd: i64,
    flags: u64,
    inherit: Option<&Inherit>,
    name: &[u8],
) -> Result<()> {
    let inherit = inherit.map(Inherit::to_bytes);
    let mut args = [0_u8; ARGS];
    put(&mut args, 0, fd.cast_unsigned());
    put(&mut args, 16, flags);
    if let Some(inherit) = &inherit {
        let flags = flags | u64::from(BTRFS_SUBVOL_QGROUP_INHERIT);
        put(&mut args, 16, flags);
        put(&mut args, 24, inherit.len() as u64);
        put(&mut args, 32, inherit.as_ptr().expose_provenance() as u64);
    }
    let room = ARGS - ARGS_HEAD;
    if name.is_empty() || name.len() >= room || name.contains(&0) {
        return Err(Errno::INVAL);
    }
    args[ARGS_HEAD..][..name.len()].copy_from_slice(name);
    let bytes = &mut args;
    // SAFETY: `args` is one btrfs_ioctl_vol_args_v2, with a name that ends in 0; `inherit`, whose
    // address is in it, lives until after the call, and the kernel reads as many bytes of it as the
    // field `size` says.
    unsafe { ioctl(dir, Raw { opcode, bytes }) }
}

/// Makes a subvolume in `folder`; what it inherits holds from the transaction on that makes it,
/// where quotas are on; where they are off that is ignored.
///
/// # Errors
/// `EEXIST`; `ENOENT` if the folder was removed; `EINVAL` for a group that is not there; the
/// kernel's.
pub fn create(
    folder: BorrowedFd<'_>,
    name: impl AsRef<[u8]>,
    inherit: Option<&Inherit>,
) -> Result<()> {
    let name = name.as_ref();
    volume_ioctl(folder, BTRFS_IOC_SUBVOL_CREATE_V2, 0, 0, inherit, name)
}

/// Makes a snapshot of `source` in `folder`, and commits. What it inherits is as for [`create`]; but
/// with full quotas the limit is that of the source, whatever is said here.
///
/// # Errors
/// `EXDEV` if they are on different file systems; `EEXIST`; `ENOENT`; `ETXTBSY` if a swap file in it
/// is in use; `EPERM` if it is neither the caller's nor has the caller privilege; the kernel's.
pub fn snapshot(
    folder: BorrowedFd<'_>,
    name: impl AsRef<[u8]>,
    source: BorrowedFd<'_>,
    read_only: bool,
    inherit: Option<&Inherit>,
) -> Result<()> {
    let flags = match read_only {
        true => u64::from(BTRFS_SUBVOL_RDONLY),
        false => 0,
    };
    let (opcode, fd) = (BTRFS_IOC_SNAP_CREATE_V2, i64::from(source.as_raw_fd()));
    let name = name.as_ref();
    volume_ioctl(folder, opcode, fd, flags, inherit, name)
}

/// Removes the subvolume that has this name in `folder` (Linux 5.7 for this form).
///
/// # Errors
/// `ENOTEMPTY` if it holds subvolumes; `EPERM` without privilege, if it is the default subvolume, is
/// being sent or holds an active swap file; the kernel's.
pub fn destroy(folder: BorrowedFd<'_>, name: impl AsRef<[u8]>) -> Result<()> {
    let name = name.as_ref();
    volume_ioctl(folder, BTRFS_IOC_SNAP_DESTROY_V2, 0, 0, None, name)
}

/// Whether the subvolume refuses writes.
///
/// # Errors
/// `EINVAL` if `dir` is no root of a subvolume; the kernel's.
pub fn is_read_only(dir: impl AsFd) -> Result<bool> {
    Ok(flags(dir.as_fd())? & u64::from(BTRFS_SUBVOL_RDONLY) != 0)
}

/// Makes the subvolume refuse writes, or accept them.
///
/// # Errors
/// `EPERM` while it is being sent, or not ours; the kernel's.
pub fn set_read_only(dir: impl AsFd, read_only: bool) -> Result<()> {
    let flag = u64::from(BTRFS_SUBVOL_RDONLY);
    let others = flags(dir.as_fd())? & !flag;
    let flags = others | if read_only { flag } else { 0 };
    // SAFETY: BTRFS_IOC_SUBVOL_SETFLAGS reads one u64.
    unsafe {
        ioctl(
            dir,
            Setter::<{ BTRFS_IOC_SUBVOL_SETFLAGS as Opcode }, u64>::new(flags),
        )
    }
}

fn flags(dir: BorrowedFd<'_>) -> Result<u64> {
    // SAFETY: BTRFS_IOC_SUBVOL_GETFLAGS fills one u64.
    unsafe {
        ioctl(
            dir,
            Getter::<{ BTRFS_IOC_SUBVOL_GETFLAGS as Opcode }, u64>::new(),
        )
    }
}

/// What the file system says of the subvolume that `dir` is in (Linux 4.18, without privilege).
///
/// # Errors
/// The kernel's.
pub fn subvolume_info(dir: impl AsFd) -> Result<btrfs_ioctl_get_subvol_info_args> {
    // SAFETY: the struct is integers.
    let mut args: btrfs_ioctl_get_subvol_info_args = unsafe { zeroed() };
    // SAFETY: BTRFS_IOC_GET_SUBVOL_INFO fills one such struct.
    unsafe {
        ioctl(
            dir,
            Updater::<{ BTRFS_IOC_GET_SUBVOL_INFO as Opcode }, _>::new(&mut args),
        )
    }?;
    Ok(args)
}

/// The subvolumes right within the subvolume whose root is `dir`, from the id `least` on: id and
/// inode of the directory that each is in; and whether there are more (Linux 4.18, without
/// privilege).
///
/// # Errors
/// The kernel's.
pub fn subvolumes_within(dir: impl AsFd, least: u64) -> Result<(Vec<(u64, u64)>, bool)> {
    // SAFETY: the struct is integers.
    let mut args: btrfs_ioctl_get_subvol_rootref_args = unsafe { zeroed() };
    args.min_treeid = least;
    // SAFETY: BTRFS_IOC_GET_SUBVOL_ROOTREF reads and fills one such struct.
    let asked = unsafe {
        ioctl(
            dir,
            Updater::<{ BTRFS_IOC_GET_SUBVOL_ROOTREF as Opcode }, _>::new(&mut args),
        )
    };
    let more = match asked {
        Ok(()) => false,
        Err(Errno::OVERFLOW) => true,
        Err(errno) => return Err(errno),
    };
    let found = args.rootref.iter().take(usize::from(args.num_items));
    Ok((found.map(|r| (r.treeid, r.dirid)).collect(), more))
}

/// The id of the subvolume that `dir` is in, without privilege (include/uapi/linux/btrfs.h: `treeid`
/// 0 with the root's own inode).
///
/// # Errors
/// `ENOTTY` if it is on no btrfs; the kernel's.
pub fn subvolume_id(dir: impl AsFd) -> Result<u64> {
    Ok(look_up(dir.as_fd(), 0, ROOT_INODE)?.treeid)
}

/// The path of the directory `inode` of a subvolume from that one's root on: empty, or with a `/` at
/// its end. Needs CAP_SYS_ADMIN.
///
/// # Errors
/// `EPERM`; `ENOENT` if there is no such subvolume or directory; `ENAMETOOLONG`; the kernel's.
pub fn path_in_tree(dir: impl AsFd, subvolume: u64, inode: u64) -> Result<Vec<u8>> {
    Ok(text(&look_up(dir.as_fd(), subvolume, inode)?.name))
}

fn look_up(dir: BorrowedFd<'_>, tree: u64, inode: u64) -> Result<btrfs_ioctl_ino_lookup_args> {
    // SAFETY: the struct is integers.
    let mut args: btrfs_ioctl_ino_lookup_args = unsafe { zeroed() };
    args.treeid = tree;
    args.objectid = inode;
    // SAFETY: BTRFS_IOC_INO_LOOKUP reads and fills one such struct.
    unsafe {
        ioctl(
            dir,
            Updater::<{ BTRFS_IOC_INO_LOOKUP as Opcode }, _>::new(&mut args),
        )
    }?;
    Ok(args)
}

/// The name of subvolume `id` and the path of the directory `dir_inode` that it is in, seen from
/// `dir` (Linux 4.18, without privilege where all on the way may be entered). The path is empty, or
/// ends in `/`.
///
/// # Errors
/// `EACCES`; `ENOENT` if it is not there any more; the kernel's.
pub fn path_within(dir: impl AsFd, id: u64, dir_inode: u64) -> Result<(Vec<u8>, Vec<u8>)> {
    // SAFETY: the struct is integers.
    let mut args: btrfs_ioctl_ino_lookup_user_args = unsafe { zeroed() };
    args.dirid = dir_inode;
    args.treeid = id;
    // SAFETY: BTRFS_IOC_INO_LOOKUP_USER reads and fills one such struct.
    unsafe {
        ioctl(
            dir,
            Updater::<{ BTRFS_IOC_INO_LOOKUP_USER as Opcode }, _>::new(&mut args),
        )
    }?;
    Ok((text(&args.name), text(&args.path)))
}

/// The bytes of a C string in an array.
fn text(chars: &[std::ffi::c_char]) -> Vec<u8> {
    let bytes = chars.iter().map(|c| c.to_ne_bytes()[0]);
    bytes.take_while(|byte| *byte != 0).collect()
}

/// Items of one of the file system's trees, as many as fit into `buffer` after its first
/// [`SEARCH_HEAD`] bytes, in which this writes what is asked for; the kernel takes at most 16 MiB.
/// There each one's header and data follow in turn. Gives their number. Needs CAP_SYS_ADMIN.
///
/// # Errors
/// `EPERM`; `ENOENT` if there is no such tree; `EOVERFLOW` if not even one item fits.
pub fn tree_search(dir: impl AsFd, key: btrfs_ioctl_search_key, buffer: &mut [u8]) -> Result<u32> {
    let Some(room) = buffer.len().checked_sub(SEARCH_HEAD) else {
        return Err(Errno::OVERFLOW);
    };
    // SAFETY: a btrfs_ioctl_search_key is integers without padding, and `buffer` has room for one.
    unsafe {
        buffer
            .as_mut_ptr()
            .cast::<btrfs_ioctl_search_key>()
            .write_unaligned(key)
    };
    put(buffer, SEARCH_HEAD - 8, room as u64);
    let opcode = BTRFS_IOC_TREE_SEARCH_V2;
    let bytes = &mut *buffer;
    // SAFETY: `bytes` is one btrfs_ioctl_search_args_v2 with a buffer of `buf_size` bytes.
    unsafe { ioctl(dir, Raw { opcode, bytes }) }?;
    let at = offset_of!(btrfs_ioctl_search_key, nr_items);
    let mut found = [0; 4];
    found.copy_from_slice(&buffer[at..at + 4]);
    Ok(u32::from_ne_bytes(found))
}

/// Writes out all that is in memory for this file system, and commits (`BTRFS_IOC_SYNC`). Wakes the
/// thread that cleans dropped subvolumes.
///
/// # Errors
/// What the commit failed with.
pub fn sync(dir: impl AsFd) -> Result<()> {
    // SAFETY: BTRFS_IOC_SYNC takes no argument.
    unsafe { ioctl(dir, NoArg::<{ BTRFS_IOC_SYNC as Opcode }>::new()) }
}

/// The file system as a whole, with its generation (Linux 5.10 for that).
///
/// # Errors
/// `ENOTTY` if it is no btrfs; the kernel's.
pub fn fs_info(dir: impl AsFd) -> Result<btrfs_ioctl_fs_info_args> {
    // SAFETY: the struct is integers.
    let mut args: btrfs_ioctl_fs_info_args = unsafe { zeroed() };
    args.flags = u64::from(BTRFS_FS_INFO_FLAG_GENERATION);
    // SAFETY: BTRFS_IOC_FS_INFO reads and fills one such struct.
    unsafe {
        ioctl(
            dir,
            Updater::<{ BTRFS_IOC_FS_INFO as Opcode }, _>::new(&mut args),
        )
    }?;
    Ok(args)
}

/// A device of the file system by its number.
///
/// # Errors
/// `ENODEV` if there is none of that number; the kernel's.
pub fn device_info(dir: impl AsFd, device: u64) -> Result<btrfs_ioctl_dev_info_args> {
    // SAFETY: the struct is integers.
    let mut args: btrfs_ioctl_dev_info_args = unsafe { zeroed() };
    args.devid = device;
    // SAFETY: BTRFS_IOC_DEV_INFO reads and fills one such struct.
    unsafe {
        ioctl(
            dir,
            Updater::<{ BTRFS_IOC_DEV_INFO as Opcode }, _>::new(&mut args),
        )
    }?;
    Ok(args)
}

/// The error counters of a device: writes, reads, flushes, corruptions, generations.
///
/// # Errors
/// `ENODEV` if there is none of that number; the kernel's.
pub fn device_errors(dir: impl AsFd, device: u64) -> Result<[u64; 5]> {
    // SAFETY: the struct is integers.
    let mut args: btrfs_ioctl_get_dev_stats = unsafe { zeroed() };
    args.devid = device;
    args.nr_items = 5;
    // SAFETY: BTRFS_IOC_GET_DEV_STATS reads and fills one such struct.
    unsafe {
        ioctl(
            dir,
            Updater::<{ BTRFS_IOC_GET_DEV_STATS as Opcode }, _>::new(&mut args),
        )
    }?;
    Ok(args.values)
}

/// How much each class of block groups has allocated and uses, bytes, without the copies of a
/// profile.
///
/// # Errors
/// The kernel's.
pub fn space_info(dir: impl AsFd) -> Result<Vec<btrfs_ioctl_space_info>> {
    let mut slots = 16;
    loop {
        let mut bytes = vec![0; SPACE_HEAD + slots * SPACE];
        put(&mut bytes, 0, slots as u64);
        let (opcode, all) = (BTRFS_IOC_SPACE_INFO, bytes.as_mut_slice());
        // SAFETY: `bytes` is one btrfs_ioctl_space_args with room for `space_slots` entries.
        unsafe { ioctl(&dir, Raw { opcode, bytes: all }) }?;
        let total = usize::try_from(number(&bytes, 8)).unwrap_or(slots);
        // With all slots taken there may be more: the kernel says how many it has filled in.
        if total < slots {
            let spaces = bytes[SPACE_HEAD..].chunks_exact(SPACE).take(total);
            return Ok(spaces
                .map(|space| btrfs_ioctl_space_info {
                    flags: number(space, 0),
                    total_bytes: number(space, 8),
                    used_bytes: number(space, 16),
                })
                .collect());
        }
        slots *= 2;
    }
}

/// Switches quotas on: simple ones (Linux 6.7), or full qgroups, which count all that is there in
/// the background.
///
/// # Errors
/// `EPERM`; `EINVAL` for simple ones on an older kernel; the kernel's. Full ones where full ones are
/// on is fine.
pub fn enable_quotas(dir: impl AsFd, simple: bool) -> Result<()> {
    let cmd = match simple {
        true => BTRFS_QUOTA_CTL_ENABLE_SIMPLE_QUOTA,
        false => BTRFS_QUOTA_CTL_ENABLE,
    };
    let mut args = btrfs_ioctl_quota_ctl_args {
        cmd: u64::from(cmd),
        status: 0,
    };
    // SAFETY: BTRFS_IOC_QUOTA_CTL reads and fills one such struct.
    unsafe {
        ioctl(
            dir,
            Updater::<{ BTRFS_IOC_QUOTA_CTL as Opcode }, _>::new(&mut args),
        )
    }
}

/// Limits the bytes that subvolume `id` refers to; `None`: no limit.
///
/// # Errors
/// `ENOTCONN` where quotas are off; `ENOENT` if it has no qgroup; `EPERM`; the kernel's.
pub fn limit(dir: impl AsFd, id: u64, max_rfer: Option<u64>) -> Result<()> {
    let args = btrfs_ioctl_qgroup_limit_args {
        qgroupid: id,
        lim: limit_of(max_rfer),
    };
    // SAFETY: BTRFS_IOC_QGROUP_LIMIT reads one such struct.
    unsafe {
        ioctl(
            dir,
            Setter::<{ BTRFS_IOC_QGROUP_LIMIT as Opcode }, _>::new(args),
        )
    }
}

/// Removes a qgroup.
///
/// # Errors
/// `EBUSY` while it counts anything or its subvolume is there; `ENOENT`; `ENOTCONN` where quotas are
/// off; `EPERM`; the kernel's.
pub fn destroy_qgroup(dir: impl AsFd, qgroup: u64) -> Result<()> {
    let args = btrfs_ioctl_qgroup_create_args {
        create: 0,
        qgroupid: qgroup,
    };
    // SAFETY: BTRFS_IOC_QGROUP_CREATE reads one such struct.
    unsafe {
        ioctl(
            dir,
            Setter::<{ BTRFS_IOC_QGROUP_CREATE as Opcode }, _>::new(args),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_raw_sys::btrfs::{btrfs_ioctl_search_args_v2, btrfs_ioctl_space_args};

    #[test]
    fn buffers_are_laid_out_as_the_header_has_it() {
        assert_eq!((ARGS_HEAD, ARGS), (56, 4096));
        assert_eq!(offset_of!(btrfs_ioctl_vol_args_v2, flags), 16);
        assert_eq!(offset_of!(btrfs_ioctl_vol_args_v2, __bindgen_anon_1), 24);
        assert_eq!(offset_of!(btrfs_ioctl_search_args_v2, buf), SEARCH_HEAD);
        assert_eq!(offset_of!(btrfs_ioctl_space_args, spaces), SPACE_HEAD);
        assert_eq!(size_of::<btrfs_qgroup_inherit>(), 72);
        let inherit = Inherit {
            limit: Some(7),
            groups: vec![1 << 48, 2 << 48],
        };
        let bytes = inherit.to_bytes();
        assert_eq!(bytes.len(), 72 + 2 * 8);
        let numbers: Vec<u64> = (0..11).map(|n| number(&bytes, n * 8)).collect();
        assert_eq!(numbers, [1, 2, 0, 0, 1, 7, 0, 0, 0, 1 << 48, 2 << 48]);
    }

    #[test]
    fn what_is_no_btrfs_is_refused() {
        let root = std::fs::File::open("/proc").unwrap();
        assert_eq!(fs_info(&root).unwrap_err(), Errno::NOTTY);
        assert_eq!(subvolume_id(&root).unwrap_err(), Errno::NOTTY);
        assert_eq!(create(root.as_fd(), "", None), Err(Errno::INVAL));
        assert_eq!(create(root.as_fd(), "a\0b", None), Err(Errno::INVAL));
    }
}
