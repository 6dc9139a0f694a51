// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables for people.
//!
//! On a terminal a table fits its width: long cells go on in the next line. Elsewhere each row is
//! one line with all of it, whatever the width.

use comfy_table::{ColumnConstraint, ContentArrangement, presets};
use mosaic_core::Bytes;

use super::printable;

/// The narrowest terminal that a table is fitted to.
const NARROWEST: u16 = 20;
/// Columns of at most this width are not wrapped as long as the others find room.
const SHORT: u16 = 10;
/// Blanks between two columns.
const GAP: u16 = 2;

/// Rows under a header.
#[derive(Debug)]
pub struct Table {
    header: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(header: &'static [&'static str]) -> Self {
        Self {
            header,
            rows: Vec::new(),
        }
    }

    /// Adds a row; an empty cell becomes `-`, so that every row has as many words.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let shown = |cell: String| match cell.as_str() {
            "" => "-".to_owned(),
            text => printable(text).into_owned(),
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// Lines of text; `columns`: of the terminal.
    pub fn render(&self, columns: Option<u16>, color: bool) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(self.header);
        table.add_rows(&self.rows);
        match columns {
            Some(columns) => {
                table.set_content_arrangement(ContentArrangement::Dynamic);
                table.set_width(columns.max(NARROWEST));
                keep_short_columns(&mut table, columns);
            }
            None => {
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        let mut text = String::new();
        for (at, line) in table.lines().enumerate() {
            let line = line.trim_end();
            match (at, color) {
                (0, true) => text.push_str(&format!("\x1b[1m{line}\x1b[0m\n")),
                _ => text.push_str(&format!("{line}\n")),
            }
        }
        text
    }
}

/// Leaves the wrapping to the long columns, unless that leaves too little for them.
fn keep_short_columns(table: &mut comfy_table::Table, columns: u16) {
    let widths = table.column_max_content_widths();
    let needed: u32 = widths
        .iter()
        .map(|width| u32::from(GAP + (*width).min(SHORT)))
        .sum();
    if needed > u32::from(columns) {
        return;
    }
    for (column, width) in table.column_iter_mut().zip(widths) {
        if width <= SHORT {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
}

/// `10G`, `1.5G`, `512`: one word, and where it is exact also what `new` reads.
pub fn short(size: Bytes) -> String {
    let text = size.to_string();
    text.trim_end_matches('B')
        .trim_end_matches('i')
        .replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(["a".into(), String::new()]);
        table.row([
            "b\u{1b}".into(),
            "a long story of many words that wraps".into(),
        ]);
        table
    }

    #[test]
    fn elsewhere_a_row_is_one_line() {
        assert_eq!(
            table().render(None, false),
            "NAME     STATE\na        -\nb\\u{1b}  a long story of many words that wraps\n"
        );
    }

    #[test]
    fn on_a_terminal_no_line_is_longer_than_it() {
        let text = table().render(Some(30), false);
        assert!(
            text.lines().all(|line| line.chars().count() <= 30),
            "{text}"
        );
        assert!(text.lines().count() > 3 && !text.contains("..."), "{text}");
    }

    #[test]
    fn colour_is_only_the_header() {
        let text = table().render(None, true);
        assert!(
            text.starts_with("\x1b[1mNAME     STATE\x1b[0m\na "),
            "{text:?}"
        );
        assert_eq!(text.matches('\x1b').count(), 2);
    }

    #[test]
    fn sizes_are_one_word() {
        for (bytes, word) in [(512, "512"), (1536, "1.5K"), (10 << 30, "10G")] {
            assert_eq!(short(Bytes(bytes)), word);
        }
    }
}
