// SPDX-License-Identifier: MIT OR Apache-2.0
//! The buffer that goes to device-mapper and comes back: `struct dm_ioctl` and what follows it.
//!
//! Fields are put and read by offset, so nothing is packed or cast. What the kernel answers is read
//! with bounds all the same: an offset that leads out of the buffer is an error, not a panic.
//!
//! Kernel: include/uapi/linux/dm-ioctl.h, drivers/md/dm-ioctl.c (Linux 6.1).

use rustix::fs::Dev;
use rustix::io::{Errno, Result};

use crate::ioctl::device_mapper::HEADER;

/// Most bytes of a device's name and uuid, the terminating zeroes left out (`DM_NAME_LEN`,
/// `DM_UUID_LEN`).
pub const NAME_MAX: usize = 127;
/// See [`NAME_MAX`].
pub const UUID_MAX: usize = 128;

/// Offsets of the header's fields.
mod at {
    pub(super) const VERSION: usize = 0;
    pub(super) const DATA_START: usize = 16;
    pub(super) const TARGET_COUNT: usize = 20;
    pub(super) const OPEN_COUNT: usize = 24;
    pub(super) const FLAGS: usize = 28;
    pub(super) const EVENT: usize = 32;
    pub(super) const DEV: usize = 40;
    pub(super) const NAME: usize = 48;
    pub(super) const UUID: usize = 176;
}

/// Bits of the header's `flags`.
pub mod flag {
    /// The device refuses writes.
    pub const READONLY: u32 = 1 << 0;
    /// To suspend, not to resume; it is suspended.
    pub const SUSPEND: u32 = 1 << 1;
    /// The table is asked for, not the status.
    pub const STATUS_TABLE: u32 = 1 << 4;
    /// There is a table in the active slot.
    pub const ACTIVE_PRESENT: u32 = 1 << 5;
    /// There is a table in the inactive slot.
    pub const INACTIVE_PRESENT: u32 = 1 << 6;
    /// The answer did not fit.
    pub const BUFFER_FULL: u32 = 1 << 8;
    /// A suspend does not freeze the file system.
    pub const SKIP_LOCKFS: u32 = 1 << 10;
    /// A status commits nothing before.
    pub const NOFLUSH: u32 = 1 << 11;
    /// A list is to tell uuids; a rename is to give a uuid.
    pub const UUID: u32 = 1 << 14;
    /// A message has an answer.
    pub const DATA_OUT: u32 = 1 << 16;
    /// To remove at the last close; that is going to happen.
    pub const DEFERRED_REMOVE: u32 = 1 << 17;
}

/// Bytes of `struct dm_target_spec`, and the room for a target's name in it.
const SPEC: usize = 40;
const TYPE: std::ops::Range<usize> = 24..40;
/// In [`Packet::devices`]: the device has a uuid, which follows.
const HAS_UUID: u32 = 1;

/// Which device is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By<'a> {
    /// The one of this name.
    Name(&'a str),
    /// The one of this uuid.
    Uuid(&'a str),
    /// The one of this number.
    Number(Dev),
}

impl std::fmt::Display for By<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?}"),
            Self::Uuid(uuid) => write!(f, "uuid {uuid:?}"),
            Self::Number(dev) => {
                write!(f, "{}:{}", rustix::fs::major(*dev), rustix::fs::minor(*dev))
            }
        }
    }
}

/// One line of a table or of a status: from where, how much, of which target, with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// First sector of the device.
    pub start: u64,
    /// Number of sectors.
    pub length: u64,
    /// `thin`, `thin-pool`.
    pub target: String,
    /// The target's own words.
    pub words: String,
}

/// A device in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number.
    pub dev: Dev,
    /// Its name.
    pub name: String,
    /// Its uuid; `None`: this kernel's list does not tell (before Linux 5.13).
    pub uuid: Option<String>,
}

/// The buffer of one command.
#[derive(Debug, Clone)]
pub struct Packet {
    bytes: Vec<u8>,
}

impl Packet {
    /// A header that says nothing, with `room` bytes behind it.
    pub fn new(room: usize) -> Self {
        let mut packet = Self {
            bytes: vec![0; HEADER + room],
        };
        let start = u32::try_from(HEADER).unwrap_or_default();
        packet.put32(at::DATA_START, start);
        packet
    }

    /// The same request with more room for the answer. What stood behind the header stays.
    #[must_use]
    pub fn with_room(&self, room: usize) -> Self {
        let mut packet = self.clone();
        packet.bytes.resize(HEADER + room, 0);
        packet
    }

    /// Bytes behind the header.
    pub fn room(&self) -> usize {
        self.bytes.len() - HEADER
    }

    /// All of it, for the kernel.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Says which device is meant.
    ///
    /// # Errors
    /// `EINVAL` for a name or uuid that no device can have.
    pub fn select(&mut self, by: By<'_>) -> Result<()> {
        match by {
            By::Name(name) => self.put_name(name),
            By::Uuid(uuid) => self.put_uuid(uuid),
            By::Number(dev) => {
                self.bytes[at::DEV..at::DEV + 8].copy_from_slice(&dev.to_ne_bytes());
                Ok(())
            }
        }
    }

    /// Puts a name into the header.
    ///
    /// # Errors
    /// `EINVAL` if it is empty, too long, or has a zero in it.
    pub fn put_name(&mut self, name: &str) -> Result<()> {
        self.put_text(at::NAME, name, NAME_MAX)
    }

    /// Puts a uuid into the header.
    ///
    /// # Errors
    /// `EINVAL` if it is empty, too long, or has a zero in it.
    pub fn put_uuid(&mut self, uuid: &str) -> Result<()> {
        self.put_text(at::UUID, uuid, UUID_MAX)
    }

    /// Puts flags into the header.
    pub fn put_flags(&mut self, flags: u32) {
        self.put32(at::FLAGS, flags);
    }

    /// Puts an event number, or what udev is to be told, into the header.
    pub fn put_event(&mut self, event: u32) {
        self.put32(at::EVENT, event);
    }

    /// Puts a table of one line behind the header.
    ///
    /// # Errors
    /// `EINVAL` for a target's name that is too long, or words with a zero in them.
    pub fn put_table(&mut self, line: &Line) -> Result<()> {
        let target = line.target.as_bytes();
        if target.len() >= TYPE.len() || has_zero(&line.target) || has_zero(&line.words) {
            return Err(Errno::INVAL);
        }
        let length = (SPEC + line.words.len() + 1).next_multiple_of(8);
        self.bytes.truncate(HEADER);
        self.put32(at::TARGET_COUNT, 1);
        let mut spec = vec![0; length];
        spec[0..8].copy_from_slice(&line.start.to_ne_bytes());
        spec[8..16].copy_from_slice(&line.length.to_ne_bytes());
        spec[TYPE.start..TYPE.start + target.len()].copy_from_slice(target);
        spec[SPEC..SPEC + line.words.len()].copy_from_slice(line.words.as_bytes());
        self.bytes.append(&mut spec);
        Ok(())
    }

    /// Puts a message to the target at sector 0 behind the header.
    ///
    /// # Errors
    /// `EINVAL` for a message with a zero in it.
    pub fn put_message(&mut self, message: &str) -> Result<()> {
        if has_zero(message) {
            return Err(Errno::INVAL);
        }
        self.bytes.truncate(HEADER);
        self.bytes.extend_from_slice(&0_u64.to_ne_bytes());
        self.bytes.extend_from_slice(message.as_bytes());
        self.bytes.push(0);
        Ok(())
    }

    /// Puts a text behind the header: the uuid that a device is to have.
    ///
    /// # Errors
    /// `EINVAL` if no device can have it.
    pub fn put_new_uuid(&mut self, uuid: &str) -> Result<()> {
        if uuid.is_empty() || uuid.len() > UUID_MAX || has_zero(uuid) {
            return Err(Errno::INVAL);
        }
        self.put32(at::FLAGS, flag::UUID);
        self.bytes.truncate(HEADER);
        self.bytes.extend_from_slice(uuid.as_bytes());
        self.bytes.push(0);
        Ok(())
    }

    /// The kernel's interface version.
    pub fn version(&self) -> [u32; 3] {
        [0, 4, 8].map(|offset| self.get32(at::VERSION + offset))
    }

    /// The device's number.
    pub fn dev(&self) -> Dev {
        number64(&self.bytes, at::DEV).unwrap_or_default()
    }

    /// The device's name.
    pub fn name(&self) -> String {
        text(&self.bytes, at::NAME, NAME_MAX)
    }

    /// The device's uuid; empty: it has none.
    pub fn uuid(&self) -> String {
        text(&self.bytes, at::UUID, UUID_MAX)
    }

    /// The answer's flags.
    pub fn flags(&self) -> u32 {
        self.get32(at::FLAGS)
    }

    /// How often the device is open, mounts and devices on top of it among that.
    pub fn open_count(&self) -> u32 {
        self.get32(at::OPEN_COUNT)
    }

    /// The number of the device's last event.
    pub fn event(&self) -> u32 {
        self.get32(at::EVENT)
    }

    /// The lines of a table or a status.
    ///
    /// # Errors
    /// `EPROTO` if they lead out of the buffer.
    pub fn lines(&self) -> Result<Vec<Line>> {
        let data = self.data()?;
        let mut lines = Vec::new();
        let mut at = 0;
        for _ in 0..self.get32(at::TARGET_COUNT) {
            let spec = data.get(at..).ok_or(Errno::PROTO)?;
            if spec.len() < SPEC {
                return Err(Errno::PROTO);
            }
            lines.push(Line {
                start: number64(spec, 0).ok_or(Errno::PROTO)?,
                length: number64(spec, 8).ok_or(Errno::PROTO)?,
                target: text(spec, TYPE.start, TYPE.len()),
                words: text(spec, SPEC, spec.len() - SPEC).trim().to_owned(),
            });
            // From the first line, not from this one, in an answer.
            let next = number32(spec, 20).ok_or(Errno::PROTO)? as usize;
            if next <= at {
                return if lines.len() == self.get32(at::TARGET_COUNT) as usize {
                    Ok(lines)
                } else {
                    Err(Errno::PROTO)
                };
            }
            at = next;
        }
        Ok(lines)
    }

    /// The devices of a list.
    ///
    /// # Errors
    /// `EPROTO` if they lead out of the buffer.
    pub fn devices(&self) -> Result<Vec<Listed>> {
        let data = self.data()?;
        let mut devices = Vec::new();
        let mut at = 0;
        loop {
            let entry = data.get(at..).ok_or(Errno::PROTO)?;
            let dev = number64(entry, 0).ok_or(Errno::PROTO)?;
            let next = number32(entry, 8).ok_or(Errno::PROTO)? as usize;
            if dev != 0 {
                let end = 12 + field(entry, 12, NAME_MAX).len() + 1;
                devices.push(Listed {
                    dev,
                    name: text(entry, 12, NAME_MAX),
                    uuid: listed_uuid(entry, end),
                });
            }
            match next {
                0 => return Ok(devices),
                _ => at = at.checked_add(next).ok_or(Errno::PROTO)?,
            }
        }
    }

    /// The names in a list of targets.
    ///
    /// # Errors
    /// `EPROTO` if they lead out of the buffer.
    pub fn targets(&self) -> Result<Vec<String>> {
        let data = self.data()?;
        let mut targets = Vec::new();
        let mut at = 0;
        loop {
            // How far the next one is, three numbers of the version, the name.
            let entry = data.get(at..).ok_or(Errno::PROTO)?;
            let next = number32(entry, 0).ok_or(Errno::PROTO)? as usize;
            targets.push(text(entry, 16, TYPE.len()));
            match next {
                0 => return Ok(targets),
                _ => at = at.checked_add(next).ok_or(Errno::PROTO)?,
            }
        }
    }

    /// A message's answer, if it had one.
    pub fn answer(&self) -> Option<String> {
        let data = self.data().ok()?;
        (self.flags() & flag::DATA_OUT != 0).then(|| text(data, 0, data.len()))
    }

    fn data(&self) -> Result<&[u8]> {
        let start = self.get32(at::DATA_START) as usize;
        self.bytes.get(start..).ok_or(Errno::PROTO)
    }

    fn put32(&mut self, at: usize, number: u32) {
        self.bytes[at..at + 4].copy_from_slice(&number.to_ne_bytes());
    }

    fn get32(&self, at: usize) -> u32 {
        number32(&self.bytes, at).unwrap_or_default()
    }

    fn put_text(&mut self, at: usize, text: &str, most: usize) -> Result<()> {
        if text.is_empty() || text.len() > most || has_zero(text) {
            return Err(Errno::INVAL);
        }
        self.bytes[at..=at + most].fill(0);
        self.bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
        Ok(())
    }
}

/// The uuid in a list's entry, behind the name: an event number, flags, the uuid; from the next
/// multiple of eight on.
fn listed_uuid(entry: &[u8], name_end: usize) -> Option<String> {
    let behind = name_end.next_multiple_of(8);
    match number32(entry, behind + 4)? {
        flags if flags & HAS_UUID != 0 => Some(text(entry, behind + 8, UUID_MAX)),
        0 => None,
        _ => Some(String::new()),
    }
}

fn has_zero(text: &str) -> bool {
    text.as_bytes().contains(&0)
}

fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*field))
}

fn number64(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_ne_bytes(*field))
}

/// The bytes up to a zero, at most so many.
fn field(bytes: &[u8], at: usize, most: usize) -> &[u8] {
    let field = bytes.get(at..).unwrap_or_default();
    let field = field.get(..most).unwrap_or(field);
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}

fn text(bytes: &[u8], at: usize, most: usize) -> String {
    String::from_utf8_lossy(field(bytes, at, most)).into_owned()
}

#[cfg(test)]
mod tests;
