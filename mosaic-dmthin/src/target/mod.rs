// SPDX-License-Identifier: MIT OR Apache-2.0
//! What device-mapper's `thin` and `thin-pool` say and are told: target lines, status, messages.
//!
//! All of it is text between the kernel and us. Here it is types, each read and written by its own
//! file, so that what is written can be read back (there is a test for each). Words at the end of a
//! line that are not known are left out: newer kernels add some.
//!
//! Kernel: Documentation/admin-guide/device-mapper/thin-provisioning.rst, drivers/md/dm-thin.c
//! (Linux 6.1, thin-pool 1.22.0).

mod message;
mod pool;
mod status;
mod thin;

use std::fmt;
use std::str::FromStr;

use mosaic_core::{Error, ErrorKind, Result};
use rustix::fs::Dev;

pub use message::Message;
pub use pool::{BLOCK_MAX, BLOCK_STEP, PoolFeatures, PoolTable};
pub use status::{PoolMode, PoolStatus, ThinStatus, Usage, WorkingPool};
pub use thin::ThinTable;

/// A number of sectors of 512 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sectors(pub u64);

impl Sectors {
    /// As bytes; at most what fits.
    pub fn bytes(self) -> u64 {
        self.0.saturating_mul(mosaic_core::size::SECTOR)
    }

    /// Whole sectors in so many bytes.
    pub fn in_bytes(bytes: u64) -> Self {
        Self(bytes / mosaic_core::size::SECTOR)
    }
}

impl fmt::Display for Sectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a thin device in its pool, 24 bits. The kernel knows it by nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThinId(u32);

impl ThinId {
    /// The metadata file system.
    pub const METADATA: Self = Self(0);
    /// The catalog: the highest id that there is (`MAX_DEV_ID` in drivers/md/dm-thin.c).
    pub const CATALOG: Self = Self((1 << 24) - 1);
    /// The first and the last that a volume can have.
    pub const VOLUMES: (Self, Self) = (Self(1), Self((1 << 24) - 2));

    /// An id, if it is one.
    pub fn new(number: u32) -> Option<Self> {
        (number <= Self::CATALOG.0).then_some(Self(number))
    }

    /// As a number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Whether a volume can have it.
    pub fn is_volume(self) -> bool {
        (Self::VOLUMES.0..=Self::VOLUMES.1).contains(&self)
    }

    /// The next one for a volume, the first after the last.
    #[must_use]
    pub fn next(self) -> Self {
        if self >= Self::VOLUMES.1 {
            Self::VOLUMES.0
        } else {
            Self(self.0 + 1)
        }
    }
}

impl fmt::Display for ThinId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ThinId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let id = text.parse().ok().and_then(Self::new);
        id.ok_or_else(|| unreadable("thin id", text))
    }
}

/// A block device's number, `253:4`: what a table names a device by, as no node can lie about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// Of the driver.
    pub major: u32,
    /// Of the device.
    pub minor: u32,
}

impl From<Dev> for DeviceNumber {
    fn from(dev: Dev) -> Self {
        Self {
            major: rustix::fs::major(dev),
            minor: rustix::fs::minor(dev),
        }
    }
}

impl DeviceNumber {
    /// As the kernel's other calls have it.
    pub fn dev(self) -> Dev {
        rustix::fs::makedev(self.major, self.minor)
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl FromStr for DeviceNumber {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once(':').and_then(|(major, minor)| {
            Some(Self {
                major: number(major)?,
                minor: number(minor)?,
            })
        });
        parsed.ok_or_else(|| unreadable("device number", text))
    }
}

/// A decimal number without a sign.
fn number<N: FromStr>(text: &str) -> Option<N> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// What the kernel, or somebody's table, says is not in the grammar.
fn unreadable(what: &str, text: &str) -> Error {
    Error::new(
        ErrorKind::Io,
        format!("device-mapper says {text:?}, which is no {what}"),
    )
}

#[cfg(test)]
mod tests;
