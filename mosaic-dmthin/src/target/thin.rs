// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `thin` target: one device of a pool.

use std::fmt;
use std::str::FromStr;

use mosaic_core::{Error, Result};

use super::{DeviceNumber, Sectors, ThinId, unreadable};
use mosaic_core::dm::Line;

/// `POOL ID [EXTERNAL_ORIGIN]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThinTable {
    /// The pool's device.
    pub pool: DeviceNumber,
    /// Which of its thin devices.
    pub id: ThinId,
    /// A device that is read where the thin one has no block. Mosaic makes none such.
    pub external_origin: Option<DeviceNumber>,
}

impl ThinTable {
    /// The target's name.
    pub const TARGET: &'static str = "thin";

    /// A table with which the device has this size.
    pub fn line(&self, length: Sectors) -> Line {
        Line {
            start: 0,
            length: length.0,
            target: Self::TARGET.to_owned(),
            words: self.to_string(),
        }
    }

    /// Reads the table of a device; `None`: it is of another target, or its pool has failed, of which
    /// the kernel says no more (`thin_status`, drivers/md/dm-thin.c).
    ///
    /// # Errors
    /// `Io` if the kernel's words are not in the grammar.
    pub fn of(lines: &[Line]) -> Result<Option<(Self, Sectors)>> {
        match lines {
            [line] if line.target == Self::TARGET && line.words != "Fail" => {
                Ok(Some((line.words.parse()?, Sectors(line.length))))
            }
            _ => Ok(None),
        }
    }
}

impl fmt::Display for ThinTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pool, self.id)?;
        match self.external_origin {
            Some(origin) => write!(f, " {origin}"),
            None => Ok(()),
        }
    }
}

impl FromStr for ThinTable {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (pool, id, origin) = match words[..] {
            [pool, id] => (pool, id, None),
            [pool, id, origin, ..] => (pool, id, Some(origin)),
            _ => return Err(unreadable("table of a thin device", text)),
        };
        Ok(Self {
            pool: pool.parse()?,
            id: id.parse()?,
            external_origin: origin.map(str::parse).transpose()?,
        })
    }
}
