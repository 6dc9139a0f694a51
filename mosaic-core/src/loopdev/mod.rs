// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loop devices, for drivers that show a file as a block device.
//!
//! From the bottom: [`ioctl`], the kernel's calls; [`LoopDevice`], one device; [`marker`], by which
//! the device of a file is found among any number of them; [`sysfs`], what everybody may see.
//! Which file, and whether it may be bound at all, is the driver's to know.

mod device;
mod identity;
pub mod marker;
mod refusal;
mod sharing;
pub mod sysfs;

pub use crate::ioctl::loop_device as ioctl;
pub use device::{Binding, LoopDevice, Release, Status, Window, attachment, number, path};
pub use identity::Identity;
pub use refusal::{cannot_open, is_privilege, open_control};
pub use sharing::{PASSING, PATIENCE, refuse_shared_use};
