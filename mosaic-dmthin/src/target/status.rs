// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a pool and a thin device say of themselves.

use std::fmt;
use std::str::FromStr;

use mosaic_core::{Error, Result};

use super::{Sectors, number, unreadable};
use mosaic_core::dm::Line;

/// A thin pool by its status line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolStatus {
    /// It works, perhaps for reading only.
    Working(WorkingPool),
    /// Its metadata cannot be used any more: every read and write fails.
    Fail,
    /// The kernel could not find out.
    Error,
}

/// A pool that works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkingPool {
    /// The number that is its user's; here: which state of the catalog is the true one.
    pub transaction: u64,
    /// Metadata blocks of 4 KiB.
    pub metadata: Usage,
    /// Data blocks.
    pub data: Usage,
    /// Metadata block of the copy that somebody reserved.
    pub held_root: Option<u64>,
    /// What it still does.
    pub mode: PoolMode,
    /// What becomes of discards: `discard_passdown`, `no_discard_passdown`, `ignore_discard`.
    pub discard: String,
    /// A write that needs a block when there is none fails instead of waiting.
    pub error_if_no_space: bool,
    /// The metadata met an error, and has to be checked before it is written again.
    pub needs_check: bool,
    /// With fewer free metadata blocks the kernel raises an event; older ones do not say.
    pub metadata_low_water: Option<u64>,
}

/// Blocks used of those that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// In use.
    pub used: u64,
    /// All.
    pub total: u64,
}

impl Usage {
    /// What is left.
    pub fn free(self) -> u64 {
        self.total.saturating_sub(self.used)
    }
}

/// What a pool still does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// Everything.
    ReadWrite,
    /// All but new data blocks; messages too.
    OutOfDataSpace,
    /// Reads, and writes to blocks that need no change of metadata. No messages.
    ReadOnly,
}

impl PoolMode {
    /// Whether the pool changes its metadata on request.
    pub fn takes_messages(self) -> bool {
        self != Self::ReadOnly
    }
}

impl PoolStatus {
    /// Reads the status of a device; `None`: it is no thin pool.
    ///
    /// # Errors
    /// `Io` if the kernel's words are not in the grammar.
    pub fn of(lines: &[Line]) -> Result<Option<Self>> {
        match lines {
            [line] if line.target == super::PoolTable::TARGET => line.words.parse().map(Some),
            _ => Ok(None),
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.used, self.total)
    }
}

impl FromStr for Usage {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once('/').and_then(|(used, total)| {
            Some(Self {
                used: number(used)?,
                total: number(total)?,
            })
        });
        parsed.ok_or_else(|| unreadable("number of blocks", text))
    }
}

impl fmt::Display for PoolMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadWrite => "rw",
            Self::OutOfDataSpace => "out_of_data_space",
            Self::ReadOnly => "ro",
        })
    }
}

impl FromStr for PoolMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "rw" => Ok(Self::ReadWrite),
            "out_of_data_space" => Ok(Self::OutOfDataSpace),
            "ro" => Ok(Self::ReadOnly),
            _ => Err(unreadable("mode of a thin pool", text)),
        }
    }
}

impl fmt::Display for PoolStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Working(pool) => pool.fmt(f),
            Self::Fail => f.write_str("Fail"),
            Self::Error => f.write_str("Error"),
        }
    }
}

impl FromStr for PoolStatus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.trim() {
            "Fail" => Ok(Self::Fail),
            "Error" => Ok(Self::Error),
            line => line.parse().map(Self::Working),
        }
    }
}

const NEEDS_CHECK: &str = "needs_check";
const ERROR_IF_NO_SPACE: &str = "error_if_no_space";
const QUEUE_IF_NO_SPACE: &str = "queue_if_no_space";

impl fmt::Display for WorkingPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.transaction, self.metadata, self.data)?;
        match self.held_root {
            Some(block) => write!(f, "{block} ")?,
            None => f.write_str("- ")?,
        }
        let space = match self.error_if_no_space {
            true => ERROR_IF_NO_SPACE,
            false => QUEUE_IF_NO_SPACE,
        };
        let check = if self.needs_check { NEEDS_CHECK } else { "-" };
        write!(f, "{} {} {space} {check}", self.mode, self.discard)?;
        match self.metadata_low_water {
            Some(blocks) => write!(f, " {blocks}"),
            None => Ok(()),
        }
    }
}

impl FromStr for WorkingPool {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let faulty = || unreadable("status of a thin pool", text);
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [
            transaction,
            metadata,
            data,
            held,
            mode,
            discard,
            space,
            rest @ ..,
        ] = &words[..]
        else {
            return Err(faulty());
        };
        Ok(Self {
            transaction: number(transaction).ok_or_else(faulty)?,
            metadata: metadata.parse()?,
            data: data.parse()?,
            held_root: match *held {
                "-" => None,
                block => Some(number(block).ok_or_else(faulty)?),
            },
            mode: mode.parse()?,
            discard: (*discard).to_owned(),
            error_if_no_space: *space == ERROR_IF_NO_SPACE,
            needs_check: rest.first() == Some(&NEEDS_CHECK),
            metadata_low_water: rest.get(1).and_then(|blocks| number(blocks)),
        })
    }
}

/// A thin device by its status line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinStatus {
    /// It works.
    Working {
        /// What it has blocks for, shared or not.
        mapped: Sectors,
        /// The highest sector that ever had one.
        highest: Option<u64>,
    },
    /// Every read and write fails.
    Fail,
    /// The kernel could not find out.
    Error,
}

impl ThinStatus {
    /// Reads the status of a device; `None`: it is no thin device.
    ///
    /// # Errors
    /// `Io` if the kernel's words are not in the grammar.
    pub fn of(lines: &[Line]) -> Result<Option<Self>> {
        match lines {
            [line] if line.target == super::ThinTable::TARGET => line.words.parse().map(Some),
            _ => Ok(None),
        }
    }
}

impl fmt::Display for ThinStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Working { mapped, highest } => match highest {
                Some(sector) => write!(f, "{mapped} {sector}"),
                None => write!(f, "{mapped} -"),
            },
            Self::Fail => f.write_str("Fail"),
            Self::Error => f.write_str("Error"),
        }
    }
}

impl FromStr for ThinStatus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let faulty = || unreadable("status of a thin device", text);
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        match words[..] {
            // "-": loaded, and not active yet.
            ["Fail"] => Ok(Self::Fail),
            ["Error"] => Ok(Self::Error),
            [mapped, highest, ..] => Ok(Self::Working {
                mapped: Sectors(number(mapped).ok_or_else(faulty)?),
                highest: match highest {
                    "-" => None,
                    sector => Some(number(sector).ok_or_else(faulty)?),
                },
            }),
            _ => Err(faulty()),
        }
    }
}
