// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which file this library was loaded from: drivers lie beside it.
//!
//! The kernel's list of mappings says so. dladdr(3) would not do: it gives the path that dlopen(3)
//! got, which the current folder may have been a part of, and in a program that holds the library
//! itself what the program calls itself, which may be a lie.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use mosaic_core::loader::Beside;

/// What drivers lie beside: the library, or the program that holds it. Nothing, if the kernel does not
/// say.
pub(crate) fn beside() -> Beside {
    static BESIDE: OnceLock<Beside> = OnceLock::new();
    let look = || {
        let file = file().unwrap_or_default();
        match std::env::current_exe() {
            Ok(program) if program == file => Beside::Program,
            _ => Beside::Library(file),
        }
    };
    BESIDE.get_or_init(look).clone()
}

fn file() -> Option<PathBuf> {
    let here = (file as fn() -> Option<PathBuf>) as usize;
    let maps = std::fs::read("/proc/self/maps").ok()?;
    mapped_at(&maps, here).map(Path::to_owned)
}

/// The file that is mapped at an address. A line of the list, proc_pid_maps(5):
/// `start-end perms offset dev inode    path`, `(deleted)` behind it if another took its place.
fn mapped_at(maps: &[u8], address: usize) -> Option<&Path> {
    let lines = maps.split(|byte| *byte == b'\n');
    let line = lines
        .into_iter()
        .find(|line| range(line).is_some_and(|(start, end)| (start..end).contains(&address)))?;
    let path = line.iter().position(|byte| *byte == b'/')?;
    let path = &line[path..];
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    Some(Path::new(OsStr::from_bytes(path)))
}

fn range(line: &[u8]) -> Option<(usize, usize)> {
    let end = line.iter().position(|byte| *byte == b' ')?;
    let range = std::str::from_utf8(&line[..end]).ok()?;
    let (start, end) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_says_which_file_it_is_of() {
        let maps = b"1000-2000 r--p 00000000 fd:01 12      /usr/bin/program\n\
            2000-3000 rw-p 00000000 00:00 0 \n\
            3000-4000 r-xp 00001000 fd:01 34      /opt/my lib/libmosaic.so.1 (deleted)\n\
            5000-6000 rw-p 00000000 00:00 0       [stack]\n";
        let at = |address| mapped_at(maps, address).map(|path| path.to_str().unwrap());
        assert_eq!(at(0x1000), Some("/usr/bin/program"));
        assert_eq!(at(0x3fff), Some("/opt/my lib/libmosaic.so.1"));
        for nothing in [0xfff, 0x2000, 0x4000, 0x5000, usize::MAX] {
            assert_eq!(at(nothing), None, "{nothing:#x}");
        }
    }

    #[test]
    fn these_tests_are_a_program_that_holds_the_library() {
        assert_eq!(file().unwrap(), std::env::current_exe().unwrap());
        assert_eq!(beside(), Beside::Program);
    }
}
