// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the location's file system can do: found by doing it, to files without a name.

use std::sync::OnceLock;

use mosaic_core::label;
use mosaic_core::mounts::MountTable;
use mosaic_core::reflink;
use mosaic_core::volume::NewKind;
use mosaic_core::{Error, ErrorKind, Location};
use rustix::fs::{AtFlags, StatxFlags, ioctl_ficlone, statx};
use rustix::io::Errno;

use crate::unnamed;

/// What was found out already, and stays so while the location is open.
#[derive(Debug, Default)]
pub struct Support {
    creates: OnceLock<()>,
    /// Whether there is reflink, a matter of how the file system was made.
    reflink: OnceLock<Option<String>>,
}

impl Support {
    /// Why a volume cannot be made here; `None`: it can. A reason may pass: it is tried each time.
    pub fn refusal_to_create(&self, location: &Location) -> Option<String> {
        if self.creates.get().is_some() {
            return None;
        }
        let refusal = refusal_to_create(location);
        if refusal.is_none() {
            self.creates.get_or_init(|| ());
        }
        refusal
    }

    /// Why an image cannot be cloned here; `None`: it can.
    pub fn refusal_to_clone(&self, location: &Location) -> Option<String> {
        if let Some(known) = self.reflink.get() {
            return known.clone();
        }
        let pair = unnamed::open(location).and_then(|one| Ok((one, unnamed::open(location)?)));
        // What keeps even empty files from being made is said where that is asked.
        let (from, to) = pair.ok()?;
        let answer = ioctl_ficlone(&to, &from).err();
        let refusal = answer.map(|errno| no_reflink(location, errno));
        self.reflink.get_or_init(|| refusal).clone()
    }
}

/// Why volumes cannot be made in a location; `None`: they can. A location that is full, or not this
/// user's to write in, is none that cannot: the verb itself will say so.
pub fn refusal_to_create(location: &Location) -> Option<String> {
    let opened = unnamed::open(location);
    if matches!(opened, Err(Errno::ACCESS | Errno::PERM)) {
        return None;
    }
    let labelled = opened
        .map_err(|errno| cannot_create(location, errno))
        .and_then(|file| label::set_kind(file, &NewKind::Disk));
    let error = labelled.err()?;
    let lasting = matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Permission);
    lasting.then(|| error.chain())
}

/// What is meant when a file without a name is refused.
pub fn cannot_create(location: &Location, errno: Errno) -> Error {
    let (kind, message) = match errno {
        Errno::OPNOTSUPP | Errno::ISDIR => (
            ErrorKind::Unsupported,
            format!(
                "{} has no files without a name (O_TMPFILE), and a volume appears complete or not \
                 at all",
                place(location)
            ),
        ),
        Errno::ACCESS | Errno::PERM => (
            ErrorKind::Permission,
            format!("no permission to write in {:?}", location.path()),
        ),
        Errno::ROFS => (
            ErrorKind::Permission,
            format!("{} is mounted read-only", place(location)),
        ),
        _ => return Error::io(errno, format!("cannot write in {:?}", location.path())),
    };
    Error::new(kind, message)
}

/// What is said when `FICLONE` is refused.
pub fn no_reflink(location: &Location, errno: Errno) -> String {
    match reflink::is_missing(errno) {
        true => format!("{} has no reflink", place(location)),
        false => Error::io(errno, place(location)).chain(),
    }
}

/// `ext4 at "/srv/img"`.
pub fn place(location: &Location) -> String {
    let fs = file_system_of(location).unwrap_or_else(|| "the file system".to_owned());
    format!("{fs} at {:?}", location.path())
}

/// The type of the location's file system, as its mount says it.
fn file_system_of(location: &Location) -> Option<String> {
    let stat = statx(location.dir(), c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    let table = MountTable::read().ok()?;
    table.by_id(stat.stx_mnt_id).map(|entry| entry.fs.clone())
}
