// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is mounted beneath a folder, read by eyes other than those under test.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::shell;

/// The mountpoints at and beneath a folder, in the order in which they were mounted.
pub fn mountpoints_beneath(folder: &Path) -> Vec<PathBuf> {
    let table = std::fs::read("/proc/thread-self/mountinfo").unwrap_or_default();
    table
        .split(|b| *b == b'\n')
        .filter_map(|line| line.split(|b| *b == b' ').nth(4))
        .map(unescape)
        .filter(|at| at.starts_with(folder))
        .collect()
}

/// Whether something is mounted at the path.
pub fn is_mountpoint(path: &Path) -> bool {
    mountpoints_beneath(path).iter().any(|at| at == path)
}

/// The size in bytes of the file system that a path leads to, as its users see it.
///
/// # Panics
/// There is no such path.
#[track_caller]
pub fn mounted_size(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).expect("the path is there");
    stat.f_blocks * stat.f_frsize
}

/// Unmounts all that; what is busy is detached from the tree.
pub(crate) fn umount_beneath(folder: &Path) {
    for at in mountpoints_beneath(folder).iter().rev() {
        if shell::run("umount", &[at]).is_err() {
            // It may have gone with a mount above it; what stays is looked for by the caller.
            let _ = shell::run("umount", &[Path::new("--lazy"), at]);
        }
    }
}

/// mountinfo writes space, tab, newline and backslash in octal (proc_pid_mountinfo(5)).
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_escapes_become_bytes() {
        assert_eq!(unescape(br"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescape(br"/a\04"), Path::new(r"/a\04"));
    }

    #[test]
    fn the_root_is_a_mountpoint() {
        assert!(is_mountpoint(Path::new("/")));
        assert!(!is_mountpoint(Path::new("/proc/self/nonesuch")));
    }
}
