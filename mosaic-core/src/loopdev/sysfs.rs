// SPDX-License-Identifier: MIT OR Apache-2.0
//! What sysfs says of loop devices to everybody, without opening any of them.
//!
//! `loop/backing_file` is a path as the reader's mount namespace would write it: another namespace's
//! file can have a misleading one there. So it is enough to show a state, never to change one.
//!
//! Documentation/ABI/testing/sysfs-block-loop; `loop/dio` since Linux 4.10.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::Identity;
use crate::size::SECTOR;

const BLOCK: &str = "/sys/block";

/// A bound loop device as sysfs shows it.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The N of `/dev/loopN`.
    pub number: u32,
    /// The backing file's path; it ends with ` (deleted)` if the file is.
    pub path: PathBuf,
}

impl Shown {
    /// Whether the backing file has no name any more.
    pub fn is_deleted(&self) -> bool {
        self.path.as_os_str().as_bytes().ends_with(b" (deleted)")
    }

    /// Whether the backing file has not had a name yet, as an unfinished clone: `#INODE (deleted)`.
    pub fn is_unnamed(&self) -> bool {
        let leaf = self.path.file_name().unwrap_or_default().as_bytes();
        let number = leaf
            .strip_prefix(b"#")
            .and_then(|rest| rest.strip_suffix(b" (deleted)"));
        number.is_some_and(|number| number.iter().all(u8::is_ascii_digit))
    }

    /// Whether the backing file is this one, as far as its path says so. A path with another last
    /// component is not looked at: it may be on a server that does not answer.
    pub fn is_backed_by(&self, file: Identity, leaf: &str) -> bool {
        self.path.file_name() == Some(OsStr::new(leaf)) && identity(&self.path) == Some(file)
    }

    /// Whether it goes with its last opener.
    pub fn is_autoclear(&self) -> bool {
        flag(self.number, "loop/autoclear").unwrap_or(false)
    }

    /// Whether it refuses writes.
    pub fn is_read_only(&self) -> bool {
        flag(self.number, "ro").unwrap_or(false)
    }
}

/// All loop devices that are bound to a file.
///
/// # Errors
/// The kernel's, if sysfs is not mounted.
pub fn bound() -> io::Result<Vec<Shown>> {
    let mut devices = Vec::new();
    for entry in std::fs::read_dir(BLOCK)? {
        if let Some(number) = super::number(&entry?.file_name()) {
            devices.extend(shown(number));
        }
    }
    Ok(devices)
}

/// One loop device; `None` if it is bound to nothing.
pub fn shown(number: u32) -> Option<Shown> {
    let mut path = std::fs::read(attribute(number, "loop/backing_file")).ok()?;
    if path.last() == Some(&b'\n') {
        path.pop();
    }
    let path = PathBuf::from(std::ffi::OsString::from_vec(path));
    Some(Shown { number, path })
}

/// Whether a loop device does direct I/O.
pub fn is_direct(number: u32) -> Option<bool> {
    flag(number, "loop/dio")
}

/// The size of a loop device in bytes.
pub fn size(number: u32) -> Option<u64> {
    let text = std::fs::read(attribute(number, "size")).ok()?;
    let sectors: u64 = str::from_utf8(text.trim_ascii()).ok()?.parse().ok()?;
    sectors.checked_mul(SECTOR)
}

fn attribute(number: u32, name: &str) -> PathBuf {
    Path::new(BLOCK).join(format!("loop{number}")).join(name)
}

fn flag(number: u32, name: &str) -> Option<bool> {
    let text = std::fs::read(attribute(number, name)).ok()?;
    Some(OsStr::from_bytes(text.trim_ascii()) == "1")
}

/// Without triggering an automount: nothing is worth waiting for a dead server here.
fn identity(path: &Path) -> Option<Identity> {
    let flags = AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let stat = statx(CWD, path, flags, StatxFlags::INO).ok()?;
    Some(Identity::from_statx(&stat))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleted_and_unnamed_files_are_told_from_others_by_their_path() {
        for (path, deleted, unnamed) in [
            ("/img/a", false, false),
            ("/img/a (deleted)", true, false),
            ("/img/#131 (deleted)", true, true),
            ("/img/#a (deleted)", true, false),
            ("/img/#131", false, false),
        ] {
            let path = path.into();
            let shown = Shown { number: 0, path };
            assert_eq!((shown.is_deleted(), shown.is_unnamed()), (deleted, unnamed));
        }
    }
}
