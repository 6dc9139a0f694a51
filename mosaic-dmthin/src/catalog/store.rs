// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both slots on their device: which is the true one, and how the next one is written.
//!
//! The slot whose stamp is the pool's transaction id T is the truth. The other one holds T - 1, or,
//! if a writer was killed, T + 1: what was going to be. Both have all their blocks before they are
//! needed, so that a pool without a free block can still drop volumes.

use mosaic_core::{Error, ErrorKind, Result};

use super::Catalog;
use super::format::{self, corrupt};
use super::slot::{Header, PAGE, PoolUuid, SPACING, SlotIndex};

/// Bytes written at once where blocks are made.
const CHUNK: u64 = 1 << 20;
/// A slot grows by so many bytes, or by the pool's blocks if those are larger.
const STEP: u64 = 64 << 10;

/// The device of a catalog. Offsets and lengths are whole [`PAGE`]s.
pub trait Medium {
    /// Reads so many bytes.
    ///
    /// # Errors
    /// The kernel's.
    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>>;

    /// Writes bytes, not yet durably.
    ///
    /// # Errors
    /// The kernel's; `NoSpace` if a block would be needed.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// The kernel's.
    fn sync(&self) -> Result<()>;
}

/// What a catalog's device says, given the pool's transaction id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// Where it stands.
    pub index: SlotIndex,
    /// What stands before it.
    pub header: Header,
    /// The true state.
    pub catalog: Catalog,
    /// The state that somebody was about to make the true one, and did not.
    pub attempt: Option<Catalog>,
}

/// Reads the true slot, and an attempt at the next one.
///
/// # Errors
/// `Corrupt` if no slot has this stamp, with the three numbers, or if the one that has it is
/// damaged; `Unsupported` for a newer layout; `NotFound` if there never was a catalog; the kernel's.
pub fn read(medium: &dyn Medium, transaction: u64) -> Result<Truth> {
    let headers = headers(medium)?;
    let with_stamp = |stamp: u64| {
        let found = |header: &Option<Header>| header.is_some_and(|h| h.stamp == stamp);
        headers.iter().position(found)
    };
    let at = with_stamp(transaction).ok_or_else(|| no_truth(&headers, transaction))?;
    let (index, Some(header)) = (SlotIndex::ALL[at], headers[at]) else {
        return Err(no_truth(&headers, transaction));
    };
    let catalog = catalog(medium, index, &header)?
        .ok_or_else(|| corrupt("the payload of its true slot is damaged"))?;
    let next = transaction.checked_add(1);
    let attempt = headers[1 - at].filter(|header| Some(header.stamp) == next);
    let attempt = match attempt {
        Some(other) if other.pool != header.pool => {
            return Err(corrupt("its slots are of two pools"));
        }
        // If it was cut, nothing was done for it yet.
        Some(other) => self::catalog(medium, index.other(), &other)?,
        None => None,
    };
    Ok(Truth {
        index,
        header,
        catalog,
        attempt,
    })
}

/// A whole slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where it stands.
    pub index: SlotIndex,
    /// What stands before it.
    pub header: Header,
    /// Its state.
    pub catalog: Catalog,
}

/// The whole slots, newest first, whatever the pool's transaction id is. One that is damaged is none.
///
/// # Errors
/// The kernel's, and `Unsupported` for a newer layout: it may be the true one all the same.
pub fn candidates(medium: &dyn Medium) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    for (index, header) in SlotIndex::ALL.into_iter().zip(headers(medium)?) {
        let Some(header) = header else {
            continue;
        };
        match catalog(medium, index, &header) {
            Ok(Some(catalog)) => found.push(Candidate {
                index,
                header,
                catalog,
            }),
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by_key(|candidate| std::cmp::Reverse(candidate.header.stamp));
    Ok(found)
}

/// Writes a state again into the slot in which it is not, with a stamp that neither slot and no pool
/// had before; returns that stamp. So nothing that stands there is taken for an attempt at the next
/// state, and deleted. What was still to be done is not done any more.
///
/// # Errors
/// `Unsupported` if the transactions are used up; the kernel's.
pub fn write_again(medium: &dyn Medium, chosen: &Candidate, transaction: u64) -> Result<u64> {
    let stamps = headers(medium)?.into_iter().flatten().map(|h| h.stamp);
    let newest = stamps.fold(transaction, u64::max);
    let stamp = newest.checked_add(1).ok_or_else(|| {
        let text = "the pool's transactions are used up";
        Error::new(ErrorKind::Unsupported, text)
    })?;
    let (header, mut state) = (&chosen.header, chosen.catalog.clone());
    state.pending.clear();
    let index = chosen.index.other();
    write(medium, index, header.pool, stamp, header.capacity, &state)?;
    Ok(stamp)
}

fn headers(medium: &dyn Medium) -> Result<[Option<Header>; 2]> {
    let mut headers = [None; 2];
    for (header, index) in headers.iter_mut().zip(SlotIndex::ALL) {
        *header = Header::decode(&medium.read_at(index.offset(), PAGE)?);
    }
    Ok(headers)
}

/// The state of a slot; `None`: its payload is not what its page was written for.
fn catalog(medium: &dyn Medium, index: SlotIndex, header: &Header) -> Result<Option<Catalog>> {
    header.check_version()?;
    let length = usize::try_from(header.length).map_err(|_| corrupt("it is too long"))?;
    let offset = index.offset() + PAGE as u64;
    let mut payload = medium.read_at(offset, length.next_multiple_of(PAGE))?;
    payload.truncate(length);
    if !header.is_of(&payload) {
        return Ok(None);
    }
    format::decode(&payload).map(Some)
}

/// What is said of a pool that is at transaction 0: what makes it a location ends with 1.
pub(crate) fn unfinished_init() -> Error {
    let text = "an init of the pool was not finished; run it again";
    Error::new(ErrorKind::NotFound, text)
}

fn no_truth(headers: &[Option<Header>; 2], transaction: u64) -> Error {
    let first_state = |header: &Option<Header>| header.is_none_or(|header| header.stamp == 1);
    if transaction == 0 && headers.iter().all(first_state) {
        return unfinished_init();
    }
    let stamps: Vec<String> = headers
        .iter()
        .map(|header| header.map_or("none".to_owned(), |header| header.stamp.to_string()))
        .collect();
    if headers.iter().all(Option::is_none) {
        return Error::new(
            ErrorKind::NotFound,
            "the pool has a thin device with the catalog's id, but no catalog is on it",
        );
    }
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "the pool is at transaction {transaction}, and its catalog has states of {} and {}: \
             pool and catalog are not of the same time; check --repair takes the newest state",
            stamps[0], stamps[1]
        ),
    )
}

/// Writes a state into a slot and makes it durable.
///
/// # Errors
/// `NoSpace` if it does not fit into the capacity; the kernel's.
pub fn write(
    medium: &dyn Medium,
    index: SlotIndex,
    pool: PoolUuid,
    stamp: u64,
    capacity: u64,
    catalog: &Catalog,
) -> Result<()> {
    let payload = format::encode(catalog)?;
    if needed(payload.len()) > capacity {
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!(
                "the catalog needs {} bytes in each of its slots, which have {capacity}",
                needed(payload.len())
            ),
        ));
    }
    let header = Header::new(pool, stamp, capacity, &payload);
    let mut bytes = header.encode().to_vec();
    bytes.extend_from_slice(&payload);
    bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
    medium.write_at(index.offset(), &bytes)?;
    medium.sync()
}

/// Bytes of a slot with a payload of this length.
fn needed(length: usize) -> u64 {
    PAGE as u64 + length.next_multiple_of(PAGE) as u64
}

/// What either slot should have for a state: at least a block more than it needs.
///
/// # Errors
/// `NoSpace` for more than a slot can have.
pub fn wanted_capacity(catalog: &Catalog, block: u64) -> Result<u64> {
    let needed = needed(format::encode(catalog)?.len());
    let step = STEP.max(block);
    let wanted = (needed + step).next_multiple_of(step);
    if needed > SPACING {
        return Err(Error::new(
            ErrorKind::NoSpace,
            "the catalog has no room for more volumes",
        ));
    }
    Ok(wanted.min(SPACING))
}

/// Whether a state fits into slots of this capacity.
///
/// # Errors
/// Those of [`format::encode`].
pub fn fits(catalog: &Catalog, capacity: u64) -> Result<bool> {
    Ok(needed(format::encode(catalog)?.len()) <= capacity)
}

/// Gives both slots blocks from one capacity to another, by writing zeroes where nothing stands.
///
/// # Errors
/// `NoSpace`; the kernel's. What was done is done again by the next try.
pub fn provision(medium: &dyn Medium, from: u64, to: u64) -> Result<()> {
    for index in SlotIndex::ALL {
        let mut at = from;
        while at < to {
            let length = (to - at).min(CHUNK);
            let zeroes = vec![0; usize::try_from(length).unwrap_or(PAGE)];
            medium.write_at(index.offset() + at, &zeroes)?;
            at += length;
        }
    }
    medium.sync()
}
