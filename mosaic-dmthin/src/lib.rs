// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mosaic driver `dmthin` (historically `thin`): one thin device of a device-mapper thin pool per
//! volume.
//!
//! What stands on what, from the bottom: [`ioctl`], the kernel's calls; [`packet`], their buffers;
//! [`dm`], devices of device-mapper; [`target`], what the thin targets are told and say.

pub mod dm;
pub mod ioctl;
pub mod packet;
pub mod target;
