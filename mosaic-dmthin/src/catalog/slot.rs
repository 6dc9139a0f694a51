// SPDX-License-Identifier: MIT OR Apache-2.0
//! A slot of the catalog: one page that says what follows it, and the payload.
//!
//! The page's own checksum tells whether its numbers can be believed, the payload's whether all of
//! it was written. A slot that was cut while it was written is thereby none.
//!
//! In the page's next sector stands, once it is proven, that the pool's transaction with this stamp
//! was committed. It is a witness, and nothing is lost without it: a pool that is behind a committed
//! state is an older one than its catalog. What stands in the first sector is not changed for it.

use std::fmt;

use mosaic_core::{Error, ErrorKind, Result};

use super::format::{VERSION, corrupt};
use crate::crc32c::checksum;

/// Bytes of the page before the payload, and what all offsets and lengths on the device are whole
/// multiples of: the largest sector of a disk, so that direct I/O works.
pub const PAGE: usize = 4096;

/// From one slot to the other, bytes. The thin device has room for both; blocks it has only for what
/// is needed.
pub const SPACING: u64 = 1 << 30;

const MAGIC: [u8; 16] = *b"MOSAIC CATALOG\0\0";
const COMMITTED: [u8; 12] = *b"COMMITTED\0\0\0";

/// Offsets in the page; integers are little-endian.
mod at {
    pub(super) const VERSION: usize = 16;
    pub(super) const RESERVED: usize = 20;
    pub(super) const POOL: usize = 24;
    pub(super) const STAMP: usize = 40;
    pub(super) const LENGTH: usize = 48;
    pub(super) const CAPACITY: usize = 56;
    pub(super) const PAYLOAD_SUM: usize = 64;
    pub(super) const OWN_SUM: usize = 68;
    pub(super) const END: usize = 72;
    pub(super) const MARK: usize = 512;
    pub(super) const MARK_SUM: usize = 524;
    pub(super) const MARK_END: usize = 528;
}

/// What tells one pool from another, made at random when its catalog was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUuid(pub [u8; 16]);

impl PoolUuid {
    /// The transaction id with which the pool begins: the last 48 bits. It is all of its identity that
    /// a pool's own metadata have room for. Counted from there, the numbers of two pools are not the
    /// same by chance, be it the pool's, or that of the transaction that made a thin device.
    pub fn first_transaction(&self) -> u64 {
        let number = self.0[10..].iter();
        let number = number.fold(0, |number, byte| number << 8 | u64::from(*byte));
        // 0 is that of a pool that is being made.
        number.max(1)
    }
}

impl fmt::Display for PoolUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotIndex {
    /// The one at the device's start.
    First,
    /// The one [`SPACING`] behind it.
    Second,
}

impl SlotIndex {
    /// Both.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// Where it begins, bytes.
    pub fn offset(self) -> u64 {
        match self {
            Self::First => 0,
            Self::Second => SPACING,
        }
    }
}

/// The page before the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The layout of the payload.
    pub version: u32,
    /// Whose catalog it is.
    pub pool: PoolUuid,
    /// The pool's transaction id with which this slot is the true one.
    pub stamp: u64,
    /// Bytes of the payload.
    pub length: u64,
    /// Bytes, from its start, for which either slot has blocks; more than `length` and the page.
    pub capacity: u64,
    /// The pool was seen to have this stamp on disk.
    pub committed: bool,
    payload_sum: u32,
}

impl Header {
    /// The page for a payload.
    pub fn new(pool: PoolUuid, stamp: u64, capacity: u64, payload: &[u8]) -> Self {
        Self {
            version: VERSION,
            pool,
            stamp,
            length: payload.len() as u64,
            capacity,
            committed: false,
            payload_sum: checksum(payload),
        }
    }

    /// As it stands on the device.
    pub fn encode(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(at::VERSION, &self.version.to_le_bytes());
        put(at::POOL, &self.pool.0);
        put(at::STAMP, &self.stamp.to_le_bytes());
        put(at::LENGTH, &self.length.to_le_bytes());
        put(at::CAPACITY, &self.capacity.to_le_bytes());
        put(at::PAYLOAD_SUM, &self.payload_sum.to_le_bytes());
        let own = checksum(&page[..at::OWN_SUM]);
        page[at::OWN_SUM..at::END].copy_from_slice(&own.to_le_bytes());
        if self.committed {
            let of = checksum(&page[..at::END]);
            page[at::MARK..at::MARK_SUM].copy_from_slice(&COMMITTED);
            page[at::MARK_SUM..at::MARK_END].copy_from_slice(&of.to_le_bytes());
        }
        page
    }

    /// Reads a page; `None`: no slot was ever written there, or not all of its page.
    ///
    /// # Errors
    /// `Unsupported` for a layout that this Mosaic does not know; `Corrupt` for what no Mosaic wrote.
    pub fn decode(page: &[u8]) -> Result<Option<Self>> {
        match Self::parse(page) {
            Some(header) => header.checked(page).map(Some),
            None => Ok(None),
        }
    }

    fn parse(page: &[u8]) -> Option<Self> {
        let own = u32::from_le_bytes(field(page, at::OWN_SUM)?);
        let is_whole = field(page, 0)? == MAGIC && checksum(page.get(..at::OWN_SUM)?) == own;
        let mark_sum = u32::from_le_bytes(field(page, at::MARK_SUM)?);
        let is_marked = field(page, at::MARK)? == COMMITTED;
        let header = Self {
            version: u32::from_le_bytes(field(page, at::VERSION)?),
            pool: PoolUuid(field(page, at::POOL)?),
            stamp: u64::from_le_bytes(field(page, at::STAMP)?),
            length: u64::from_le_bytes(field(page, at::LENGTH)?),
            capacity: u64::from_le_bytes(field(page, at::CAPACITY)?),
            committed: is_marked && checksum(page.get(..at::END)?) == mark_sum,
            payload_sum: u32::from_le_bytes(field(page, at::PAYLOAD_SUM)?),
        };
        is_whole.then_some(header)
    }

    /// The version first: of a later layout nothing else is known.
    fn checked(self, page: &[u8]) -> Result<Self> {
        self.check_version()?;
        let needed = self.needed();
        let fits = self.capacity <= SPACING && needed.is_some_and(|n| n <= self.capacity);
        match fits && field(page, at::RESERVED) == Some([0; 4]) {
            true => Ok(self),
            false => Err(corrupt("the numbers before a slot do not fit each other")),
        }
    }

    /// Bytes of page and payload.
    fn needed(&self) -> Option<u64> {
        self.length.checked_add(PAGE as u64)
    }

    /// Whether this is the state that init writes.
    pub fn is_first(&self) -> bool {
        self.stamp == self.pool.first_transaction()
    }

    /// Whether this is the payload that the page was written for.
    pub fn is_of(&self, payload: &[u8]) -> bool {
        self.length == payload.len() as u64 && self.payload_sum == checksum(payload)
    }

    fn check_version(&self) -> Result<()> {
        match self.version {
            VERSION => Ok(()),
            other => Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the pool's catalog has format {other}, and this Mosaic knows {VERSION}; use \
                     a newer one"
                ),
            )),
        }
    }
}

fn field<const N: usize>(page: &[u8], at: usize) -> Option<[u8; N]> {
    page.get(at..)?.first_chunk::<N>().copied()
}
