// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the host lends a driver.

use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, RStr};

/// The host's services. Each driver has its own copy of all Rust statics, so a logger of the host
/// is out of its reach; this object is how it speaks.
#[sabi_trait]
pub trait AbiHost: Send + Sync {
    /// Passes one line to the user's log. Level: 1 error, 2 warning, 3 information, 4 debug.
    fn log(&self, level: u32, message: RStr<'_>);

    /// Says how far a long step is; `total` 0: unknown.
    fn progress(&self, done: u64, total: u64, what: RStr<'_>);

    /// Whether the user asked to stop. A driver that sees it undoes and returns `Interrupted`.
    #[sabi(last_prefix_field)]
    fn cancelled(&self) -> bool;
}

/// The owned object that a driver gets.
pub type HostBox = AbiHost_TO<'static, RBox<()>>;
