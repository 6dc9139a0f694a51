// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounting, unmounting, and what is mounted where.
//!
//! A mount is made detached, gets its attributes there, and is moved in place as the last step: it
//! is read-only, nosuid, nodev and private from birth, and a process killed on the way leaves
//! nothing. Linux 5.12 is required (mount_setattr).

pub mod mountinfo;

pub(crate) mod device;
mod inside;
mod mount;
mod mountpoint;
mod options;
mod table;
mod target;
mod umount;

pub use inside::directory_on_device;
pub(crate) use mount::log_of;
pub use mount::{mount_device, mount_directory};
pub use mountinfo::MountEntry;
pub use mountpoint::{Mountpoint, is_mount_of_device, is_mount_of_directory};
pub use options::MountOptions;
pub use table::{MountTable, TreePath};
pub use target::{Target, open_target};
pub use umount::{umount, umount_at};

#[cfg(test)]
mod tests;
