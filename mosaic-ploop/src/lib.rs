// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mosaic driver `ploop`: OpenVZ's disk images, read and written natively.
//!
//! [`mod@format`] is the format: pure, on files that a trait describes. [`files`] are such files.

pub mod files;
pub mod format;
