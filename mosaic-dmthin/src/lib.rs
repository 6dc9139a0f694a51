// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mosaic driver `dmthin` (historically `thin`): one thin device of a device-mapper thin pool per
//! volume.
//!
//! What stands on what, from the bottom: [`ioctl`], the kernel's calls; [`packet`], their buffers;
//! [`dm`], devices of device-mapper; [`target`], what the thin targets are told and say; [`catalog`],
//! names, ids, kinds and sizes of the volumes, in the pool itself.

pub mod catalog;
pub mod crc32c;
pub mod dm;
pub mod ioctl;
pub mod packet;
pub mod target;
pub mod thin_metadata;
