// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a command says on stdout: text for people, or one JSON object.
//!
//! Nothing is printed before a command is done, and then in one write. A reader that went away is
//! no failure. Control characters never reach a terminal: names of files are anybody's words.

pub mod failure;
pub mod json;
pub mod table;
pub mod words;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write};

use serde::Serialize;

/// What a command found or did.
#[derive(Debug, Default)]
pub struct Report {
    /// For people; empty or whole lines.
    pub text: String,
    /// The fields of the JSON object, themselves an object.
    pub fields: String,
    /// 0, or the answer of `have --exit-code` and `check`.
    pub exit_status: u8,
}

impl Report {
    /// A report with these JSON fields (a struct), without text.
    pub fn new(fields: impl Serialize) -> Self {
        Self {
            text: String::new(),
            fields: serde_json::to_string(&fields).unwrap_or_default(),
            exit_status: 0,
        }
    }

    /// Adds one line of text.
    #[must_use]
    pub fn line(mut self, line: impl AsRef<str>) -> Self {
        self.text.push_str(&printable(line.as_ref()));
        self.text.push('\n');
        self
    }

    /// Adds text of whole lines that is printable already.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Sets the exit status.
    #[must_use]
    pub fn exit_status(mut self, status: u8) -> Self {
        self.exit_status = status;
        self
    }
}

/// Writes to stdout at once; a reader that went away is no failure.
///
/// # Errors
/// What kept it from writing: a full disk.
pub fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// The text with escapes for characters that would steer a terminal: control characters, and those
/// that turn the direction of writing and so could show another name than there is.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c if steers(c) => {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
            }
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_as_escapes() {
        assert_eq!(printable("größe \"日本\" \\"), "größe \"日本\" \\");
        assert_eq!(
            printable("a\u{1b}[2Jb\u{9b}\u{7f}\n\t"),
            "a\\u{1b}[2Jb\\u{9b}\\u{7f}\\n\\t"
        );
        assert_eq!(printable("x\u{202e}fdp"), "x\\u{202e}fdp");
    }
}
