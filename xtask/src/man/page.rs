// SPDX-License-Identifier: MIT OR Apache-2.0
//! Blocks of a manual as roff with the macros of man(7).

use roff::{Inline, Roff, bold, roman};

use super::library::{Manual, Page, function_of};
use super::markdown::{Block, Span};

/// How far a tab of an example goes: pages are narrow.
const TAB: &str = "    ";

/// The file of a page and what is in it.
pub type File = (String, String);

/// The files of a manual of the C library of this version: `libmosaic.3`, `mosaic_open.3`...
///
/// Of functions that share a page all but the first have a file that leads to it.
pub fn files(manual: &Manual, version: &str) -> Vec<File> {
    let mut files = vec![("libmosaic.3".to_owned(), overview(manual, version))];
    for page in &manual.pages {
        let [first, others @ ..] = page.names.as_slice() else {
            continue;
        };
        files.push((format!("{first}.3"), function(manual, page, version)));
        for other in others {
            let link = format!(".so man3/{first}.3\n");
            files.push((format!("{other}.3"), link));
        }
    }
    files
}

fn overview(manual: &Manual, version: &str) -> String {
    let mut writer = Writer::new(manual, &[], "libmosaic", version);
    writer.section("NAME");
    let (name, what) = manual.title.split_once(": ").unwrap_or((&manual.title, ""));
    writer.line(&format!("{name} - {what}"));
    writer.library();
    writer.section("SYNOPSIS");
    writer.synopsis("");
    writer.section("DESCRIPTION");
    writer.blocks(&manual.overview);
    writer.see_also([].into_iter());
    writer.roff.render()
}

fn function(manual: &Manual, page: &Page, version: &str) -> String {
    let mut writer = Writer::new(manual, &page.names, &page.names[0], version);
    writer.section("NAME");
    let headline = lower_first(&page.headline);
    writer.line(&format!("{} - {headline}", page.names.join(", ")));
    writer.library();
    writer.section("SYNOPSIS");
    writer.synopsis(&page.synopsis);
    writer.section("DESCRIPTION");
    writer.line(&format!("{}.", page.headline));
    writer.blocks(&page.description);
    writer.section("RETURN VALUE");
    writer.blocks(&page.results);
    writer.section("ERRORS");
    writer.blocks(&page.errors);
    let rest = "What any function can fail with is in the section Errors of ";
    let rest = [roman(rest), bold("libmosaic"), roman("(3).")];
    writer.paragraph(rest.to_vec());
    if !page.examples.is_empty() {
        writer.section("EXAMPLES");
        writer.blocks(&page.examples);
    }
    let mentioned = page.mentioned().into_iter();
    writer.see_also(mentioned.filter(|name| !page.names.iter().any(|own| own == name)));
    writer.roff.render()
}

struct Writer<'a> {
    roff: Roff,
    manual: &'a Manual,
    /// The functions of this page.
    own: &'a [String],
    /// No paragraph has to be opened: a section or an entry has just been.
    fresh: bool,
}

impl<'a> Writer<'a> {
    fn new(manual: &'a Manual, own: &'a [String], name: &str, version: &str) -> Self {
        let mut roff = Roff::new();
        let source = format!("Mosaic {version}");
        // A date would make each build another page.
        roff.control("TH", [name, "3", "\"\"", &source, "Mosaic"]);
        // As it stands in the text: no words taken apart at a line's end.
        roff.control("nh", []);
        Self {
            roff,
            manual,
            own,
            fresh: true,
        }
    }

    fn section(&mut self, title: &str) {
        self.roff.control("SH", [title.to_uppercase().as_str()]);
        self.fresh = true;
    }

    fn line(&mut self, text: &str) {
        self.roff.text([roman(text)]);
        self.fresh = false;
    }

    fn library(&mut self) {
        self.section("LIBRARY");
        self.line("Mosaic library (libmosaic, -lmosaic)");
    }

    fn synopsis(&mut self, declarations: &str) {
        let text = format!("#include <mosaic/mosaic.h>\n\n{declarations}");
        self.roff.control("nf", []);
        self.as_it_is(&text, bold);
        self.roff.control("fi", []);
        self.fresh = false;
    }

    fn as_it_is(&mut self, text: &str, font: fn(String) -> Inline) {
        for line in text.trim_end().lines() {
            match line.trim_end() {
                "" => self.roff.control("sp", []),
                line => self.roff.text([font(line.replace('\t', TAB))]),
            };
        }
    }

    fn paragraph(&mut self, inlines: Vec<Inline>) {
        if !self.fresh {
            self.roff.control("PP", []);
        }
        self.roff.text(inlines);
        self.fresh = false;
    }

    fn blocks(&mut self, blocks: &[Block]) {
        for block in blocks {
            self.block(block);
        }
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Heading(2, spans) => self.section(&super::markdown::words(spans)),
            Block::Heading(_, spans) => {
                let title = super::markdown::words(spans);
                self.roff.control("SS", [title.as_str()]);
                self.fresh = true;
            }
            Block::Paragraph(spans) => {
                let inlines = self.inlines(spans);
                self.paragraph(inlines);
            }
            Block::Code(_, text) => self.code(text),
            Block::Table(_, rows) => {
                for row in rows {
                    self.row(row);
                }
                // Entries are indented: what follows begins a paragraph of its own.
                self.fresh = false;
            }
            Block::List(entries) => {
                for (number, spans) in entries {
                    let mark = number.map_or("\\(bu".to_owned(), |number| format!("{number}."));
                    self.roff.control("IP", [mark.as_str(), "3"]);
                    let inlines = self.inlines(spans);
                    self.roff.text(inlines);
                }
                self.fresh = false;
            }
        }
    }

    fn code(&mut self, text: &str) {
        if !self.fresh {
            self.roff.control("PP", []);
        }
        self.roff.control("RS", ["4"]);
        self.roff.control("nf", []);
        self.as_it_is(text, roman);
        self.roff.control("fi", []);
        self.roff.control("RE", []);
        self.fresh = false;
    }

    /// The first cell above the others.
    fn row(&mut self, row: &[Vec<Span>]) {
        self.roff.control("TP", []);
        let [first, others @ ..] = row else {
            return;
        };
        let tag = self.inlines(first);
        self.roff.text(tag);
        let mut said: Vec<Inline> = Vec::new();
        for cell in others.iter().filter(|cell| !cell.is_empty()) {
            if !said.is_empty() {
                said.push(roman(": "));
            }
            said.extend(self.inlines(cell));
        }
        self.roff.text(said);
    }

    fn inlines(&self, spans: &[Span]) -> Vec<Inline> {
        let known = self.manual.functions();
        let is_elsewhere =
            |name: &&str| known.contains(name) && !self.own.iter().any(|own| own == name);
        let mut inlines = Vec::new();
        for span in spans {
            match (function_of(span).filter(is_elsewhere), span) {
                (Some(name), _) => inlines.extend([bold(name), roman("(3)")]),
                (None, Span::Text(text)) => inlines.push(roman(text)),
                (None, Span::Code(text) | Span::Strong(text)) => inlines.push(bold(text)),
            }
        }
        inlines
    }

    fn see_also<'b>(&mut self, functions: impl Iterator<Item = &'b str>) {
        self.section("SEE ALSO");
        let mut pages = vec![("moctl", "(1)"), ("libmosaic", "(3)")];
        pages.extend(functions.map(|name| (name, "(3)")));
        let mut inlines = Vec::new();
        for (name, section) in pages {
            if !inlines.is_empty() {
                inlines.push(roman(", "));
            }
            inlines.extend([bold(name), roman(section)]);
        }
        self.paragraph(inlines);
    }
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}
