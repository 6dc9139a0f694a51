// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mosaic driver `ploop`: OpenVZ's disk images, read and written natively.
//!
//! [`driver`] is the list of verbs. What they stand on, from the bottom: [`mod@format`], the format,
//! pure and on files that a trait describes; [`files`], such files; [`volume_dir`], the folder of a
//! volume; [`layout`], which folders of a location are volumes.
//!
//! Nothing is written down but in the format's own files: what is attached, mounted or in use is
//! asked of the kernel each time.

pub mod attachment;
pub mod config;
pub mod driver;
pub mod files;
pub mod format;
pub mod fuse;
pub mod layout;
pub mod server;
pub mod volume_dir;

mod capabilities;
mod info;

pub use driver::Ploop;

mosaic_core::export_driver!(Ploop);
