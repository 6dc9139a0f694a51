// SPDX-License-Identifier: MIT OR Apache-2.0
//! The C library's manual, cut into pages: one of the library, one of each function.
//!
//! `doc/libmosaic.md` is written for that. A headline of level 3 that is function names in
//! backquotes begins their page: a sentence that says what they do, the declarations, then what else
//! there is to say. A paragraph that begins with "Returns" is of the result, a table whose first
//! column is called "error" of the errors, a program with all that belongs to it an example.
//! Everything outside of such sections is the library's page.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};

use super::markdown::{Block, Span, parse, words};

/// What a complete program is known by.
const PROGRAM: [&str; 3] = ["int main(", "func main()", "import ctypes"];

/// The C library's manual.
#[derive(Debug)]
pub struct Manual {
    /// The library's name, and what it is.
    pub title: String,
    /// The sections of its page; where functions were, a table of them.
    pub overview: Vec<Block>,
    /// The functions' pages.
    pub pages: Vec<Page>,
}

/// A page of one function, or of several that belong together.
#[derive(Debug, Default)]
pub struct Page {
    /// The functions.
    pub names: Vec<String>,
    /// What they do, in a sentence without its full stop.
    pub headline: String,
    /// Their declarations.
    pub synopsis: String,
    /// What there is to say.
    pub description: Vec<Block>,
    /// What they give.
    pub results: Vec<Block>,
    /// How they fail.
    pub errors: Vec<Block>,
    /// Programs, with the text that leads to them and their output.
    pub examples: Vec<Block>,
}

impl Manual {
    /// Reads and cuts it.
    ///
    /// # Errors
    /// It is not written as this needs it.
    pub fn read(text: &str) -> Result<Self> {
        let mut blocks = parse(text)?.into_iter().peekable();
        let Some(Block::Heading(1, title)) = blocks.next() else {
            bail!("the first line is no title");
        };
        let mut manual = Self {
            title: words(&title),
            overview: Vec::new(),
            pages: Vec::new(),
        };
        while let Some(block) = blocks.next() {
            let Some(names) = functions_of(&block) else {
                manual.overview.push(block);
                continue;
            };
            let mut section = Vec::new();
            while let Some(block) = blocks.next_if(|block| !matches!(block, Block::Heading(..))) {
                section.push(block);
            }
            let failed = || format!("in the section of {}", names.join(", "));
            let page = Page::cut(names.clone(), section).with_context(failed)?;
            manual.list(&page);
            manual.pages.push(page);
        }
        Ok(manual)
    }

    /// Puts a page into the library's table of functions.
    fn list(&mut self, page: &Page) {
        let names: Vec<String> = page.names.iter().map(|name| format!("{name}()")).collect();
        let mut first = Vec::new();
        for name in names {
            if !first.is_empty() {
                first.push(Span::Text(", ".to_owned()));
            }
            first.push(Span::Code(name));
        }
        let row = vec![first, vec![Span::Text(page.headline.clone())]];
        match self.overview.last_mut() {
            Some(Block::Table(head, rows)) if head.is_empty() => rows.push(row),
            _ => self.overview.push(Block::Table(Vec::new(), vec![row])),
        }
    }

    /// All functions that have a page.
    pub fn functions(&self) -> BTreeSet<&str> {
        let names = self.pages.iter().flat_map(|page| &page.names);
        names.map(String::as_str).collect()
    }
}

impl Page {
    fn cut(names: Vec<String>, section: Vec<Block>) -> Result<Self> {
        let mut blocks = section.into_iter().peekable();
        let Some(Block::Paragraph(headline)) = blocks.next() else {
            bail!("it does not begin with a sentence that says what they do");
        };
        let headline = words(&headline);
        let sentence = headline.strip_suffix('.').filter(|s| !s.contains(". "));
        let Some(Block::Code(language, synopsis)) = blocks.next() else {
            bail!("there are no declarations after the first paragraph");
        };
        ensure!(language == "c", "the declarations are not in C");
        let mut page = Self {
            names,
            headline: sentence
                .context("the first paragraph is not one sentence")?
                .to_owned(),
            synopsis,
            ..Self::default()
        };
        while let Some(block) = blocks.next() {
            let leads = matches!(&block, Block::Paragraph(text) if words(text).ends_with(':'))
                && blocks.peek().is_some_and(is_program);
            let follows = is_output(&block) && !page.examples.is_empty();
            if is_program(&block) || leads || follows {
                page.examples.push(block);
            } else if is_errors(&block) {
                page.errors.push(block);
            } else if is_result(&block) {
                page.results.push(block);
            } else {
                page.description.push(block);
            }
        }
        ensure!(!page.results.is_empty(), "nothing says what they return");
        Ok(page)
    }

    /// The functions that its text names.
    pub fn mentioned(&self) -> BTreeSet<&str> {
        let parts = [&self.description, &self.results, &self.errors];
        let blocks = parts.into_iter().flatten();
        blocks.flat_map(spans).filter_map(function_of).collect()
    }
}

/// The functions of a headline that begins their section.
fn functions_of(block: &Block) -> Option<Vec<String>> {
    let Block::Heading(3, spans) = block else {
        return None;
    };
    let mut names = Vec::new();
    for span in spans {
        match span {
            Span::Code(name) if name.starts_with("mosaic_") => names.push(name.clone()),
            Span::Text(between) if between == ", " => {}
            _ => return None,
        }
    }
    (!names.is_empty()).then_some(names)
}

/// The function that a span names: `mosaic_open()`.
pub fn function_of(span: &Span) -> Option<&str> {
    match span {
        Span::Code(code) => code.strip_suffix("()").filter(|n| n.starts_with("mosaic_")),
        _ => None,
    }
}

fn is_program(block: &Block) -> bool {
    matches!(block, Block::Code(_, lines) if PROGRAM.iter().any(|mark| lines.contains(mark)))
}

fn is_output(block: &Block) -> bool {
    matches!(block, Block::Code(language, _) if language == "console")
}

fn is_errors(block: &Block) -> bool {
    matches!(block, Block::Table(head, _) if head.first().is_some_and(|cell| words(cell) == "error"))
}

fn is_result(block: &Block) -> bool {
    matches!(block, Block::Paragraph(text) if words(text).starts_with("Returns"))
}

/// All running text of a block.
fn spans(block: &Block) -> Vec<&Span> {
    match block {
        Block::Heading(_, spans) | Block::Paragraph(spans) => spans.iter().collect(),
        Block::Code(..) => Vec::new(),
        Block::Table(_, rows) => rows.iter().flatten().flatten().collect(),
        Block::List(entries) => entries.iter().flat_map(|(_, spans)| spans).collect(),
    }
}
