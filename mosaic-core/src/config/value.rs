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
/// `folder` is the config file's, absolute and without links.
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

/// A path; a relative one is relative to the folder, which has no links in it: so a `..` in front of
/// the path is resolved here. One behind a name stays, as that may be a link.
///
/// # Errors
/// Why it is none, to be put after the key's name.
pub(super) fn absolute(path: &str, folder: &str) -> Result<String, String> {
    match path {
        "" => return Err("is empty".to_owned()),
        _ if path.starts_with('/') => return Ok(path.to_owned()),
        _ => {}
    }
    let mut above = folder.trim_end_matches('/');
    let mut rest = path;
    while !rest.is_empty() {
        let (first, behind) = rest.split_once('/').unwrap_or((rest, ""));
        match first {
            "" | "." => {}
            ".." => above = above.rsplit_once('/').map_or("", |(above, _)| above),
            _ => break,
        }
        rest = behind;
    }
    Ok(match rest {
        "" if above.is_empty() => "/".to_owned(),
        "" => above.to_owned(),
        _ => format!("{above}/{rest}"),
    })
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

#[cfg(test)]
mod tests {
    use super::absolute;

    #[test]
    fn a_relative_path_is_shown_without_the_dots_before_it() {
        for (path, folder, is) in [
            ("img", "/etc/mosaic", "/etc/mosaic/img"),
            ("./img", "/etc/mosaic", "/etc/mosaic/img"),
            ("../img", "/etc/mosaic", "/etc/img"),
            (".././../img/x", "/etc/mosaic", "/img/x"),
            ("../../..", "/etc/mosaic", "/"),
            (".", "/etc/mosaic", "/etc/mosaic"),
            ("..//img", "/etc/mosaic", "/etc/img"),
            ("link/../img", "/etc/mosaic", "/etc/mosaic/link/../img"),
            ("..img", "/etc/mosaic", "/etc/mosaic/..img"),
            ("img", "/", "/img"),
            ("/a/../b", "/etc/mosaic", "/a/../b"),
        ] {
            assert_eq!(absolute(path, folder).as_deref(), Ok(is), "{path}");
        }
    }
}
