// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a location: the directory, and in it the folder of the metadata.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, CWD, Mode};
use rustix::io::Errno;

use super::listing::plain_components;
use super::{FOLDER, Location};
use crate::error::{Context, Error, ErrorKind, Result};

/// The location is its owner's: names of volumes are nobody else's business.
const LOCATION_MODE: Mode = Mode::RWXU;
/// The metadata is mounted elsewhere, where it is what the root of a new file system is.
const METADATA_MODE: Mode = Mode::RWXU
    .union(Mode::RGRP)
    .union(Mode::XGRP)
    .union(Mode::ROTH)
    .union(Mode::XOTH);

impl Location {
    /// Makes the directory `path` and beneath it the folder `layout_fs`, as far as they are not
    /// there; returns a line for each thing made. Nothing that is there is changed. The folder that
    /// is to hold the location has to be there: else a disk may be missing that it is on.
    ///
    /// # Errors
    /// `Exists` if nothing had to be made, or something that is no folder is in the way; `NotFound`
    /// if the folder above is missing; the kernel's.
    pub fn init(path: &Path, layout_fs: Option<&Path>) -> Result<Vec<String>> {
        let mut made = Vec::new();
        if make(CWD, path, LOCATION_MODE).context(|| format!("cannot make location {path:?}"))? {
            made.push(format!("made location {path:?}"));
        }
        let location = Self::open(path).map_err(|error| match error.kind() {
            ErrorKind::Invalid => error.with_kind(ErrorKind::Exists),
            _ => error,
        })?;
        if let Some(layout_fs) = layout_fs {
            location.make_layout(&plain_components(layout_fs), &mut made)?;
        }
        if made.is_empty() {
            let why = format!("location {path:?} is there already");
            return Err(Error::new(ErrorKind::Exists, why));
        }
        Ok(made)
    }

    fn make_layout(&self, layout_fs: &Path, made: &mut Vec<String>) -> Result<()> {
        let mut folder = self.open_beneath(".", FOLDER).context(String::new)?;
        let mut path = PathBuf::new();
        for component in layout_fs {
            path.push(component);
            let failed = || format!("cannot make {path:?} in {:?}", self.path());
            if make(&folder, Path::new(component), METADATA_MODE).context(failed)? {
                made.push(format!("made folder {path:?} in it"));
            }
            folder = match fs::openat(&folder, component, FOLDER, Mode::empty()) {
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let why = format!("{path:?} in {:?} is there and no folder", self.path());
                    return Err(Error::new(ErrorKind::Exists, why));
                }
                other => other.context(failed)?,
            };
        }
        Ok(())
    }
}

/// Makes a directory, durably and with this very mode; `false` if something is there.
fn make(above: impl AsFd, path: &Path, mode: Mode) -> rustix::io::Result<bool> {
    match fs::mkdirat(&above, path, mode) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(false),
        Err(errno) => return Err(errno),
    }
    let dir = fs::openat(&above, path, FOLDER, Mode::empty())?;
    fs::fchmod(&dir, mode)?;
    let above: OwnedFd = fs::openat(&dir, "..", FOLDER, Mode::empty())?;
    fs::fsync(&dir)?;
    fs::fsync(&above)?;
    Ok(true)
}
