// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ioctls that fixtures make themselves. `losetup --detach` looks a device up by its name, which
//! may belong to somebody else's file by then; btrfs-progs switch simple quotas on from 6.7 only.

#![allow(unsafe_code, reason = "ioctl(2) has no safe form")]

pub mod process;

use std::os::fd::AsFd;

use rustix::io::{Errno, Result};
use rustix::ioctl::{NoArg, Opcode, Setter, Updater, ioctl, opcode};

/// include/uapi/linux/loop.h
const LOOP_CLR_FD: Opcode = 0x4c01;
/// include/uapi/linux/btrfs.h, as those below.
const BTRFS_IOC_QUOTA_CTL: Opcode = opcode::read_write::<QuotaControl>(0x94, 40);
const BTRFS_IOC_SUBVOL_CREATE: Opcode = opcode::write::<VolumeArguments>(0x94, 14);
const BTRFS_IOC_QUOTA_RESCAN_WAIT: Opcode = opcode::none(0x94, 46);

/// `struct btrfs_ioctl_quota_ctl_args`.
#[repr(C)]
struct QuotaControl {
    command: u64,
    status: u64,
}

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolumeArguments {
    fd: i64,
    name: [u8; 4088],
}

/// Unbinds an open loop device, or leaves that to its last close if others have it open.
pub(crate) fn clear(device: impl AsFd) -> Result<()> {
    // SAFETY: LOOP_CLR_FD takes no argument.
    unsafe { ioctl(device, NoArg::<LOOP_CLR_FD>::new()) }
}

/// Changes what quotas a btrfs has: `BTRFS_QUOTA_CTL_*`.
pub(crate) fn control_quota(at: impl AsFd, command: u64) -> Result<()> {
    let mut args = QuotaControl { command, status: 0 };
    // SAFETY: the kernel reads and writes one btrfs_ioctl_quota_ctl_args.
    unsafe { ioctl(at, Updater::<BTRFS_IOC_QUOTA_CTL, _>::new(&mut args)) }
}

/// Returns when full quotas have counted what was there before them.
pub(crate) fn await_rescan(at: impl AsFd) -> Result<()> {
    // SAFETY: BTRFS_IOC_QUOTA_RESCAN_WAIT takes no argument.
    unsafe { ioctl(at, NoArg::<BTRFS_IOC_QUOTA_RESCAN_WAIT>::new()) }
}

/// Makes a subvolume, in the time that it takes to start `btrfs` hundreds of them.
pub(crate) fn make_subvolume(folder: impl AsFd, name: &str) -> Result<()> {
    let mut args = VolumeArguments {
        fd: 0,
        name: [0; 4088],
    };
    let room = &mut args.name[..4087];
    room.get_mut(..name.len())
        .ok_or(Errno::NAMETOOLONG)?
        .copy_from_slice(name.as_bytes());
    // SAFETY: the kernel reads one btrfs_ioctl_vol_args, whose name ends in 0.
    unsafe { ioctl(folder, Setter::<BTRFS_IOC_SUBVOL_CREATE, _>::new(args)) }
}
