// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults of a config file, and the one error that tells all of them.
//!
//! A fault remembers where it is by index path; lines are looked up only when there is an error to
//! show, so that a good file is read once.

use std::fmt::Write;
use std::path::Path;

use super::marks::Marks;
use crate::error::{Error, ErrorKind};

/// Faults that are shown; the rest is counted.
const SHOWN_MAX: usize = 100;

/// What is wrong with one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Index path of the entry; empty: the document.
    pub at: Vec<usize>,
    /// One line, lower case.
    pub what: String,
    /// The entry that this one repeats.
    pub repeats: Option<Vec<usize>>,
}

impl Fault {
    /// A fault of an entry.
    pub(super) fn new(at: &[usize], what: impl Into<String>) -> Self {
        Self {
            at: at.to_vec(),
            what: what.into(),
            repeats: None,
        }
    }
}

/// One error for all faults: a line for each, in the order of the file.
pub(super) fn error(path: &Path, text: &str, faults: &[Fault]) -> Error {
    let marks = Marks::read(text);
    let mut lines: Vec<(usize, String)> = faults
        .iter()
        .map(|fault| {
            let mut what = fault.what.clone();
            if let Some(first) = &fault.repeats {
                let _ = write!(what, "; the first one is in line {}", marks.line(first));
            }
            (marks.line(&fault.at), what)
        })
        .collect();
    lines.sort_by_key(|(line, _)| *line);
    let hidden = lines.len().saturating_sub(SHOWN_MAX);
    let mut messages: Vec<String> = lines
        .iter()
        .take(SHOWN_MAX)
        .map(|(line, what)| format!("{}: {what}", place(path, *line)))
        .collect();
    if hidden > 0 {
        messages.push(format!("{}: and {hidden} more faults", shown(path)));
    }
    Error::new(ErrorKind::Config, messages.join("\n"))
}

/// `FILE:LINE`.
pub(super) fn place(path: &Path, line: usize) -> String {
    format!("{}:{line}", shown(path))
}

/// The path as it is, or escaped if it could be taken for more than a path.
pub(super) fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().any(char::is_control) {
        format!("{path:?}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_in_the_order_of_the_file() {
        let text = "a: 1\nb: 2\na: 3\n";
        let repeated = Fault {
            repeats: Some(vec![0]),
            ..Fault::new(&[2], "\"a\" is repeated")
        };
        let error = error(Path::new("x.mos"), text, &[repeated, Fault::new(&[1], "b")]);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(
            error.to_string(),
            "x.mos:2: b\nx.mos:3: \"a\" is repeated; the first one is in line 1"
        );
    }

    #[test]
    fn a_path_cannot_forge_a_line() {
        assert_eq!(place(Path::new("a\nb"), 1), "\"a\\nb\":1");
    }

    #[test]
    fn thousands_of_faults_are_counted_not_shown() {
        let faults = vec![Fault::new(&[0], "bad"); 5_000];
        let error = error(Path::new("x.mos"), "a: 1\n", &faults);
        assert_eq!(error.to_string().lines().count(), SHOWN_MAX + 1);
        assert!(error.to_string().ends_with("and 4900 more faults"));
    }
}
