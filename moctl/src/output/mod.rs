// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a command says on stdout: text for people, or one JSON object.
//!
//! Nothing is printed before a command is done, and then in one write. A reader that went away is
//! no failure. Control characters never reach a terminal: names of files are anybody's words.

pub mod failure;
pub mod json;
pub mod table;
pub mod words;

use std::io::{ErrorKind, Write};

use mosaic_core::printable;
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
