// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/proc/PID/mountinfo`: one line per mount of a mount namespace, as far as the process's root
//! lets it see them.
//!
//! The file is bytes, not text: blank, tab, newline, backslash and `#` in a path or source are octal
//! escapes, everything else stands as it is, and a source may be empty.
//!
//! Kernel: proc_pid_mountinfo(5), `show_mountinfo` in fs/proc_namespace.c.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, ErrorKind, Result};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// Number of the mount, unique on the host while it exists; `stx_mnt_id` of statx(2).
    pub id: u64,
    /// Number of the mount that it is on.
    pub parent: u64,
    /// Device number of the file system; major 0 where it is on no block device, and for btrfs.
    pub major: u32,
    /// See `major`.
    pub minor: u32,
    /// The directory of the file system that the mount shows; `/` is all of it.
    pub root: PathBuf,
    /// Where, as seen from the root of the process whose file was read.
    pub mountpoint: PathBuf,
    /// The mount's own options: `ro,nosuid`.
    pub options: OsString,
    /// Whether mounts made in it appear in other mount namespaces (`shared:N`).
    pub shared: bool,
    /// File system type, with a sub-type: `ext4`, `fuse.sshfs`.
    pub fs: String,
    /// What was given as source; a device's path may have gone stale since.
    pub source: OsString,
    /// The file system's options.
    pub super_options: OsString,
}

/// Reads the lines of a mountinfo file.
///
/// # Errors
/// `Corrupt` with the number of the line that is not in the format.
pub fn parse(text: &[u8]) -> Result<Vec<MountEntry>> {
    text.split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(at, line)| {
            entry(line).ok_or_else(|| {
                Error::new(
                    ErrorKind::Corrupt,
                    format!("line {} of the mount table is not in its format", at + 1),
                )
            })
        })
        .collect()
}

/// The mounts that this thread sees.
///
/// # Errors
/// The kernel's, if `/proc` is not mounted.
pub fn own() -> Result<Vec<MountEntry>> {
    load(Path::new("/proc/thread-self/mountinfo"))
}

/// The mounts in a file.
pub(crate) fn load(path: &Path) -> Result<Vec<MountEntry>> {
    let text = std::fs::read(path).context(|| format!("cannot read {path:?}"))?;
    parse(&text)
}

fn entry(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let mut device = fields.next()?.splitn(2, |byte| *byte == b':');
    let major = number(device.next()?)?.try_into().ok()?;
    let minor = number(device.next()?)?.try_into().ok()?;
    let root = unescape(fields.next()?).into();
    let mountpoint = unescape(fields.next()?).into();
    let options = unescape(fields.next()?);
    let mut shared = false;
    loop {
        match fields.next()? {
            b"-" => break,
            optional => shared |= optional.starts_with(b"shared:"),
        }
    }
    Some(MountEntry {
        id,
        parent,
        major,
        minor,
        root,
        mountpoint,
        options,
        shared,
        fs: unescape(fields.next()?).to_string_lossy().into_owned(),
        source: unescape(fields.next()?),
        super_options: unescape(fields.next()?),
    })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Turns each `\ooo` into its byte; anything else after a backslash stays as it is.
pub(crate) fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        match octal(after).filter(|_| *first == b'\\') {
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
    OsString::from_vec(bytes)
}

/// The byte that three octal digits at the start stand for.
fn octal(digits: &[u8]) -> Option<u8> {
    let mut value = 0u32;
    for digit in digits.get(..3)? {
        value = value * 8 + char::from(*digit).to_digit(8)?;
    }
    value.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn all_fields_of_a_line_are_read() {
        let text = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n";
        let entry = &parse(text).unwrap()[0];
        assert_eq!((entry.id, entry.parent), (36, 35));
        assert_eq!((entry.major, entry.minor), (98, 0));
        assert_eq!(entry.root, Path::new("/mnt1"));
        assert_eq!(entry.mountpoint, Path::new("/mnt2"));
        assert_eq!(entry.options, "rw,noatime");
        assert!(entry.shared);
        assert_eq!(entry.fs, "ext3");
        assert_eq!(entry.source, "/dev/root");
        assert_eq!(entry.super_options, "rw,errors=continue");
    }

    #[test]
    fn escapes_and_stray_bytes_are_the_paths_own() {
        let text = b"1 2 0:5 / /a\\040b\\011c\\012d\\134e\\043f\xff\\9x\\777 rw - tmpfs  rw\n";
        let entry = &parse(text).unwrap()[0];
        assert_eq!(
            entry.mountpoint.as_os_str().as_bytes(),
            b"/a b\tc\nd\\e#f\xff\\9x\\777"
        );
        assert_eq!(entry.source, "");
        assert_eq!(entry.super_options, "rw");
        assert!(!entry.shared);
    }

    #[test]
    fn a_line_out_of_format_is_named() {
        let good = "1 2 0:5 / / rw - tmpfs none rw";
        for (bad, why) in [
            ("1 2 0:5 / / rw", "no separator"),
            ("1 2 0:5 / / rw -", "nothing after it"),
            ("x 2 0:5 / / rw - tmpfs none rw", "id"),
            ("1 2 05 / / rw - tmpfs none rw", "device"),
            ("1 2 0:99999999999 / / rw - tmpfs none rw", "minor"),
            (" ", "blank"),
        ] {
            let error = parse(format!("{good}\n{bad}\n").as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{why}");
            assert!(error.to_string().starts_with("line 2 "), "{why}");
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        let seed = b"36 35 98:0 /m\\040 /mnt2\\ rw shared:7 - ext3 /dev/root rw\n36 35";
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            let mut text = seed.to_vec();
            for _ in 0..4 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let bytes = state.to_le_bytes();
                let at = usize::from(bytes[0]) % text.len();
                text[at] = bytes[1];
                text.truncate(usize::from(bytes[2]).max(at + 1));
            }
            let _ = parse(&text);
        }
    }

    #[test]
    fn our_own_table_has_a_root() {
        let mounts = own().unwrap();
        assert!(mounts.iter().any(|m| m.mountpoint == Path::new("/")));
    }
}
