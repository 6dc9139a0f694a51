// SPDX-License-Identifier: MIT OR Apache-2.0
//! A manual in Markdown as blocks: what our manuals use of it, and nothing else.
//!
//! What no manual page could show, such as a picture or a list in a list, is an error.

use std::mem::take;

use anyhow::{Result, bail, ensure};
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// A part of running text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Span {
    /// Words.
    Text(String),
    /// Words to be typed or found as they are.
    Code(String),
    /// Words that matter.
    Strong(String),
}

impl Span {
    /// The words, whatever they look like.
    pub fn words(&self) -> &str {
        let (Self::Text(words) | Self::Code(words) | Self::Strong(words)) = self;
        words
    }
}

/// The words of several spans.
pub fn words(spans: &[Span]) -> String {
    spans.iter().map(Span::words).collect()
}

/// A block of a manual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// A headline; level 1 is the manual's title.
    Heading(u8, Vec<Span>),
    /// A paragraph.
    Paragraph(Vec<Span>),
    /// Lines that stay as they are, and the language that they are said to be in, or "".
    Code(String, String),
    /// The cells of the first row, then those of the others.
    Table(Vec<Vec<Span>>, Vec<Vec<Vec<Span>>>),
    /// The entries, each with its number if it has one.
    List(Vec<(Option<u64>, Vec<Span>)>),
}

/// The blocks of a manual.
///
/// # Errors
/// Something is in it that no manual page could show.
pub fn parse(text: &str) -> Result<Vec<Block>> {
    let mut reader = Reader::default();
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        reader.take_in(event)?;
    }
    Ok(reader.blocks)
}

#[derive(Default)]
struct Reader {
    blocks: Vec<Block>,
    spans: Vec<Span>,
    strong: bool,
    /// Language and lines of the code block that is being read.
    code: Option<(String, String)>,
    head: Vec<Vec<Span>>,
    rows: Vec<Vec<Vec<Span>>>,
    cells: Vec<Vec<Span>>,
    /// The list that is being read, and the number of its next entry.
    list: Option<Vec<(Option<u64>, Vec<Span>)>>,
    next: Option<u64>,
}

impl Reader {
    fn take_in(&mut self, event: Event<'_>) -> Result<()> {
        match event {
            Event::Start(tag) => self.start(tag)?,
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match &mut self.code {
                Some((_, lines)) => lines.push_str(&text),
                None if self.strong => self.spans.push(Span::Strong(text.into_string())),
                None => self.text(&text),
            },
            Event::Code(text) => self.spans.push(Span::Code(text.into_string())),
            Event::SoftBreak => self.text(" "),
            other => bail!("no manual page can show {other:?}"),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        match self.spans.last_mut() {
            Some(Span::Text(before)) => before.push_str(text),
            _ => self.spans.push(Span::Text(text.to_owned())),
        }
    }

    fn start(&mut self, tag: Tag<'_>) -> Result<()> {
        if self.list.is_some() {
            let simple = matches!(tag, Tag::Item | Tag::Strong | Tag::Link { .. });
            let first = matches!(tag, Tag::Paragraph) && self.spans.is_empty();
            ensure!(simple || first, "no manual page can show {tag:?} in a list");
        }
        match tag {
            Tag::CodeBlock(kind) => {
                let language = match kind {
                    CodeBlockKind::Fenced(language) => language.into_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                self.code = Some((language, String::new()));
            }
            Tag::Strong => self.strong = true,
            Tag::List(first) => {
                self.list = Some(Vec::new());
                self.next = first;
            }
            Tag::Paragraph
            | Tag::Heading { .. }
            | Tag::Item
            | Tag::Table(_)
            | Tag::TableHead
            | Tag::TableRow
            | Tag::TableCell
            // Where a link leads to is of no use in a manual page.
            | Tag::Link { .. } => {}
            other => bail!("no manual page can show {other:?}"),
        }
        Ok(())
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::CodeBlock => {
                if let Some((language, lines)) = self.code.take() {
                    self.blocks.push(Block::Code(language, lines));
                }
            }
            TagEnd::Strong => self.strong = false,
            TagEnd::Paragraph if self.list.is_none() => {
                let spans = take(&mut self.spans);
                self.blocks.push(Block::Paragraph(spans));
            }
            TagEnd::Heading(level) => {
                let spans = take(&mut self.spans);
                self.blocks.push(Block::Heading(depth(level), spans));
            }
            TagEnd::Item => {
                let entry = (self.next, take(&mut self.spans));
                self.next = self.next.map(|number| number + 1);
                self.list.get_or_insert_default().push(entry);
            }
            TagEnd::List(_) => {
                let entries = self.list.take().unwrap_or_default();
                self.blocks.push(Block::List(entries));
            }
            TagEnd::TableCell => {
                let cell = take(&mut self.spans);
                self.cells.push(cell);
            }
            TagEnd::TableHead => self.head = take(&mut self.cells),
            TagEnd::TableRow => {
                let row = take(&mut self.cells);
                self.rows.push(row);
            }
            TagEnd::Table => {
                let table = Block::Table(take(&mut self.head), take(&mut self.rows));
                self.blocks.push(table);
            }
            _ => {}
        }
    }
}

fn depth(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(words: &str) -> Span {
        Span::Text(words.to_owned())
    }

    fn code(words: &str) -> Span {
        Span::Code(words.to_owned())
    }

    #[test]
    fn text_code_tables_and_lists_are_read() {
        let blocks = parse(
            "# A\n\nOne\n`two` **three** [four](x.md).\n\n```c\nint a;\n\nint b;\n```\n\n\
             | x | y |\n|---|---|\n| `1` | 2 |\n\n1. first\n2. second\n\n- a `b`\n  c\n",
        );
        let paragraph = vec![
            text("One "),
            code("two"),
            text(" "),
            Span::Strong("three".into()),
            text(" four."),
        ];
        let rows = vec![vec![vec![code("1")], vec![text("2")]]];
        let expected = vec![
            Block::Heading(1, vec![text("A")]),
            Block::Paragraph(paragraph),
            Block::Code("c".into(), "int a;\n\nint b;\n".into()),
            Block::Table(vec![vec![text("x")], vec![text("y")]], rows),
            Block::List(vec![
                (Some(1), vec![text("first")]),
                (Some(2), vec![text("second")]),
            ]),
            Block::List(vec![(None, vec![text("a "), code("b"), text(" c")])]),
        ];
        assert_eq!(blocks.unwrap(), expected);
    }

    #[test]
    fn what_no_page_could_show_is_refused() {
        for strange in [
            "![a](b.png)",
            "<b>a</b>",
            "- a\n  - b",
            "- a\n\n  b",
            "- a\n\n  ```c\n  b\n  ```",
            "> a",
        ] {
            assert!(parse(strange).is_err(), "{strange}");
        }
    }
}
