// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `thin-pool` target: one metadata device, one data device cut into blocks.

use std::fmt;
use std::str::FromStr;

use mosaic_core::{Error, Result};

use super::{DeviceNumber, Sectors, number, unreadable};
use mosaic_core::dm::Line;

/// A data block has a multiple of so many sectors (`DATA_DEV_BLOCK_SIZE_MIN_SECTORS`), 64 KiB.
pub const BLOCK_STEP: Sectors = Sectors(128);
/// The largest data block (`DATA_DEV_BLOCK_SIZE_MAX_SECTORS`), 1 GiB.
pub const BLOCK_MAX: Sectors = Sectors(2_097_152);

/// `METADATA DATA BLOCK LOW_WATER COUNT FEATURE...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolTable {
    /// The device of the B-trees.
    pub metadata: DeviceNumber,
    /// The device of the blocks.
    pub data: DeviceNumber,
    /// A data block's size, the same for the pool's whole life.
    pub block: Sectors,
    /// With fewer free data blocks the kernel raises an event, once.
    pub low_water: u64,
    /// How it behaves.
    pub features: PoolFeatures,
}

/// The words behind the count of features. `read_only` and those of a newer kernel are kept as they
/// are, so that a table that is loaded again says the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolFeatures {
    /// New blocks are not zeroed: a volume may read what a dropped one left in the rest of a block.
    pub skip_block_zeroing: bool,
    /// A write that needs a block when there is none fails at once instead of waiting.
    pub error_if_no_space: bool,
    /// All others.
    pub others: Vec<String>,
}

impl PoolTable {
    /// The target's name.
    pub const TARGET: &'static str = "thin-pool";

    /// A table with which the pool has so many sectors.
    pub fn line(&self, length: Sectors) -> Line {
        Line {
            start: 0,
            length: length.0,
            target: Self::TARGET.to_owned(),
            words: self.to_string(),
        }
    }

    /// Reads the table of a device; `None`: it is of another target.
    ///
    /// # Errors
    /// `Io` if the kernel's words are not in the grammar.
    pub fn of(lines: &[Line]) -> Result<Option<(Self, Sectors)>> {
        match lines {
            [line] if line.target == Self::TARGET => {
                Ok(Some((line.words.parse()?, Sectors(line.length))))
            }
            _ => Ok(None),
        }
    }
}

const SKIP_ZEROING: &str = "skip_block_zeroing";
const ERROR_IF_NO_SPACE: &str = "error_if_no_space";

impl PoolFeatures {
    fn words(&self) -> Vec<&str> {
        let zeroing = self.skip_block_zeroing.then_some(SKIP_ZEROING);
        let space = self.error_if_no_space.then_some(ERROR_IF_NO_SPACE);
        let others = self.others.iter().map(String::as_str);
        zeroing.into_iter().chain(others).chain(space).collect()
    }
}

impl fmt::Display for PoolTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            metadata,
            data,
            block,
            low_water,
            ..
        } = self;
        let words = self.features.words();
        write!(f, "{metadata} {data} {block} {low_water} {}", words.len())?;
        words.iter().try_for_each(|word| write!(f, " {word}"))
    }
}

impl FromStr for PoolTable {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let faulty = || unreadable("table of a thin pool", text);
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [metadata, data, block, low_water, rest @ ..] = &words[..] else {
            return Err(faulty());
        };
        let features = match rest {
            [] => &[],
            [count, features @ ..] => {
                let count: usize = number(count).ok_or_else(faulty)?;
                features.get(..count).ok_or_else(faulty)?
            }
        };
        let block = number(block)
            .filter(|sectors| *sectors > 0)
            .ok_or_else(faulty)?;
        let known = |word: &&str| [SKIP_ZEROING, ERROR_IF_NO_SPACE].contains(word);
        let others = features.iter().filter(|word| !known(word));
        Ok(Self {
            metadata: metadata.parse()?,
            data: data.parse()?,
            block: Sectors(block),
            low_water: number(low_water).ok_or_else(faulty)?,
            features: PoolFeatures {
                skip_block_zeroing: features.contains(&SKIP_ZEROING),
                error_if_no_space: features.contains(&ERROR_IF_NO_SPACE),
                others: others.map(|word| (*word).to_owned()).collect(),
            },
        })
    }
}
