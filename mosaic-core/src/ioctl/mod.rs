// SPDX-License-Identifier: MIT OR Apache-2.0
//! The unsafe fence: kernel calls that rustix and nix lack, one file per subject, safe outside.
//!
//! Functions here take descriptors and give types; what to do with the answer is decided elsewhere.
//! Numbers of ioctls are built from direction, group, number and type, and tested against literals.

#![allow(
    unsafe_code,
    reason = "kernel calls; each block says what it relies on"
)]

pub(crate) mod device_mapper;
pub(crate) mod file_system;
pub(crate) mod lease;
pub mod loop_device;
pub(crate) mod mount;
pub(crate) mod namespace;
#[cfg(feature = "host")]
pub(crate) mod pending;
pub(crate) mod quota;
#[cfg(feature = "host")]
pub(crate) mod secure_execution;
pub(crate) mod spawn;
#[cfg(feature = "host")]
pub(crate) mod stack;
pub(crate) mod subvolume;
