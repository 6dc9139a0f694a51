// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mosaic driver `btrfs`: one subvolume per volume.
//!
//! [`driver`] is the list of verbs. What they stand on, from the bottom: [`ioctl`], the kernel's
//! calls; [`search`] and [`items`], what stands in the file system's own trees; [`subvolume`], one
//! open subvolume; [`commit`], what makes a change durable; [`quota`], what sizes are made of;
//! [`layout`], which name is which subvolume; [`inventory`], all of them at once. [`info`] says what
//! a volume is, [`list`] which ones there are, [`capabilities`] what can be done with them. What is
//! changed has a module for each verb; [`limit`] is what a new subvolume begins with, [`error`] what
//! the kernel means by a refusal. A drop leaves things behind: [`nested`], [`stale`].
//!
//! No program is run. What exists, what it takes and what it may take is asked of the file system
//! each time.

pub mod capabilities;
mod check;
mod cleaning;
pub mod clone;
pub mod commit;
pub mod config;
pub mod create;
pub mod driver;
mod drop;
pub mod error;
pub mod info;
pub mod init;
pub mod inventory;
pub mod ioctl;
pub mod items;
mod keepers;
pub mod layout;
pub mod limit;
pub mod list;
pub mod nested;
pub mod nested_clone;
pub mod origin;
pub mod quota;
pub mod rename;
pub mod resize;
pub mod search;
pub mod space;
pub mod stale;
pub mod stub;
pub mod subvolume;

pub use driver::Btrfs;

mosaic_core::export_driver!(Btrfs);
