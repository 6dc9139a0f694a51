// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mosaic driver `btrfs`: one subvolume per volume.
//!
//! [`driver`] is the list of verbs. What they stand on, from the bottom: [`ioctl`], the kernel's
//! calls; [`search`] and [`items`], what stands in the file system's own trees; [`subvolume`], one
//! open subvolume; [`commit`], what makes a change durable.
//!
//! No program is run. What exists, what it takes and what it may take is asked of the file system
//! each time.

pub mod commit;
pub mod config;
pub mod driver;
pub mod ioctl;
pub mod items;
pub mod search;
pub mod stale;
pub mod subvolume;

pub use driver::Btrfs;

mosaic_core::export_driver!(Btrfs);
