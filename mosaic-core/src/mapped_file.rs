// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which file code was loaded from: the program, a library, a driver.
//!
//! The kernel's list of mappings says so. dladdr(3) would not do: it gives the path that dlopen(3) got,
//! which the current folder may have been a part of, and in a program that holds a library itself what
//! the program calls itself, which may be a lie.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A file that is mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedFile {
    /// Where it was; another may have taken its place since.
    pub path: PathBuf,
    /// A path of the kernel's that leads to the very file, where it lets us follow it: for root.
    ///
    /// Kernel: `/proc/self/map_files`, proc_pid_map_files(5).
    pub mapping: PathBuf,
}

impl MappedFile {
    /// The file that has the code of a function; `None`: the kernel does not say.
    pub fn of(function: *const ()) -> Option<Self> {
        Self::at(&std::fs::read("/proc/self/maps").ok()?, function as usize)
    }

    /// Whether it is the program that runs, also if another has taken that one's place since.
    ///
    /// Kernel: the link `/proc/self/exe` has the same ` (deleted)` as the list of mappings (fs/d_path.c,
    /// `d_path`).
    pub fn is_the_program(&self) -> bool {
        let program = std::env::current_exe();
        program.is_ok_and(|program| without_deleted(program.as_os_str().as_bytes()) == self.path)
    }

    /// The file that is mapped at an address. A line of the list, proc_pid_maps(5):
    /// `start-end perms offset dev inode    path`, `(deleted)` behind it if it is not there any more.
    fn at(maps: &[u8], address: usize) -> Option<Self> {
        let mut lines = maps.split(|byte| *byte == b'\n');
        let (line, start, end) = lines.find_map(|line| {
            let (start, end) = range(line)?;
            (start..end)
                .contains(&address)
                .then_some((line, start, end))
        })?;
        let path = &line[line.iter().position(|byte| *byte == b'/')?..];
        Some(Self {
            path: without_deleted(path).to_owned(),
            mapping: format!("/proc/self/map_files/{start:x}-{end:x}").into(),
        })
    }
}

/// The path that a file had, or has.
fn without_deleted(path: &[u8]) -> &Path {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    Path::new(OsStr::from_bytes(path))
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
        let at = |address| MappedFile::at(maps, address);
        let path = |address| at(address).unwrap().path;
        assert_eq!(path(0x1000), Path::new("/usr/bin/program"));
        assert_eq!(path(0x3fff), Path::new("/opt/my lib/libmosaic.so.1"));
        assert!(at(0x3000).unwrap().mapping.ends_with("3000-4000"));
        for nothing in [0xfff, 0x2000, 0x4000, 0x5000, usize::MAX] {
            assert_eq!(at(nothing), None, "{nothing:#x}");
        }
        assert_eq!(MappedFile::at(b"", 0), None);
    }

    #[test]
    fn this_code_is_in_this_program() {
        let here = a_mapping_says_which_file_it_is_of as fn() as *const ();
        let ours = MappedFile::of(here).unwrap();
        let program = std::env::current_exe().unwrap();
        assert_eq!(ours.path, program);
        assert!(ours.is_the_program());
        // Only root may follow it.
        if let Ok(very) = std::fs::metadata(&ours.mapping) {
            use std::os::unix::fs::MetadataExt;
            let program = program.metadata().unwrap();
            assert_eq!(very.ino(), program.ino());
        }
    }
}
