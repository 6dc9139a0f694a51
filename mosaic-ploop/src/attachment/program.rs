// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the block server's program is: beside the driver, whoever loaded it from where.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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
///
/// proc_pid_maps(5).
fn our_file() -> Result<PathBuf> {
    let failed = || "cannot find out where the driver was loaded from".into();
    let maps = std::fs::read("/proc/self/maps").context(failed)?;
    let here = find as *const () as usize;
    let mut lines = maps.split(|byte| *byte == b'\n');
    let found = lines.find_map(|line| file_at(line, here));
    found.ok_or_else(|| Error::new(ErrorKind::Io, failed()))
}

/// The file of a line of `maps`, if an address is within it.
fn file_at(line: &[u8], address: usize) -> Option<PathBuf> {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let path = line.iter().position(|byte| *byte == b'/')?;
    let (start, end) = text(line.split(|byte| *byte == b' ').next()?)?.split_once('-')?;
    let number = |digits| usize::from_str_radix(digits, 16).ok();
    let within = (number(start)?..number(end)?).contains(&address);
    within.then(|| PathBuf::from(OsStr::from_bytes(&line[path..])))
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

    #[test]
    fn a_path_with_blanks_is_read_whole() {
        let line = b"7f00-7fff r-xp 00000000 00:1f 9   /usr/lib/my drivers/x.so";
        let path = PathBuf::from("/usr/lib/my drivers/x.so");
        assert_eq!(file_at(line, 0x7f10), Some(path));
        assert_eq!(file_at(line, 0x7fff), None);
        assert_eq!(file_at(b"7f00-7fff rw-p 00000000 00:00 0", 0x7f10), None);
        assert_eq!(file_at(b"", 0), None);
    }
}
