// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ELF note from which `moctl drivers` and the loader read what a driver's file is without
//! running any of it. Made while compiling, so that it is just bytes in the file.

use crate::driver::{Driver, is_type_name};

/// An ELF note, owner `Mosaic`, type 1: strings `key=value`, each ended by a NUL byte.
///
/// ELF: three words (lengths of name and description, type), then both, padded to 4 bytes; System V
/// ABI, chapter 5, "Note Section".
#[repr(C, align(4))]
#[derive(Debug)]
#[doc(hidden)]
pub struct Note<const LEN: usize> {
    name_len: u32,
    text_len: u32,
    kind: u32,
    name: [u8; 8],
    text: [u8; LEN],
}

/// Owner of the note, with its NUL byte.
pub const NOTE_NAME: &[u8; 7] = b"Mosaic\0";
/// Type of the note.
pub const NOTE_KIND: u32 = 1;

/// What goes into the note.
#[derive(Debug)]
#[doc(hidden)]
pub struct NoteText {
    /// Key and value.
    pairs: [(&'static str, &'static str); 4],
    /// Joined by commas under the key `aliases`.
    aliases: &'static [&'static str],
}

impl NoteText {
    /// The text of a driver. A type or alias that cannot be one stops the compiler.
    pub const fn of<D: Driver>(version: &'static str) -> Self {
        assert!(
            is_type_name(D::TYPE),
            "Driver::TYPE must be [a-z][a-z0-9_-]{{0,31}}"
        );
        let mut at = 0;
        while at < D::ALIASES.len() {
            assert!(
                is_type_name(D::ALIASES[at]),
                "Driver::ALIASES must be types"
            );
            at += 1;
        }
        Self {
            pairs: [
                ("abi=", mosaic_abi::VERSION),
                ("type=", D::TYPE),
                ("version=", version),
                ("description=", D::DESCRIPTION),
            ],
            aliases: D::ALIASES,
        }
    }

    /// Bytes, padded to 4.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub const fn len(&self) -> usize {
        self.write(&mut []).next_multiple_of(4)
    }

    /// Writes what fits, and returns how much there is.
    const fn write(&self, text: &mut [u8]) -> usize {
        let mut len = 0;
        let mut at = 0;
        while at < self.pairs.len() {
            len = put(text, len, self.pairs[at].0);
            len = put(text, len, self.pairs[at].1);
            len = put(text, len, "\0");
            at += 1;
        }
        len = put(text, len, "aliases=");
        at = 0;
        while at < self.aliases.len() {
            len = put(text, len, self.aliases[at]);
            len = put(text, len, ",");
            at += 1;
        }
        put(text, len, "\0")
    }
}

/// Puts a part at its place in the text, where the text is long enough, and returns its end.
const fn put(text: &mut [u8], start: usize, part: &str) -> usize {
    let part = part.as_bytes();
    let mut at = 0;
    while at < part.len() {
        if start + at < text.len() {
            text[start + at] = part[at];
        }
        at += 1;
    }
    start + part.len()
}

impl<const LEN: usize> Note<LEN> {
    #[doc(hidden)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a few hundred bytes, in const code"
    )]
    pub const fn new(from: &NoteText) -> Self {
        let mut text = [0; LEN];
        from.write(&mut text);
        Self {
            name_len: NOTE_NAME.len() as u32,
            text_len: LEN as u32,
            kind: NOTE_KIND,
            name: *b"Mosaic\0\0",
            text,
        }
    }
}
