// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the location's file system can do: found by doing it, to files without a name.

use std::sync::OnceLock;

use mosaic_core::label;
use mosaic_core::mounts::MountTable;
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
        match pair {
            Err(Errno::NOSPC | Errno::DQUOT) => None,
            Err(errno) => Some(no_unnamed_file(location, errno)),
            Ok((from, to)) => {
                let answer = ioctl_ficlone(&to, &from).err();
                let refusal = answer.map(|errno| no_reflink(location, errno));
                self.reflink.get_or_init(|| refusal).clone()
            }
        }
    }
}

/// Why a volume cannot be made in a location; `None`: it can.
///
/// A location that is only full is able: whoever makes a volume is told so by its own kind.
pub fn refusal_to_create(location: &Location) -> Option<String> {
    let file = match unnamed::open(location) {
        Ok(file) => file,
        Err(Errno::NOSPC | Errno::DQUOT) => return None,
        Err(errno) => return Some(no_unnamed_file(location, errno)),
    };
    label::set_kind(&file, &NewKind::Disk)
        .err()
        .filter(|error| error.kind() != ErrorKind::NoSpace)
        .map(|error| error.chain())
}

/// What is said when `FICLONE` is refused.
pub fn no_reflink(location: &Location, errno: Errno) -> String {
    match errno {
        Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY | Errno::NOSYS | Errno::XDEV => {
            format!("{} has no reflink", place(location))
        }
        _ => Error::io(errno, place(location)).chain(),
    }
}

/// What is said when `O_TMPFILE` is refused.
pub fn no_unnamed_files(location: &Location) -> String {
    format!(
        "{} has no files without a name (O_TMPFILE), and a volume appears complete or not at all",
        place(location)
    )
}

fn no_unnamed_file(location: &Location, errno: Errno) -> String {
    match errno {
        Errno::OPNOTSUPP | Errno::ISDIR => no_unnamed_files(location),
        Errno::ACCESS | Errno::PERM => {
            format!("no permission to write in {:?}", location.path())
        }
        Errno::ROFS => format!("{} is mounted read-only", place(location)),
        _ => Error::io(errno, place(location)).chain(),
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
