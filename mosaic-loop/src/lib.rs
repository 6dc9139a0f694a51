// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mosaic driver `loop`: one sparse image file per volume, shown by loop devices.

pub mod attachment;
pub mod error;
pub mod identity;
pub mod image;
pub mod ioctl;
pub mod layout;
pub mod loopdev;
pub mod marker;
pub mod sysfs;
