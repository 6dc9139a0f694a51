// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables for people.
//!
//! On a terminal a table fits its width: long cells go on in the next line. Elsewhere each row is
//! one line with all of it, whatever the width.

use comfy_table::{ColumnConstraint, ContentArrangement, presets};
use mosaic_core::Bytes;

use mosaic_core::printable;

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
        let lines = self
            .unwrapped(columns)
            .unwrap_or_else(|| self.arranged(columns));
        match lines.split_once('\n') {
            Some((header, rows)) if color => format!("\x1b[1m{header}\x1b[0m\n{rows}"),
            _ => lines,
        }
    }

    /// Each row in one line. `None` where that does not fit, or where a character may be wider than
    /// its byte. Quick: tens of thousands of volumes are listed by scripts.
    fn unwrapped(&self, columns: Option<u16>) -> Option<String> {
        let mut widths: Vec<usize> = self.header.iter().map(|cell| cell.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.is_ascii().then_some(cell.len())?);
            }
        }
        let gap = usize::from(GAP);
        let whole: usize = widths.iter().map(|width| width + gap).sum();
        if columns.is_some_and(|columns| whole > usize::from(columns.max(NARROWEST))) {
            return None;
        }
        let mut text = String::with_capacity((whole + 1) * (self.rows.len() + 1));
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            for (cell, width) in cells.zip(&widths) {
                text.push_str(cell);
                text.extend(std::iter::repeat_n(' ', width + gap - cell.len()));
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        };
        line(&mut self.header.iter().copied());
        for row in &self.rows {
            line(&mut row.iter().map(String::as_str));
        }
        Some(text)
    }

    /// With long cells wrapped on a terminal.
    fn arranged(&self, columns: Option<u16>) -> String {
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
        let lines = table.lines();
        lines.map(|line| format!("{}\n", line.trim_end())).collect()
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
    fn the_quick_way_shows_what_the_other_does() {
        for columns in [None, Some(60)] {
            let quick = table().unwrapped(columns).unwrap();
            assert_eq!(quick, table().arranged(columns));
        }
        assert_eq!(table().unwrapped(Some(40)), None);
        let mut wide = table();
        wide.row(["日本".into(), "ü".into()]);
        assert_eq!(wide.unwrapped(None), None);
        assert!(wide.render(None, false).contains("\n日本     ü\n"));
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
