// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ploop image format (Parallels expandable image), versions 1 and 2.
//!
//! [`storage`] is what it stands on: a file and a folder, as traits. Upon it, from the bottom:
//! [`header`], [`entry`] and [`bat`], an image as it is stored; [`descriptor`], which images a disk
//! has.
//!
//! Numbers have the type of what they count ([`units`]). Nothing that is read is trusted: no length
//! is used before it was held against the length of the file, and no bytes make anything here
//! panic.

pub mod bat;
pub mod cluster_set;
pub mod descriptor;
pub mod entry;
pub mod geometry;
pub mod guid;
pub mod header;
pub mod space;
pub mod storage;
pub mod units;
pub mod xml;
