// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the host lends a driver: log, progress, cancellation.
//!
//! A driver's shared object has its own copy of all Rust statics, so a logger set up by the program
//! is invisible in it. [`Host`] is the way out; [`Services`] is what the program puts behind it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mosaic_abi::abi_stable::sabi_trait::TD_Opaque;
use mosaic_abi::abi_stable::std_types::RStr;
use mosaic_abi::{AbiHost, AbiHost_TO, HostBox};

use crate::error::{Error, ErrorKind, Result};

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// The operation fails.
    Error = 1,
    /// It goes on, but the user should know.
    Warning = 2,
    /// What is done.
    Info = 3,
    /// Each system call and program.
    Debug = 4,
}

impl Level {
    fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Error,
            2 => Self::Warning,
            3 => Self::Info,
            _ => Self::Debug,
        }
    }
}

/// What a program provides: one object for the host and all its drivers.
pub trait Services: Send + Sync {
    /// One line of log.
    fn log(&self, level: Level, message: &str);
    /// How far a long step is; `total` 0: unknown.
    fn progress(&self, done: u64, total: u64, what: &str);
    /// Whether the user asked to stop.
    fn cancelled(&self) -> bool;
}

/// Services that say nothing and never stop, for tests and programs without a user.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Services for Silent {
    fn log(&self, _: Level, _: &str) {}
    fn progress(&self, _: u64, _: u64, _: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}

/// The host's services as a driver and the code that drivers share see them.
pub struct Host(HostBox);

impl Host {
    /// Wraps a program's services.
    pub fn new(services: Arc<dyn Services>) -> Self {
        Self(Self::object(services))
    }

    /// The object that crosses the border.
    pub(crate) fn object(services: Arc<dyn Services>) -> HostBox {
        AbiHost_TO::from_value(Lent(services), TD_Opaque)
    }

    /// What came over the border.
    pub(crate) fn from_object(object: HostBox) -> Self {
        Self(object)
    }

    /// One line of log.
    pub fn log(&self, level: Level, message: &str) {
        self.0.log(level as u32, message.into());
    }

    /// The operation goes on, but the user should know.
    pub fn warn(&self, message: &str) {
        self.log(Level::Warning, message);
    }

    /// A system call or program, for `-v`.
    pub fn debug(&self, message: &str) {
        self.log(Level::Debug, message);
    }

    /// How far a long step is; `total` 0: unknown.
    pub fn progress(&self, done: u64, total: u64, what: &str) {
        self.0.progress(done, total, what.into());
    }

    /// Whether the user asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled()
    }

    /// Goes on only if the user did not ask to stop.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.is_cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}

/// The host's side of the object. A panic of the program's services must not reach the driver.
struct Lent(Arc<dyn Services>);

impl AbiHost for Lent {
    fn log(&self, level: u32, message: RStr<'_>) {
        contained(|| self.0.log(Level::from_number(level), message.as_str()));
    }

    fn progress(&self, done: u64, total: u64, what: RStr<'_>) {
        contained(|| self.0.progress(done, total, what.as_str()));
    }

    fn cancelled(&self) -> bool {
        contained(|| self.0.cancelled()).unwrap_or(true)
    }
}

/// `None` after a panic; the panic hook has printed it, and the operation stops at its next look
/// at `cancelled`.
fn contained<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}
