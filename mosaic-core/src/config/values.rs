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

/// Mappings in mappings that are read; known keys have fewer.
pub(super) const DEPTH: usize = 8;
/// Values in a document, aliases expanded. A file of the allowed length has fewer of its own.
const VALUES_MAX: usize = 100_000;
/// Bytes of text in a document, aliases expanded.
const TEXT_MAX: usize = 1 << 20;

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

/// A text from the file, escaped, in quotes, and cut where it is too long for a message.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
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
}

/// Reads the one document of a text.
pub(super) fn read(text: &str) -> Result<Node, Unreadable> {
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
        Err(error) => Err(syntax(&error)),
        Ok(_) if documents.next().is_some() => Err(Unreadable::SecondDocument),
        Ok(node) => Ok(node),
    }
}

/// The parser's words without its first "at line 3 column 7", which goes before the message.
fn syntax(error: &serde_yaml::Error) -> Unreadable {
    let text = error.to_string();
    let place = error.location();
    let what = match &place {
        Some(place) => {
            let here = format!(" at line {} column {}", place.line(), place.column());
            text.replacen(&here, "", 1)
        }
        None => text,
    };
    Unreadable::Syntax {
        line: place.map(|place| place.line()),
        what,
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
