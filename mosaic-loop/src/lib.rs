// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mosaic driver `loop` (historically `fsimg`): one sparse image file per volume, shown by loop
//! devices.
//!
//! [`driver`] is the list of verbs. What they stand on, from the bottom: [`image`], a file that is
//! proven to be one; [`attachment`], which loop device ([`mosaic_core::loopdev`]) shows it;
//! [`claim`], proof that nobody uses it; [`unnamed`], an image before it has a name.
//!
//! Nothing is written down anywhere: what is attached, mounted or in use is asked of the kernel each
//! time, and everything unfinished is a descriptor that dies with the process.

pub mod attachment;
pub mod claim;
pub mod config;
pub mod driver;
pub mod image;
pub mod layout;
pub mod support;
pub mod unnamed;

mod attach;
mod capabilities;
mod change;
mod check;
mod clone;
mod create;
mod info;
mod init;

pub use driver::Loop;

mosaic_core::export_driver!(Loop);
