// SPDX-License-Identifier: MIT OR Apache-2.0
//! The second reader: finds the lines of a document's entries, once something is wrong with one.
//!
//! It answers by index path, the way in which a fault remembers its place: `[2, 0]` is the first
//! entry of the mapping that is the value of the third entry. So the two readers need not agree on
//! what a value means, only on the order of entries. Where this one gives up earlier, the entry
//! above answers.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser};

use super::values::DEPTH;

/// The lines of a document, counted from 1.
#[derive(Debug, Default)]
pub(super) struct Marks {
    entries: BTreeMap<Vec<usize>, usize>,
    second_document: Option<usize>,
    first_alias: Option<usize>,
    /// The last line: what is missing at the end is missing there.
    last: usize,
}

impl Marks {
    /// Reads a text, as far as it can be read.
    pub(super) fn read(text: &str) -> Self {
        let mut walk = Walk::default();
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(Ok((event, span))) = parser.next_event() {
            let line = span.start.line();
            if matches!(event, Event::DocumentStart(_)) {
                documents += 1;
                if documents == 2 {
                    walk.marks.second_document = Some(line);
                    break;
                }
            }
            walk.event(&event, line);
        }
        walk.marks.last = count_lines(text);
        walk.marks
    }

    /// The line of an entry's key, or of the nearest one around it.
    pub(super) fn line(&self, at: &[usize]) -> usize {
        (0..=at.len())
            .rev()
            .find_map(|length| self.entries.get(&at[..length]))
            .map_or(1, |line| self.last.min(*line))
    }

    /// Where a second document starts.
    pub(super) fn second_document(&self) -> usize {
        self.second_document.unwrap_or(1)
    }

    /// Where the first alias is.
    pub(super) fn first_alias(&self) -> usize {
        self.first_alias.unwrap_or(1)
    }
}

/// Lines as YAML counts them.
pub(super) fn count_lines(text: &str) -> usize {
    let text = text.replace("\r\n", "\n");
    let breaks = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    text.strip_suffix(breaks)
        .unwrap_or(&text)
        .split(breaks)
        .count()
}

/// A mapping that is being read.
#[derive(Debug, Default)]
struct Frame {
    /// Index of the entry that is being read.
    entry: usize,
    /// Whether its key has been read.
    has_key: bool,
}

/// The state between two events. Never recurses: the depth of a file is the file's.
#[derive(Debug, Default)]
struct Walk {
    marks: Marks,
    frames: Vec<Frame>,
    /// Open collections in something that has no entries of interest: a sequence, a key that is a
    /// collection, a mapping deeper than any known key.
    skipping: usize,
}

impl Walk {
    fn event(&mut self, event: &Event<'_>, line: usize) {
        match event {
            Event::Alias(_) => {
                self.marks.first_alias.get_or_insert(line);
                self.scalar(line);
            }
            Event::Scalar(..) => self.scalar(line),
            Event::SequenceStart(..) => self.start(false, line),
            Event::MappingStart(..) => self.start(true, line),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            _ => {}
        }
    }

    fn scalar(&mut self, line: usize) {
        if self.skipping == 0 {
            self.record(line);
            self.finish_node();
        }
    }

    fn start(&mut self, is_mapping: bool, line: usize) {
        if self.skipping > 0 {
            self.skipping += 1;
            return;
        }
        self.record(line);
        let is_value = self.frames.last().is_none_or(|frame| frame.has_key);
        if is_mapping && is_value && self.frames.len() < DEPTH {
            self.frames.push(Frame::default());
        } else {
            self.skipping = 1;
        }
    }

    fn end(&mut self) {
        if self.skipping > 0 {
            self.skipping -= 1;
        } else {
            self.frames.pop();
        }
        if self.skipping == 0 {
            self.finish_node();
        }
    }

    /// Notes the line of a key, or of the root.
    fn record(&mut self, line: usize) {
        if self.frames.last().is_none_or(|frame| !frame.has_key) {
            let path = self.frames.iter().map(|frame| frame.entry).collect();
            self.marks.entries.entry(path).or_insert(line);
        }
    }

    fn finish_node(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            if frame.has_key {
                frame.entry += 1;
            }
            frame.has_key = !frame.has_key;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_lines_of_nested_repeated_and_odd_entries() {
        let text = "# note\ntype: a\nlist:\n  - x: 1\n    y: 2\n? {a: b}\n: c\n\
                    pool:\n  data: d\n\n  meta: e\npool: f\n";
        let marks = Marks::read(text);
        for (at, line) in [
            (&[][..], 2),
            (&[0], 2),
            (&[1], 3),
            (&[1, 0], 3),
            (&[2], 6),
            (&[3], 8),
            (&[3, 0], 9),
            (&[3, 1], 11),
            (&[3, 1, 4, 5], 11),
            (&[4], 12),
            (&[99], 2),
        ] {
            assert_eq!(marks.line(at), line, "{at:?}");
        }
    }

    #[test]
    fn finds_the_second_document_and_the_first_alias() {
        let marks = Marks::read("a: &x 1\nb: *x\n---\nc: d\n");
        assert_eq!(marks.first_alias(), 2);
        assert_eq!(marks.second_document(), 3);
    }

    #[test]
    fn keeps_what_it_saw_before_a_syntax_error() {
        let marks = Marks::read("a: 1\nb: 2\n  - c: [\n");
        assert_eq!(marks.line(&[1]), 2);
        assert_eq!(Marks::read("").line(&[0]), 1);
    }

    #[test]
    fn a_deep_document_needs_neither_stack_nor_memory() {
        for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")] {
            let deep = open.repeat(15_000) + &close.repeat(15_000);
            assert!(Marks::read(&deep).entries.len() <= DEPTH + 1, "{open:?}");
        }
    }
}
