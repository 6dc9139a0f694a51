// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first reader: a document's values. The only module that knows `serde_yaml`.
//!
//! It keeps what a checked reader wants to see and a map type would hide (repeated keys, their
//! order) and reads no further than a config file can make sense: sequences are seen but not
//! entered, nor are mappings beneath [`DEPTH`]. Aliases are followed, with a budget on what they
//! expand to; `serde_yaml` limits their number only, which still leaves room for gigabytes.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::marks::count_lines;

/// Mappings in mappings that are read; known keys have fewer.
pub(super) const DEPTH: usize = 8;
/// Values in a document, aliases expanded. A file of the allowed length has fewer of its own.
const VALUES_MAX: usize = 100_000;
/// Bytes of text in a document, aliases expanded.
const TEXT_MAX: usize = 1 << 20;
/// What `serde_yaml` says when there are a hundred times more aliases than values.
const ALIASES_EXCEEDED: &str = "repetition limit exceeded";
/// Opening brackets in a file, whether they mean anything or not. The parser beneath `serde_yaml`
/// takes time by the square of their nesting: 64 KiB of them would be 20 seconds.
const BRACKETS_MAX: usize = 500;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Integer(i128),
    /// Any other number.
    Fraction(f64),
    /// A text.
    Text(String),
    /// A sequence; what is in it does not matter.
    List,
    /// A value with a tag of its own: `!x y`.
    Tagged,
    /// A mapping, in the order of the file.
    Mapping(Vec<Entry>),
    /// A mapping in which no known key can be.
    TooDeep,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// Any value can be a key in YAML.
    pub key: Node,
    /// What stands at the key.
    pub value: Node,
}

impl fmt::Display for Node {
    /// What was found, for "expected x, found y".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Integer(number) => write!(f, "the number {number}"),
            Self::Fraction(number) => write!(f, "the number {number}"),
            Self::Text(text) => write!(f, "{}", quoted(text)),
            Self::List => f.write_str("a list"),
            Self::Tagged => f.write_str("a value with a tag"),
            Self::Mapping(_) | Self::TooDeep => f.write_str("a mapping"),
        }
    }
}

/// A text from the file, in quotes, and cut where it is too long for a message.
///
/// Backslashes stay as they are (an expression is full of them); what could act on a terminal or
/// begin a line is escaped.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 64;
    let mut shown = String::from('"');
    for letter in text.chars().take(SHOWN) {
        match letter {
            '\\' | '"' | '\'' => shown.push(letter),
            _ => shown.extend(letter.escape_debug()),
        }
    }
    shown.push('"');
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Why a text is not one document of bounded size.
#[derive(Debug, PartialEq)]
pub(super) enum Unreadable {
    /// It is no YAML.
    Syntax {
        /// Counted from 1.
        line: Option<usize>,
        /// The parser's words.
        what: String,
    },
    /// More than one document.
    SecondDocument,
    /// Its aliases expand to too much.
    Expansion,
    /// It has too many brackets.
    Brackets {
        /// Counted from 1.
        line: usize,
    },
}

/// Reads the one document of a text.
pub(super) fn read(text: &str) -> Result<Node, Unreadable> {
    check_brackets(text)?;
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let Some(document) = documents.next() else {
        return Ok(Node::Null);
    };
    let budget = Budget {
        values: Cell::new(VALUES_MAX),
        text: Cell::new(TEXT_MAX),
    };
    let seed = Seed {
        budget: &budget,
        depth: 0,
    };
    match seed.deserialize(document) {
        Err(_) if budget.is_exceeded() => Err(Unreadable::Expansion),
        Err(error) if error.to_string() == ALIASES_EXCEEDED => Err(Unreadable::Expansion),
        Err(error) => Err(syntax(text, &error)),
        Ok(_) if documents.next().is_some() => Err(Unreadable::SecondDocument),
        Ok(node) => Ok(node),
    }
}

fn check_brackets(text: &str) -> Result<(), Unreadable> {
    match text.match_indices(['[', '{']).nth(BRACKETS_MAX) {
        None => Ok(()),
        Some((at, _)) => Err(Unreadable::Brackets {
            line: text[..at].matches('\n').count() + 1,
        }),
    }
}

/// The parser's words without its first "at line 3 column 7", which goes before the message.
fn syntax(text: &str, error: &serde_yaml::Error) -> Unreadable {
    let words = error.to_string();
    let Some(place) = error.location() else {
        return Unreadable::Syntax {
            line: None,
            what: words,
        };
    };
    let here = format!(" at line {} column {}", place.line(), place.column());
    Unreadable::Syntax {
        // What is missing at the end is missing after the last line.
        line: Some(place.line().min(count_lines(text))),
        what: words.replacen(&here, "", 1),
    }
}

/// What may still be read.
struct Budget {
    values: Cell<usize>,
    text: Cell<usize>,
}

impl Budget {
    fn spend<E: serde::de::Error>(&self, text: usize) -> Result<(), E> {
        let values = self.values.get().checked_sub(1);
        let text = self.text.get().checked_sub(text);
        self.values.set(values.unwrap_or(0));
        self.text.set(text.unwrap_or(0));
        match (values, text) {
            (Some(_), Some(_)) => Ok(()),
            _ => Err(E::custom("too much")),
        }
    }

    fn is_exceeded(&self) -> bool {
        self.values.get() == 0 || self.text.get() == 0
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    budget: &'a Budget,
    /// Mappings around this value.
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        self.budget.spend(0)?;
        Ok(Node::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Node, E> {
        self.budget.spend(0)?;
        Ok(Node::Flag(flag))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Node, E> {
        self.visit_i128(number.into())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Node, E> {
        self.visit_i128(number.into())
    }

    fn visit_i128<E: serde::de::Error>(self, number: i128) -> Result<Node, E> {
        self.budget.spend(0)?;
        Ok(Node::Integer(number))
    }

    fn visit_u128<E: serde::de::Error>(self, number: u128) -> Result<Node, E> {
        self.visit_i128(i128::try_from(number).unwrap_or(i128::MAX))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Node, E> {
        self.budget.spend(0)?;
        Ok(Node::Fraction(number))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Node, E> {
        self.budget.spend(text.len())?;
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        self.budget.spend(0)?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Node, A::Error> {
        self.budget.spend(0)?;
        if self.depth == DEPTH {
            while mapping.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Node::TooDeep);
        }
        let inner = Seed {
            depth: self.depth + 1,
            ..self
        };
        let mut entries = Vec::new();
        while let Some(key) = mapping.next_key_seed(inner)? {
            let value = mapping.next_value_seed(inner)?;
            entries.push(Entry { key, value });
        }
        Ok(Node::Mapping(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Node, A::Error> {
        self.budget.spend(0)?;
        let (IgnoredAny, content) = tagged.variant()?;
        content.newtype_variant::<IgnoredAny>()?;
        Ok(Node::Tagged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_kept_apart() {
        let text = "a: text\nb: 1\nc: -1\nd: 1.5\ne: true\nf:\ng: [1]\nh: !own 1\ni: {k: v}\n\
                    j: off\nk: 007\nl: '1'\nm: !!str 2\n";
        let Ok(Node::Mapping(entries)) = read(text) else {
            panic!();
        };
        let values: Vec<_> = entries.into_iter().map(|entry| entry.value).collect();
        let text = |text: &str| Node::Text(text.to_owned());
        let inner = Entry {
            key: text("k"),
            value: text("v"),
        };
        assert_eq!(
            values,
            [
                text("text"),
                Node::Integer(1),
                Node::Integer(-1),
                Node::Fraction(1.5),
                Node::Flag(true),
                Node::Null,
                Node::List,
                Node::Tagged,
                Node::Mapping(vec![inner]),
                text("off"),
                text("007"),
                text("1"),
                text("2"),
            ]
        );
    }

    #[test]
    fn repeated_keys_are_all_there() {
        let Ok(Node::Mapping(entries)) = read("a: 1\na: 2\n") else {
            panic!();
        };
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn mappings_beneath_the_depth_are_not_entered() {
        let deep = "{a: ".repeat(DEPTH + 3) + &"}".repeat(DEPTH + 3);
        let mut node = read(&deep).unwrap();
        for _ in 0..DEPTH {
            let Node::Mapping(mut entries) = node else {
                panic!("{node:?}");
            };
            node = entries.remove(0).value;
        }
        assert_eq!(node, Node::TooDeep);
    }

    #[test]
    fn a_syntax_error_is_on_a_line_that_is_there() {
        for (text, last) in [
            ("a: [", 1),
            ("a: [\n", 1),
            ("a: [\r\n\r\n", 2),
            ("a: [\rb", 2),
        ] {
            let Err(Unreadable::Syntax { line, .. }) = read(text) else {
                panic!("{text:?}");
            };
            assert_eq!(line, Some(last), "{text:?}");
        }
    }

    #[test]
    fn long_texts_are_cut_and_odd_ones_escaped() {
        assert_eq!(quoted("a\n\u{1b}"), r#""a\n\u{1b}""#);
        assert_eq!(
            quoted(&"é".repeat(65)),
            format!("\"{}\"...", "é".repeat(64))
        );
    }
}
