// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the block server's program is: beside the driver, whoever loaded it from where.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mosaic_core::mapped_file::MappedFile;
use mosaic_core::{Context, Error, ErrorKind, Result};
use rustix::process::geteuid;

use crate::server::PROGRAM;

/// The program's path.
///
/// # Errors
/// `Unsupported` if it is not there; `Permission` if others than root or this user can change it.
pub fn find() -> Result<PathBuf> {
    let ours = our_file()?;
    let candidates = [ours.parent(), ours.parent().and_then(above_tests)];
    let candidates = candidates.into_iter().flatten();
    let mut candidates = candidates.map(|folder| folder.join(PROGRAM));
    let Some(program) = candidates.find(|path| path.is_file()) else {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("the block server {PROGRAM:?} is not installed beside {ours:?}"),
        ));
    };
    refuse_if_loose(&program)?;
    Ok(program)
}

/// Programs of tests are one folder further down than what they are tests of.
fn above_tests(folder: &Path) -> Option<&Path> {
    folder.parent().filter(|_| folder.ends_with("deps"))
}

/// The file that this very code was loaded from: the driver, or a program that has it inside.
fn our_file() -> Result<PathBuf> {
    let here = find as fn() -> Result<PathBuf> as *const ();
    let file = MappedFile::of(here).ok_or_else(|| {
        let why = "cannot find out where the driver was loaded from";
        Error::new(ErrorKind::Io, why)
    })?;
    Ok(file.path)
}

fn refuse_if_loose(program: &Path) -> Result<()> {
    let found = program
        .metadata()
        .context(|| format!("cannot stat {program:?}"))?;
    let trusted = found.uid() == 0 || found.uid() == geteuid().as_raw();
    if trusted && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Permission,
        format!("others can change {program:?}, so it is not run; chown root and chmod go-w it"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_code_is_in_this_program() {
        let ours = our_file().unwrap();
        assert_eq!(ours, std::env::current_exe().unwrap());
    }
}
