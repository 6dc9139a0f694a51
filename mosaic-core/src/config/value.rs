// SPDX-License-Identifier: MIT OR Apache-2.0
//! One value: from what stands in the file to the text in which a driver gets it.
//!
//! YAML gives `location: 2024` as a number and `quota: off` as a text. A number is never taken for
//! a text: `1.10` would have become `1.1` on the way, so the file has to say what it means.

use super::suggest;
use super::values::{Node, quoted};
use crate::settings::KeyKind;
use crate::size::Bytes;

/// The canonical text of a value: sizes in bytes, flags `true` or `false`, paths absolute.
///
/// `folder` is the config file's, absolute.
///
/// # Errors
/// Why it is none of this kind, to be put after the key's name.
pub(super) fn canonical(kind: &KeyKind, node: &Node, folder: &str) -> Result<String, String> {
    if *node == Node::Null {
        return Err("has no value".to_owned());
    }
    match (kind, node) {
        (KeyKind::Text | KeyKind::Path | KeyKind::Size, Node::Text(text)) => {
            canonical_text(kind, text, folder)
        }
        (KeyKind::Size | KeyKind::Integer, Node::Integer(number)) if *number >= 0 => {
            canonical_text(kind, &number.to_string(), folder)
        }
        (KeyKind::Flag, Node::Flag(flag)) => Ok(flag.to_string()),
        (KeyKind::Choice(_), Node::Text(text)) => canonical_text(kind, text, folder),
        (KeyKind::Choice(_), Node::Flag(flag)) => canonical_text(kind, &flag.to_string(), folder),
        (KeyKind::Choice(_), Node::Integer(number)) => {
            canonical_text(kind, &number.to_string(), folder)
        }
        (KeyKind::Text | KeyKind::Path, Node::Flag(_) | Node::Integer(_) | Node::Fraction(_)) => {
            Err(format!("must be a text, not {node}; put it in quotes"))
        }
        _ => Err(format!("must be {}, not {node}", wanted(kind))),
    }
}

/// The canonical text of a value that is a text already, such as a default.
///
/// # Errors
/// Why it is none of this kind, to be put after the key's name.
pub(super) fn canonical_text(kind: &KeyKind, text: &str, folder: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err("contains a NUL character".to_owned());
    }
    let wrong = || format!("must be {}, not {}", wanted(kind), quoted(text));
    match kind {
        KeyKind::Text => Ok(text.to_owned()),
        KeyKind::Path => absolute(text, folder),
        KeyKind::Size => match text.parse::<Bytes>() {
            Ok(size) => Ok(size.0.to_string()),
            Err(error) => Err(format!("must be {}: {error}", wanted(kind))),
        },
        KeyKind::Integer => match text.parse::<u64>() {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Err(wrong()),
        },
        KeyKind::Flag => match text {
            "true" | "false" => Ok(text.to_owned()),
            _ => Err(wrong()),
        },
        KeyKind::Choice(words) => {
            if words.iter().any(|word| word == text) {
                return Ok(text.to_owned());
            }
            let near = suggest::nearest(text, words.iter().map(String::as_str));
            let hint = near.map(|near| format!(" (did you mean {near}?)"));
            Err(wrong() + &hint.unwrap_or_default())
        }
    }
}

/// A path; a relative one is beneath the folder.
///
/// # Errors
/// Why it is none, to be put after the key's name.
pub(super) fn absolute(path: &str, folder: &str) -> Result<String, String> {
    match path {
        "" => Err("is empty".to_owned()),
        _ if path.starts_with('/') => Ok(path.to_owned()),
        "." => Ok(folder.to_owned()),
        _ => {
            let path = path.trim_start_matches("./");
            Ok(format!("{}/{path}", folder.trim_end_matches('/')))
        }
    }
}

/// What a kind of value is called.
fn wanted(kind: &KeyKind) -> String {
    match kind {
        KeyKind::Text => "a text".to_owned(),
        KeyKind::Path => "a path".to_owned(),
        KeyKind::Size => "a size such as 64M".to_owned(),
        KeyKind::Integer => "a whole number, zero or more".to_owned(),
        KeyKind::Flag => "true or false".to_owned(),
        KeyKind::Choice(words) => format!("one of {}", words.join(", ")),
    }
}
