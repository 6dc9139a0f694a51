// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mosaic turns any Linux storage into one place for the disks of virtual machines and containers.
//!
//! This crate is three things. For a **driver**: the trait [`Driver`], what crosses it
//! ([`volume`], [`Settings`], [`VolumeName`], [`Bytes`], [`Error`]), [`export_driver!`], and what
//! drivers share (paths beneath a location, labels, file systems, programs). For a **program**,
//! with the feature `host`: the config layer, the loader and the verbs. And the **border** between
//! the two, which nobody sees: plain Rust on both sides, C layout in between.

mod border;
pub mod busy;
pub mod command;
pub mod date;
pub mod dm;
pub mod driver;
pub mod error;
pub mod export;
pub mod finding;
pub mod foreign;
pub mod fs;
pub mod host_services;
mod ioctl;
pub mod label;
pub mod location;
pub mod loopdev;
pub mod mapped_file;
pub mod mounts;
pub mod name;
pub mod ownership;
pub mod panics;
#[cfg(feature = "host")]
mod printable;
pub mod project_quota;
pub mod reflink;
pub mod scratch;
pub mod settings;
pub mod size;
pub mod tree;
pub mod volume;

#[cfg(feature = "host")]
pub mod config;
#[cfg(feature = "host")]
pub mod import;
#[cfg(feature = "host")]
pub mod loader;
#[cfg(feature = "host")]
mod lock;
#[cfg(feature = "host")]
pub mod mosaic;
#[cfg(feature = "host")]
pub mod places;

pub use driver::{Driver, LockScope};
pub use error::{Context, Error, ErrorKind, Needs, Result};
pub use host_services::{Host, Level, Services};
pub use location::Location;
pub use name::VolumeName;
#[cfg(feature = "host")]
pub use printable::printable;
pub use scratch::{Place, ScratchName};
pub use settings::{Key, KeyKind, Settings};
pub use size::Bytes;
