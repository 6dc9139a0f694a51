// SPDX-License-Identifier: MIT OR Apache-2.0
//! The catalog's payload: one state as bytes.
//!
//! Numbers are little-endian, texts UTF-8. First 16 bytes: the id to try next, the type and size of
//! the metadata file system, the numbers of volumes and of things to be done; then these, volumes by
//! stored name. What is read is checked whole: a state that contradicts itself is no state.
//!
//! | volume | bytes | |
//! |---|---|---|
//! | id | 4 | |
//! | origin | 4 | 0xffffffff: none |
//! | size | 8 | sectors |
//! | created | 8 | seconds since 1970 |
//! | made in | 8 | the pool's transaction |
//! | lengths | 2 + 2 + 1 | of stored name, of the user's (0: the same), of the file system type (0: a disk) |
//! | reserved | 3 | 0 |
//! | texts | | in that order |
//!
//! | to be done | bytes | |
//! |---|---|---|
//! | what | 4 | 1: delete, 2: discard, 3: show its size |
//! | id | 4 | |
//! | from, to | 8 + 8 | sectors, for a discard; for a delete the transaction that made it, and 0; else 0 |

use std::collections::HashSet;

use mosaic_core::label::is_fs_name;
use mosaic_core::size::SECTOR;
use mosaic_core::{Bytes, Error, ErrorKind, Result, VolumeName};

use super::{Catalog, Content, Entry, Metadata, Pending};
use crate::target::{Sectors, ThinId};

/// The version of the payload's layout.
pub const VERSION: u32 = 1;

const NO_ORIGIN: u32 = u32::MAX;
const DELETE: u32 = 1;
const DISCARD: u32 = 2;
const SHOW: u32 = 3;

/// Writes a state.
///
/// # Errors
/// `Invalid` if a text is longer than its length can say; names of volumes are not.
pub fn encode(catalog: &Catalog) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(64 * (catalog.len() + 1));
    put32(&mut bytes, catalog.next.number());
    put32(&mut bytes, count(catalog.len())?);
    put32(&mut bytes, count(catalog.pending.len())?);
    let (fs, size) = match &catalog.metadata {
        Some(metadata) => (metadata.fs.as_str(), metadata.size),
        None => ("", Bytes(0)),
    };
    put32(&mut bytes, count(fs.len())?);
    put64(&mut bytes, Sectors::in_bytes(size.0).0);
    bytes.extend_from_slice(fs.as_bytes());
    for (stored, entry) in catalog.volumes() {
        put_entry(&mut bytes, stored, entry)?;
    }
    for pending in &catalog.pending {
        let (what, from, to) = match pending {
            Pending::Delete { made_in, .. } => (DELETE, *made_in, 0),
            Pending::Show(_) => (SHOW, 0, 0),
            Pending::Discard { from, to, .. } => (
                DISCARD,
                Sectors::in_bytes(from.0).0,
                Sectors::in_bytes(to.0).0,
            ),
        };
        put32(&mut bytes, what);
        put32(&mut bytes, pending.id().number());
        put64(&mut bytes, from);
        put64(&mut bytes, to);
    }
    Ok(bytes)
}

fn put_entry(bytes: &mut Vec<u8>, stored: &str, entry: &Entry) -> Result<()> {
    let user = entry.user.as_deref().unwrap_or_default();
    let fs = match &entry.content {
        Content::Disk => "",
        Content::Fs(fs) => fs,
    };
    let too_long = || Error::new(ErrorKind::Invalid, format!("{stored:?} is too long"));
    put32(bytes, entry.id.number());
    put32(bytes, entry.origin.map_or(NO_ORIGIN, ThinId::number));
    put64(bytes, Sectors::in_bytes(entry.size.0).0);
    put64(bytes, entry.created);
    put64(bytes, entry.made_in);
    for text in [stored, user] {
        let length = u16::try_from(text.len()).map_err(|_| too_long())?;
        bytes.extend_from_slice(&length.to_le_bytes());
    }
    bytes.push(u8::try_from(fs.len()).map_err(|_| too_long())?);
    bytes.extend_from_slice(&[0; 3]);
    for text in [stored, user, fs] {
        bytes.extend_from_slice(text.as_bytes());
    }
    Ok(())
}

fn count(number: usize) -> Result<u32> {
    u32::try_from(number)
        .map_err(|_| Error::new(ErrorKind::NoSpace, "too many volumes for a catalog"))
}

fn put32(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn put64(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

/// Reads a state.
///
/// # Errors
/// `Corrupt` for anything that [`encode`] does not write.
pub fn decode(bytes: &[u8]) -> Result<Catalog> {
    let mut rest = Rest(bytes);
    let next = rest.id()?;
    if !next.is_volume() {
        return Err(corrupt("the id to try next is none of a volume"));
    }
    let (volumes, pending, fs) = (rest.u32()?, rest.u32()?, rest.u32()?);
    let size = rest.size()?;
    let fs = rest.text(fs as usize)?;
    let mut catalog = Catalog {
        next,
        metadata: metadata(fs, size)?,
        ..Catalog::default()
    };
    let mut previous = "";
    for _ in 0..volumes {
        let (stored, entry) = read_entry(&mut rest)?;
        if stored <= previous {
            return Err(corrupt("its volumes are not in order"));
        }
        previous = stored;
        catalog.insert(stored, entry)?;
    }
    for _ in 0..pending {
        catalog.pending.push(read_pending(&mut rest)?);
    }
    if !rest.0.is_empty() {
        return Err(corrupt("something stands behind its end"));
    }
    check_ids(&catalog)?;
    Ok(catalog)
}

fn metadata(fs: &str, size: Bytes) -> Result<Option<Metadata>> {
    match (fs, size) {
        ("", Bytes(0)) => Ok(None),
        (fs, size) if is_fs_name(fs) && size.is_volume_size() => Ok(Some(Metadata {
            fs: fs.to_owned(),
            size,
        })),
        _ => Err(corrupt("its metadata file system is none")),
    }
}

fn read_entry<'b>(rest: &mut Rest<'b>) -> Result<(&'b str, Entry)> {
    let id = rest.id()?;
    let origin = match rest.u32()? {
        NO_ORIGIN => None,
        number => Some(ThinId::new(number).ok_or_else(|| corrupt("an origin is no thin id"))?),
    };
    let (size, created, made_in) = (rest.size()?, rest.u64()?, rest.u64()?);
    let (stored, user) = (rest.u16()?, rest.u16()?);
    let [fs, 0, 0, 0] = rest.array()? else {
        return Err(corrupt("reserved bytes are not 0"));
    };
    let stored = rest.text(stored.into())?;
    let user = rest.text(user.into())?;
    let fs = rest.text(fs.into())?;
    let user = (!user.is_empty()).then(|| user.to_owned());
    let shown = user.as_deref().unwrap_or(stored);
    VolumeName::with_stored(shown, stored)
        .map_err(|error| corrupt("a name of a volume is none").with_source(error))?;
    if !id.is_volume() || !size.is_volume_size() || !(fs.is_empty() || is_fs_name(fs)) {
        return Err(corrupt("id, size or file system of a volume is none"));
    }
    let content = match fs {
        "" => Content::Disk,
        fs => Content::Fs(fs.to_owned()),
    };
    let entry = Entry {
        id,
        made_in,
        user,
        content,
        size,
        origin,
        created,
    };
    Ok((stored, entry))
}

fn read_pending(rest: &mut Rest<'_>) -> Result<Pending> {
    let (what, id) = (rest.u32()?, rest.id()?);
    let (from, to) = (rest.u64()?, rest.u64()?);
    match what {
        DELETE if id.is_volume() && to == 0 => Ok(Pending::Delete { id, made_in: from }),
        SHOW if id.is_volume() && (from, to) == (0, 0) => Ok(Pending::Show(id)),
        DISCARD if id.is_volume() && from < to => Ok(Pending::Discard {
            id,
            from: bytes(from)?,
            to: bytes(to)?,
        }),
        _ => Err(corrupt("something to be done is not known")),
    }
}

/// No thin device is two volumes, or one that is to be deleted; the rest is done to volumes.
fn check_ids(catalog: &Catalog) -> Result<()> {
    let mut used = HashSet::new();
    let twice = |new: bool| match new {
        true => Ok(()),
        false => Err(corrupt("a thin id is used twice")),
    };
    for (_, entry) in catalog.volumes() {
        twice(used.insert(entry.id))?;
    }
    let volumes = used.clone();
    for pending in &catalog.pending {
        match pending {
            Pending::Delete { id, .. } => twice(used.insert(*id))?,
            Pending::Discard { id, .. } | Pending::Show(id) if volumes.contains(id) => {}
            _ => return Err(corrupt("something is to be done to what is no volume")),
        }
    }
    Ok(())
}

pub(super) fn corrupt(why: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the catalog contradicts itself: {why}"),
    )
}

/// Sectors, as bytes that fit into a file.
fn bytes(sectors: u64) -> Result<Bytes> {
    let bytes = sectors.checked_mul(SECTOR);
    let bytes = bytes.filter(|bytes| i64::try_from(*bytes).is_ok());
    bytes
        .map(Bytes)
        .ok_or_else(|| corrupt("a size is more than fits into a file"))
}

/// What is left to be read.
struct Rest<'b>(&'b [u8]);

impl<'b> Rest<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8]> {
        let split = self.0.split_at_checked(length);
        let (taken, rest) = split.ok_or_else(|| corrupt("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N)?.first_chunk::<N>().copied();
        taken.ok_or_else(|| corrupt("it ends too early"))
    }

    fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn id(&mut self) -> Result<ThinId> {
        let number = self.u32()?;
        ThinId::new(number).ok_or_else(|| corrupt("a thin id has more than 24 bits"))
    }

    /// Sectors, as bytes that fit into a file.
    fn size(&mut self) -> Result<Bytes> {
        bytes(self.u64()?)
    }

    fn text(&mut self, length: usize) -> Result<&'b str> {
        std::str::from_utf8(self.take(length)?).map_err(|_| corrupt("a text is not UTF-8"))
    }
}
