// SPDX-License-Identifier: MIT OR Apache-2.0
//! XML as a tree that is written back as it was read, to the byte, but for what was changed in it.
//!
//! Just what a descriptor needs: elements and their text. Attributes, comments, processing
//! instructions and all else are carried along unread. Entities are the five of XML and numbers;
//! none is ever expanded beyond its own length.

mod read;
#[cfg(test)]
mod tests;

use std::fmt;

pub use read::XmlFault;

/// No more elements in each other than that.
pub const MAX_DEPTH: usize = 64;

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    before: String,
    root: Element,
    after: String,
}

/// An element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    name: String,
    /// The start tag as it stands.
    open: String,
    children: Vec<Node>,
    /// The end tag as it stands; `None` where the start tag ends the element.
    close: Option<String>,
}

/// What is in an element.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Element(Element),
    /// Characters between tags, escaped as they stand.
    Text(String),
    /// Characters that are meant as they stand, with their delimiters.
    CData(String),
    /// Comments and the like.
    Other(String),
}

impl Document {
    /// The outermost element.
    pub fn root(&self) -> &Element {
        &self.root
    }

    /// The outermost element, to change what is in it.
    pub fn root_mut(&mut self) -> &mut Element {
        &mut self.root
    }
}

impl Element {
    /// An element with nothing in it.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            open: format!("<{name}/>"),
            children: Vec::new(),
            close: None,
        }
    }

    /// An element with text in it.
    pub fn with_text(name: &str, text: &str) -> Self {
        let mut element = Self::new(name);
        element.set_text(text);
        element
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The elements in it.
    pub fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            _ => None,
        })
    }

    /// The elements in it, to be changed.
    pub fn elements_mut(&mut self) -> impl Iterator<Item = &mut Self> {
        self.children.iter_mut().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            _ => None,
        })
    }

    /// The first element of a name in it.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.elements().find(|element| element.name == name)
    }

    /// The first element of a name in it, to be changed.
    pub fn child_mut(&mut self, name: &str) -> Option<&mut Self> {
        self.elements_mut().find(|element| element.name == name)
    }

    /// The text in it without the white space around it; `None` if there are references in it that
    /// mean nothing.
    pub fn text(&self) -> Option<String> {
        let mut text = String::new();
        for node in &self.children {
            match node {
                Node::Text(escaped) => text.push_str(&quick_xml::escape::unescape(escaped).ok()?),
                Node::CData(raw) => {
                    let inner = raw.strip_prefix("<![CDATA[");
                    text.push_str(inner.and_then(|raw| raw.strip_suffix("]]>"))?);
                }
                Node::Element(_) | Node::Other(_) => {}
            }
        }
        Some(text.trim().to_owned())
    }

    /// Puts text in the place of all that is in it.
    pub fn set_text(&mut self, text: &str) {
        self.unfold();
        let escaped = quick_xml::escape::escape(text).into_owned();
        self.children = vec![Node::Text(escaped)];
    }

    /// Adds an element behind the others; `depth` is how deep this one is in the document.
    pub fn push(&mut self, element: Self, depth: usize) {
        self.unfold();
        if matches!(self.children.as_slice(), [Node::Text(text)] if is_blank(text)) {
            self.children.clear();
        }
        let (inner, outer) = match self.children.as_slice() {
            [] => (Some(pad(depth + 1)), Some(pad(depth))),
            [Node::Text(first), .., Node::Text(last)] if is_blank(first) && is_blank(last) => {
                (Some(first.clone()), Some(last.clone()))
            }
            // It stands in one line, or between words.
            _ => (None, None),
        };
        if outer.is_some() {
            self.children.pop();
        }
        self.children.extend(inner.map(Node::Text));
        self.children.push(Node::Element(element));
        self.children.extend(outer.map(Node::Text));
    }

    /// Sets the text of the first element of a name in it, which is added if it is missing.
    pub fn set_child_text(&mut self, name: &str, text: &str, depth: usize) {
        match self.child_mut(name) {
            Some(child) => child.set_text(text),
            None => self.push(Self::with_text(name, text), depth),
        }
    }

    /// Takes elements out, with the white space before them.
    pub fn remove(&mut self, is_meant: impl Fn(&Self) -> bool) {
        let mut kept: Vec<Node> = Vec::with_capacity(self.children.len());
        for node in std::mem::take(&mut self.children) {
            if !matches!(&node, Node::Element(element) if is_meant(element)) {
                kept.push(node);
                continue;
            }
            if matches!(kept.last(), Some(Node::Text(text)) if is_blank(text)) {
                kept.pop();
            }
        }
        self.children = kept;
    }

    /// Gives it an end tag.
    fn unfold(&mut self) {
        if self.close.is_some() {
            return;
        }
        if let Some(open) = self.open.strip_suffix("/>") {
            self.open = format!("{}>", open.trim_end());
        }
        self.close = Some(format!("</{}>", self.name));
    }
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_whitespace())
}

/// A new line, and two spaces for each element around.
fn pad(depth: usize) -> String {
    format!("\n{}", "  ".repeat(depth))
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.before, self.root, self.after)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.open)?;
        for node in &self.children {
            match node {
                Node::Element(element) => element.fmt(f)?,
                Node::Text(raw) | Node::CData(raw) | Node::Other(raw) => f.write_str(raw)?,
            }
        }
        f.write_str(self.close.as_deref().unwrap_or_default())
    }
}
