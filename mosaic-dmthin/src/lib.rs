// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mosaic driver `dmthin` (historically `thin`): one thin device of a device-mapper thin pool per
//! volume.
//!
//! What stands on what, from the bottom: [`mosaic_core::dm`], devices of device-mapper; [`ioctl`], the
//! kernel's other call; [`target`], what the thin targets are told and say;
//! [`thin_metadata`], the pool's own list of thin devices; [`catalog`], names, ids, kinds and sizes of
//! the volumes, in the pool itself; [`transaction`] and [`recover`], how both change as one and what
//! becomes of a change that was cut.

pub mod activation;
pub mod blank;
pub mod block_device;
pub mod catalog;
pub mod config;
pub mod crc32c;
pub mod driver;
pub mod health;
pub mod held;
pub mod ioctl;
pub mod kernel_pool;
pub mod locate;
pub mod naming;
pub mod recover;
pub mod sharing;
mod state_repair;
pub mod target;
pub mod thin_metadata;
pub mod thin_pool;
pub mod transaction;

mod attach;
mod catalog_device;
mod catalog_on_disk;
mod change;
mod check;
mod clone;
mod clone_source;
mod create;
mod doubt;
mod first_state;
mod identity;
mod idle_pool;
mod info;
mod init;
mod reload;
mod remedy;
mod removal;
#[cfg(test)]
mod simulated;
mod space;
mod undisturbed;

pub use driver::DmThin;

mosaic_core::export_driver!(DmThin);
