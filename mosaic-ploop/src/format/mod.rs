// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ploop image format (Parallels expandable image), versions 1 and 2.
//!
//! [`storage`] is what it stands on: a file and a folder, as traits. Upon it, from the bottom:
//! [`header`], [`entry`] and [`bat`], an image as it is stored; [`delta`] and [`writer`], one open
//! for reading and for writing; [`check`], one that may be damaged; [`chain`], deltas seen as one
//! disk; [`descriptor`], which deltas those are; [`disk`], all of it, and what is done to it.
//!
//! The order of changes is that of [`writer`] within an image and that of [`disk`] among files.
//!
//! Numbers have the type of what they count ([`units`]). Nothing that is read is trusted: no length
//! is used before it was held against the length of the file, and no bytes make anything here
//! panic.

pub mod bat;
pub mod chain;
pub mod check;
pub mod cluster_set;
pub mod compact;
mod copy;
pub mod create;
pub mod delta;
pub mod descriptor;
pub mod disk;
pub mod entry;
pub mod error;
pub mod extension;
mod flushes;
pub mod geometry;
pub mod guid;
pub mod header;
pub mod layer;
pub mod ledger;
mod mark;
pub mod pages;
pub mod raw_image;
mod relocate;
mod resize;
pub mod space;
pub mod storage;
mod take_over;
pub mod units;
pub mod writer;
pub mod xml;

pub use error::{Error, Result};
