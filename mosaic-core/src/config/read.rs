// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a config file to its text, whatever the file turns out to be.
//!
//! A FIFO would block an open, a device might act on one: what is no regular file is refused before
//! it is opened, and once more afterwards, in case it was exchanged.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::fault::{place, shown};
use crate::error::{Context, Error, ErrorKind, Result};

/// Most bytes of a config file.
pub(super) const LENGTH_MAX: usize = 64 * 1024;

/// Reads a config file's text, without a byte-order mark.
///
/// # Errors
/// `NotFound`, `Permission` and what else the kernel says; `Config` if it is no regular file, too
/// long, empty or no text.
pub(super) fn text(path: &Path) -> Result<String> {
    let failed = || format!("cannot read config file {path:?}");
    let metadata = std::fs::metadata(path).context(failed)?;
    check_regular(path, &metadata)?;
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .context(failed)?;
    check_regular(path, &file.metadata().context(failed)?)?;
    let mut bytes = Vec::new();
    file.take(LENGTH_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .context(failed)?;
    checked(path, bytes)
}

fn check_regular(path: &Path, metadata: &std::fs::Metadata) -> Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let what = if metadata.is_dir() {
        "is a directory, not a config file"
    } else {
        "is not a regular file"
    };
    Err(refused(&shown(path), what))
}

fn checked(path: &Path, bytes: Vec<u8>) -> Result<String> {
    if bytes.len() > LENGTH_MAX {
        return Err(refused(
            &shown(path),
            &format!("longer than {LENGTH_MAX} bytes, the most a config file may have"),
        ));
    }
    let bytes = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => rest.to_vec(),
        None => bytes,
    };
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        let what = "contains a NUL byte: not a text";
        return Err(refused(&place(path, line_of(&bytes, at)), what));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = line_of(error.as_bytes(), at);
        let byte = error.as_bytes().get(at).copied().unwrap_or_default();
        let what = format!("byte 0x{byte:02x} is not UTF-8: not a text");
        refused(&place(path, line), &what)
    })?;
    if let Some((at, letter)) = text
        .char_indices()
        .find(|(_, letter)| is_unprintable(*letter))
    {
        let what = format!("contains the control character {letter:?}: not a text");
        return Err(refused(&place(path, line_of(text.as_bytes(), at)), &what));
    }
    if text.trim().is_empty() {
        let what = "the file is empty; \"type\" and \"location\" are required";
        return Err(refused(&place(path, 1), what));
    }
    Ok(text)
}

/// What YAML allows in no document (YAML 1.2, c-printable).
fn is_unprintable(letter: char) -> bool {
    let is_space = matches!(letter, '\t' | '\n' | '\r' | '\u{85}');
    (letter.is_control() && !is_space) || matches!(letter, '\u{fffe}' | '\u{ffff}')
}

fn line_of(bytes: &[u8], at: usize) -> usize {
    1 + bytes.iter().take(at).filter(|byte| **byte == b'\n').count()
}

fn refused(place: &str, what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{place}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        let error = checked(Path::new("x.mos"), bytes.to_vec()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_line() {
        assert_eq!(
            refusal(b"type: a\nx: \0\n"),
            "x.mos:2: contains a NUL byte: not a text"
        );
        assert_eq!(
            refusal(b"type: a\n\nx: \xff\n"),
            "x.mos:3: byte 0xff is not UTF-8: not a text"
        );
        assert_eq!(
            refusal(b"type: a\nx: \x1b[2J\n"),
            "x.mos:2: contains the control character '\\u{1b}': not a text"
        );
        assert!(refusal("x: \u{ffff}".as_bytes()).contains("not a text"));
        assert!(refusal(b"\x7fELF\x02\x01\x01\0").contains("not a text"));
        assert!(
            refusal(
                "type: x"
                    .encode_utf16()
                    .flat_map(u16::to_le_bytes)
                    .collect::<Vec<_>>()
                    .as_slice()
            )
            .contains("not a text")
        );
        for empty in [&b""[..], b"\n\n", b" \t\r\n", b"\xef\xbb\xbf"] {
            assert!(refusal(empty).starts_with("x.mos:1: the file is empty"));
        }
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_text() {
        let text = checked(Path::new("x"), b"\xef\xbb\xbftype: a".to_vec()).unwrap();
        assert_eq!(text, "type: a");
    }

    #[test]
    fn length_is_bounded_to_the_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.mos");
        std::fs::write(&path, "#".repeat(LENGTH_MAX)).unwrap();
        assert_eq!(text(&path).unwrap().len(), LENGTH_MAX);
        std::fs::write(&path, "#".repeat(LENGTH_MAX + 1)).unwrap();
        let error = text(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("longer than 65536 bytes"));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_hanging() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo.mos");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let socket = dir.path().join("socket.mos");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [&fifo, &socket, Path::new("/dev/zero"), dir.path()] {
            let error = text(path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{path:?}");
            assert!(error.to_string().starts_with(path.to_str().unwrap()));
        }
        let error = text(&dir.path().join("absent")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
