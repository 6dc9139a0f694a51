// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both slots on their device: which is the true one, and how the next one is written.
//!
//! The slot whose stamp is the pool's transaction id T is the truth. The other one holds T - 1, or,
//! if a writer was killed, T + 1: what was going to be. A slot whose stamp was seen to be the pool's is
//! marked as committed: one with T + 1 and that mark says that the pool is older than its catalog, as
//! a repair of its metadata may make it. Both have all their blocks before they are
//! needed, so that a pool without a free block can still drop volumes.

use std::cmp::Reverse;
use std::ops::Range;

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
    /// Why the other slot cannot be read: an attempt may stand there, or none.
    pub unread: Option<String>,
}

impl Truth {
    /// Goes on if it is known whether there is an attempt.
    ///
    /// # Errors
    /// `Io`.
    pub fn require_other(&self) -> Result<()> {
        match &self.unread {
            None => Ok(()),
            Some(why) => Err(Error::new(
                ErrorKind::Io,
                format!(
                    "the catalog's other slot cannot be read, and a change that was cut short may \
                     stand there: {why}; if it stays so, check --repair=slot writes it anew"
                ),
            )),
        }
    }
}

/// What the two slots say together.
#[derive(Debug)]
pub enum Found {
    /// One of them is the true one.
    Truth(Box<Truth>),
    /// All that could be read was read, and no slot can be believed, or the pool is older than they
    /// are: why.
    NoTruth(Error),
}

/// Reads the true slot, and an attempt at the next one.
///
/// # Errors
/// `Corrupt` if no slot has this stamp, with the three numbers, if the one that has it is damaged, or
/// if the next one was committed already; `Unsupported` for a newer layout; `NotFound` if there never
/// was a catalog; the kernel's.
pub fn read(medium: &dyn Medium, transaction: u64) -> Result<Truth> {
    match look(medium, transaction)? {
        Found::Truth(truth) => Ok(*truth),
        Found::NoTruth(why) => Err(why),
    }
}

/// The same, with what a repair is for told from what keeps one from looking.
///
/// # Errors
/// `Unsupported` for a newer layout; `NotFound` if an init was not finished; `Corrupt` for what no
/// Mosaic wrote; the kernel's.
pub fn look(medium: &dyn Medium, transaction: u64) -> Result<Found> {
    let read = headers(medium);
    let has_stamp = |header: &Result<Option<Header>>, stamp: Option<u64>| matches!(header, Ok(Some(header)) if Some(header.stamp) == stamp);
    let at = read
        .iter()
        .position(|header| has_stamp(header, Some(transaction)));
    let [first, second] = read;
    let (index, header, other) = match (at, first, second) {
        (Some(0), Ok(Some(header)), other) => (SlotIndex::First, header, other),
        (Some(_), other, Ok(Some(header))) => (SlotIndex::Second, header, other),
        (_, first, second) => {
            let headers = [first?, second?];
            return no_truth(&headers, transaction).map(Found::NoTruth);
        }
    };
    let next = transaction.checked_add(1);
    let is_behind = has_stamp(&other, next) && matches!(&other, Ok(Some(other)) if other.committed);
    if is_behind {
        return Ok(Found::NoTruth(behind(transaction)));
    }
    let Some(catalog) = catalog(medium, index, &header)? else {
        return Ok(Found::NoTruth(corrupt(
            "the payload of its true slot is damaged",
        )));
    };
    let attempt = match other {
        Ok(Some(other)) if Some(other.stamp) == next => match other.pool == header.pool {
            // If it was cut, nothing was done for it yet.
            true => self::catalog(medium, index.other(), &other),
            false => Err(corrupt("its slots are of two pools")),
        },
        other => other.map(|_| None),
    };
    let (attempt, unread) = match attempt {
        Ok(attempt) => (attempt, None),
        Err(error) if error.kind() == ErrorKind::Io => (None, Some(error.chain())),
        Err(error) => return Err(error),
    };
    Ok(Found::Truth(Box::new(Truth {
        index,
        header,
        catalog,
        attempt,
        unread,
    })))
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

/// The whole slots, whatever the pool's transaction id is; a damaged one is passed over. Those that
/// are marked as committed come first, then the newest: the rest of a command that failed is newer
/// than the true state, and never was.
///
/// # Errors
/// `Unsupported` for a newer layout; the kernel's: what cannot be read now may be whole.
pub fn candidates(medium: &dyn Medium) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    for index in SlotIndex::ALL {
        if let Some(header) = header(medium, index)?
            && let Some(catalog) = catalog(medium, index, &header)?
        {
            found.push(Candidate {
                index,
                header,
                catalog,
            });
        }
    }
    found.sort_by_key(|found| Reverse((found.header.committed, found.header.stamp)));
    Ok(found)
}

/// Writes a state again into the slot in which it is not, with a stamp that neither slot and no pool
/// had before; returns what stands before it. So nothing that stands there is taken for an attempt at
/// the next state, and deleted. What was still to be done is not done any more.
///
/// # Errors
/// `Unsupported` if the transactions are used up; the kernel's.
pub fn write_again(medium: &dyn Medium, chosen: &Candidate, transaction: u64) -> Result<Header> {
    let mut newest = transaction;
    for index in SlotIndex::ALL {
        let stamp = header(medium, index)?.map_or(0, |header| header.stamp);
        newest = newest.max(stamp);
    }
    let stamp = newest.checked_add(1).ok_or_else(|| {
        let text = "the pool's transactions are used up";
        Error::new(ErrorKind::Unsupported, text)
    })?;
    let (header, mut state) = (&chosen.header, chosen.catalog.clone());
    state.pending.clear();
    let index = chosen.index.other();
    write(medium, index, header.pool, stamp, header.capacity, &state)
}

/// What stands before both slots.
pub(crate) fn headers(medium: &dyn Medium) -> [Result<Option<Header>>; 2] {
    SlotIndex::ALL.map(|index| header(medium, index))
}

/// Writes zeroes over the slot that is not the true one, so that what cannot be read of it can. What
/// stood there is lost with that: the names of what an attempt has made, or the witness of a later
/// state. Cut at any place, it is a slot that is none.
///
/// # Errors
/// The kernel's.
pub fn clear_other(medium: &dyn Medium, truth: &Truth) -> Result<()> {
    let start = truth.index.other().offset();
    put_zeroes(medium, start..start + truth.header.capacity)?;
    medium.sync()
}

fn header(medium: &dyn Medium, index: SlotIndex) -> Result<Option<Header>> {
    Header::decode(&medium.read_at(index.offset(), PAGE)?)
}

/// The state of a slot; `None`: its payload is not what its page was written for.
fn catalog(medium: &dyn Medium, index: SlotIndex, header: &Header) -> Result<Option<Catalog>> {
    let length = usize::try_from(header.length).map_err(|_| corrupt("it is too long"))?;
    let offset = index.offset() + PAGE as u64;
    let mut payload = medium.read_at(offset, length.next_multiple_of(PAGE))?;
    payload.truncate(length);
    if !header.is_of(&payload) {
        return Ok(None);
    }
    format::decode(&payload).map(Some)
}

/// What is said of a pool that is at transaction 0: what makes it a location ends with another.
pub(crate) const UNFINISHED: &str = "an init of the pool was not finished; run it again";

pub(crate) fn unfinished_init() -> Error {
    Error::new(ErrorKind::NotFound, UNFINISHED)
}

/// Whether this is what an init leaves that is killed before its end.
pub(crate) fn is_unfinished(headers: &[Option<Header>; 2], transaction: u64) -> bool {
    let is_first = |header: &Option<Header>| header.is_none_or(|header| header.is_first());
    transaction == 0 && headers.iter().all(is_first)
}

/// Why no slot is the true one.
fn no_truth(headers: &[Option<Header>; 2], transaction: u64) -> Result<Error> {
    if is_unfinished(headers, transaction) {
        return Err(unfinished_init());
    }
    let stamps: Vec<String> = headers
        .iter()
        .map(|header| header.map_or("none".to_owned(), |header| header.stamp.to_string()))
        .collect();
    if headers.iter().all(Option::is_none) {
        return Ok(Error::new(
            ErrorKind::NotFound,
            "the pool has a thin device with the catalog's id, but no catalog is on it",
        ));
    }
    Ok(Error::new(
        ErrorKind::Corrupt,
        format!(
            "the pool is at transaction {transaction}, and its catalog has states of {} and {}: \
             pool and catalog are not of the same time; check says what check --repair=state would take",
            stamps[0], stamps[1]
        ),
    ))
}

fn behind(transaction: u64) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "the pool is at transaction {transaction}, and its catalog has a state of {} that was \
             committed: the pool's metadata are older than its catalog; check says what check \
             --repair=state would take",
            transaction.saturating_add(1)
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
) -> Result<Header> {
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
    medium.sync()?;
    Ok(header)
}

/// Notes beside a slot that the pool was proven to have its stamp. That need not be durable: what is
/// lost of it is only the witness.
///
/// # Errors
/// The kernel's.
pub fn mark_committed(medium: &dyn Medium, index: SlotIndex, mut header: Header) -> Result<()> {
    header.committed = true;
    medium.write_at(index.offset(), &header.encode())
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
        put_zeroes(medium, index.offset() + from..index.offset() + to)?;
    }
    medium.sync()
}

fn put_zeroes(medium: &dyn Medium, range: Range<u64>) -> Result<()> {
    let mut at = range.start;
    while at < range.end {
        let length = (range.end - at).min(CHUNK);
        let zeroes = vec![0; usize::try_from(length).unwrap_or(PAGE)];
        medium.write_at(at, &zeroes)?;
        at += length;
    }
    Ok(())
}
