// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one ioctl that fixtures make themselves: `losetup --detach` looks a device up by its name,
//! which may belong to somebody else's file by then.

#![allow(unsafe_code, reason = "ioctl(2) has no safe form")]

use std::os::fd::AsFd;

use rustix::io::Result;
use rustix::ioctl::{NoArg, Opcode, ioctl};

/// include/uapi/linux/loop.h
const LOOP_CLR_FD: Opcode = 0x4c01;

/// Unbinds an open loop device, or leaves that to its last close if others have it open.
pub(crate) fn clear(device: impl AsFd) -> Result<()> {
    // SAFETY: LOOP_CLR_FD takes no argument.
    unsafe { ioctl(device, NoArg::<LOOP_CLR_FD>::new()) }
}
