// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's FUSE protocol, as far as one regular file needs it: no folder, no lookup.
//!
//! Spoken here rather than by a library because a server that takes over a connection from one that
//! died finds it initialised, and because what is written has to lie in memory as direct I/O wants
//! it. [`abi`] is what goes over the descriptor, [`Connection`] the descriptor, [`Inbox`] where
//! requests are received, [`mount`] what the driver does with the same descriptor,
//! [`control`] how it ends what nobody serves.
//!
//! Data is copied once each way. To splice it would copy it too: since Linux 5.17 the kernel lends a
//! pipe no pages of direct I/O, whose owner may change them meanwhile.
//!
//! Documentation/filesystems/fuse.rst; include/uapi/linux/fuse.h.

pub mod abi;
mod connection;
pub mod control;
mod inbox;
pub mod mount;

pub use connection::{Connection, Features, MAX_WRITE, Waiter};
pub use inbox::{Inbox, Request, Task};
