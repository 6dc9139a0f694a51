// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes a location: one directory, and the metadata folder in it.

use std::path::Path;

use mosaic_core::{Context, Error, ErrorKind, Location, Result};
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::config::Options;
use crate::support;

/// The location is its owner's: names of volumes are nobody else's business.
const LOCATION_MODE: Mode = Mode::RWXU;
/// The metadata folder is mounted elsewhere, where it is what a fresh file system's root is.
const METADATA_MODE: Mode = Mode::from_bits_retain(0o755);

/// Steps: mkdir of the location, if it is not there; see whether volumes can be made in it; mkdir of
/// the metadata folder and those above it. Killed between, the same call makes the rest.
pub fn init(options: &Options) -> Result<Vec<String>> {
    let mut made = Vec::new();
    let path = &options.location;
    let new = make(path, LOCATION_MODE)?;
    if new {
        made.push(format!("made location {path:?}"));
    }
    let location = Location::open(path).map_err(|error| match error.kind() {
        ErrorKind::Invalid => error.with_kind(ErrorKind::Exists),
        _ => error,
    })?;
    if let Some(reason) = support::refusal_to_create(&location) {
        if new {
            // Ours, empty, and of no use.
            let _ = fs::unlinkat(CWD, path, AtFlags::REMOVEDIR);
        }
        return Err(Error::new(ErrorKind::Unsupported, reason));
    }
    if let Some(metadata) = &options.metadata {
        make_metadata(path, metadata, &mut made)?;
    }
    if made.is_empty() {
        return Err(Error::new(
            ErrorKind::Exists,
            format!("location {path:?} is there already"),
        ));
    }
    Ok(made)
}

fn make_metadata(location: &Path, metadata: &Path, made: &mut Vec<String>) -> Result<()> {
    let mut path = location.to_owned();
    for component in metadata.components() {
        path.push(component);
        if make(&path, METADATA_MODE)? {
            made.push(format!("made metadata folder {path:?}"));
        }
    }
    Ok(())
}

/// Makes one directory, durably and with this very mode; false if something is there.
fn make(path: &Path, mode: Mode) -> Result<bool> {
    let failed = || format!("cannot make {path:?}");
    match fs::mkdir(path, mode) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(false),
        Err(errno) => return Err(Error::io(errno, failed())),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = fs::open(path, flags, Mode::empty()).context(failed)?;
    fs::fchmod(&dir, mode).context(failed)?;
    let above = fs::openat(&dir, "..", flags, Mode::empty()).context(failed)?;
    fs::fsync(&dir)
        .and_then(|()| fs::fsync(&above))
        .context(failed)?;
    Ok(true)
}
