// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text to tree: `quick-xml` says what stands where, the pieces are taken from the text itself.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{Document, Element, MAX_DEPTH, Node};

/// Why a text is no document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlFault {
    /// Tags that do not match, and the like.
    #[error("byte {at}: {what}")]
    IllFormed {
        /// Where.
        at: u64,
        /// The parser's words.
        what: String,
    },
    /// There has to be exactly one outermost element.
    #[error("there is not one outermost element")]
    NoRoot,
    /// Elements in elements without end.
    #[error("elements are nested more than {MAX_DEPTH} deep")]
    TooDeep,
}

/// What is known of a document so far.
#[derive(Default)]
struct Builder {
    before: String,
    open: Vec<Element>,
    root: Option<Element>,
    after: String,
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// The text is none.
    pub fn parse(text: &str) -> Result<Self, XmlFault> {
        let (mark, text) = text.split_at(text.len() - text.trim_start_matches('\u{feff}').len());
        let mut builder = Builder {
            before: mark.to_owned(),
            ..Builder::default()
        };
        let mut reader = Reader::from_str(text);
        loop {
            let start = reader.buffer_position();
            let event = reader.read_event().map_err(|e| XmlFault::IllFormed {
                at: reader.error_position(),
                what: e.to_string(),
            })?;
            if event == Event::Eof {
                return builder.finish();
            }
            let raw = between(text, start, reader.buffer_position());
            builder.take(&event, raw)?;
        }
    }
}

impl Builder {
    fn take(&mut self, event: &Event<'_>, raw: &str) -> Result<(), XmlFault> {
        match event {
            Event::Start(tag) => self.open(tag, raw),
            Event::Empty(tag) => {
                self.open(tag, raw)?;
                self.close(None)
            }
            Event::End(_) => self.close(Some(raw.to_owned())),
            Event::Text(_) | Event::GeneralRef(_) => self.text(raw),
            Event::CData(_) => self.inside(Node::CData(raw.to_owned())),
            _ => {
                self.other(raw);
                Ok(())
            }
        }
    }

    fn open(&mut self, tag: &BytesStart<'_>, raw: &str) -> Result<(), XmlFault> {
        if self.root.is_some() {
            return Err(XmlFault::NoRoot);
        }
        if self.open.len() == MAX_DEPTH {
            return Err(XmlFault::TooDeep);
        }
        self.open.push(Element {
            name: tag.name().as_ref().to_owned(),
            open: raw.to_owned(),
            children: Vec::new(),
            close: None,
        });
        Ok(())
    }

    fn close(&mut self, raw: Option<String>) -> Result<(), XmlFault> {
        // An end without a start is the parser's to find.
        let mut element = self.open.pop().ok_or(XmlFault::NoRoot)?;
        element.close = raw;
        match self.open.last_mut() {
            Some(parent) => parent.children.push(Node::Element(element)),
            None => self.root = Some(element),
        }
        Ok(())
    }

    /// Text and references that follow each other are one text.
    fn text(&mut self, raw: &str) -> Result<(), XmlFault> {
        if self.open.is_empty() && raw.bytes().all(|byte| byte.is_ascii_whitespace()) {
            self.other(raw);
            return Ok(());
        }
        let siblings = self.open.last_mut().map(|parent| &mut parent.children);
        if let Some(Node::Text(text)) = siblings.and_then(|siblings| siblings.last_mut()) {
            text.push_str(raw);
            return Ok(());
        }
        self.inside(Node::Text(raw.to_owned()))
    }

    fn inside(&mut self, node: Node) -> Result<(), XmlFault> {
        let parent = self.open.last_mut().ok_or(XmlFault::NoRoot)?;
        parent.children.push(node);
        Ok(())
    }

    fn other(&mut self, raw: &str) {
        match (self.open.last_mut(), &self.root) {
            (Some(parent), _) => parent.children.push(Node::Other(raw.to_owned())),
            (None, None) => self.before.push_str(raw),
            (None, Some(_)) => self.after.push_str(raw),
        }
    }

    fn finish(self) -> Result<Document, XmlFault> {
        let root = self.root.filter(|_| self.open.is_empty());
        Ok(Document {
            before: self.before,
            root: root.ok_or(XmlFault::NoRoot)?,
            after: self.after,
        })
    }
}

/// A part of the text; nothing if the parser counts otherwise than we do.
fn between(text: &str, start: u64, end: u64) -> &str {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    text.get(place(start)..place(end)).unwrap_or_default()
}
