// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mosaic driver `ploop`: OpenVZ's disk images, read and written natively.
//!
//! [`driver`] is the list of verbs. What they stand on, from the bottom: [`mod@format`], the format,
//! pure and on files that a trait describes; [`files`], such files; [`volume_dir`], the folder of a
//! volume; [`layout`], which folders of a location are volumes; [`locks`], [`lock_file`] and
//! [`claim`], who else uses a disk, and proof that nobody does; [`gpt`] and [`partition`], the
//! partition that a disk may have; [`attachment`], a disk as a block device, by the program that
//! [`server`] is, through [`fuse`]; [`kernel_device`], the same by the kernel's own ploop, where there
//! is one; `ioctl`, the kernel's asynchronous I/O for the server.
//!
//! Nothing is written down but in the format's own files: what is attached, mounted or in use is
//! asked of the kernel each time.

pub mod attachment;
pub mod claim;
pub mod config;
pub mod courtesy;
pub mod driver;
pub mod files;
pub mod format;
pub mod fuse;
pub mod gpt;
pub mod kernel_device;
pub mod layout;
pub mod lock_file;
pub mod locks;
pub mod look;
pub mod partition;
pub mod server;
pub mod volume_dir;

mod attach;
mod blank;
mod capabilities;
mod change;
mod check;
mod clone;
mod create;
mod info;
mod ioctl;

pub use driver::Ploop;

mosaic_core::export_driver!(Ploop);
