// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver on folders, without a block device: what needs one is tested with the attachment.

mod attached;
mod check;
mod clone;
mod common;
mod detach;
mod foreign_disks;
mod full;
mod in_use;
mod kernel_device;
mod looking;
mod partition;
mod raw;
mod real_disks;
mod volumes;
