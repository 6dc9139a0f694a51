// SPDX-License-Identifier: MIT OR Apache-2.0
//! The C-layout types that cross the border between Mosaic's host and a driver, and nothing else.
//!
//! The version of this crate **is** the driver ABI's version. What the promise says:
//!
//! * Structs and their fields never change within a major version. They carry an `extra` list of
//!   key and value where later minors may put more, and calls a list of [`Options`]. What is not
//!   known is ignored in an answer, and refused in what a driver is asked to do.
//! * The root module ([`DriverModule`]) and the two trait objects ([`AbiDriver`], [`AbiHost`]) grow
//!   only at the end, and each growth is a new minor. What an older side lacks reads as `None` or
//!   runs the default body, so an old driver works with a new host and the other way round.
//! * Numbers that stand for a choice are `u32` constants of an open set, never enums: an unknown
//!   one is handled, not undefined.
//! * Memory is freed by the side that made it: the `R` types carry their own destructor.
//! * No panic crosses. `mosaic-core` catches it on the side where it happens.
//! * A driver is never unloaded.
//!
//! Neither a driver's author nor a user of the library sees these types: `mosaic-core` turns them
//! into plain Rust on both sides.
#![allow(
    unsafe_code,
    reason = "abi_stable's derives write unsafe code for the layout checks"
)]
#![allow(
    non_local_definitions,
    reason = "abi_stable's sabi_trait macro of 2023 triggers it"
)]

mod driver;
mod host;
mod types;

pub use abi_stable;
pub use driver::{AbiDriver, AbiDriver_TO, DriverBox, DriverModule, DriverModuleRef};
pub use host::{AbiHost, AbiHost_TO, HostBox};
pub use types::*;

/// The ABI version of this crate: `MAJOR.MINOR.PATCH`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
