// SPDX-License-Identifier: MIT OR Apache-2.0
//! `volumeMap`: how a volume's name becomes the path under which it is stored.
//!
//! The expression must match the **whole** name. It is not anchored for that: the leftmost longest
//! match starts at the name's start and ends at its end exactly if any match does.

use std::ffi::CString;
use std::fmt;

use super::posix_regex::{Groups, PosixRegex};
use super::values::quoted;
use crate::error::{Error, ErrorKind, Result};

/// A map from the user's names to the stored ones.
#[derive(Debug)]
pub struct VolumeMap {
    regex: String,
    replacement: String,
    compiled: PosixRegex,
    pieces: Vec<Piece>,
}

/// A part of the replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// 1 to 9.
    Group(usize),
}

impl VolumeMap {
    /// Reads a basic regular expression and a replacement, split by white space.
    ///
    /// # Errors
    /// `Config`, with what is wrong with either.
    pub fn parse(value: &str) -> Result<Self> {
        Self::read(value).map_err(|why| Error::config("volumeMap", why))
    }

    /// The same, for a fault that gets the key's name before it.
    pub(super) fn read(value: &str) -> Result<Self, String> {
        let mut words = value.split_ascii_whitespace();
        let (Some(regex), Some(replacement), None) = (words.next(), words.next(), words.next())
        else {
            return Err(format!(
                "must be a regular expression and a replacement, split by white space, not {}",
                quoted(value)
            ));
        };
        let pieces = pieces(replacement)?;
        let groups = super::bound::check(regex)
            .map_err(|why| format!("has a regular expression {} that {why}", quoted(regex)))?;
        check_groups(&pieces, groups)?;
        let c_regex = CString::new(regex).map_err(|_| "contains a NUL character".to_owned())?;
        let compiled = PosixRegex::compile(&c_regex).map_err(|why| {
            let shown = quoted(regex);
            format!("has a faulty regular expression {shown}: {why}")
        })?;
        Ok(Self {
            regex: regex.to_owned(),
            replacement: replacement.to_owned(),
            compiled,
            pieces,
        })
    }

    /// The stored name.
    ///
    /// # Errors
    /// `Invalid` if the expression does not match the whole name, or cuts one of its characters.
    pub fn map(&self, name: &str) -> Result<String> {
        let whole = 0..name.len();
        let groups = self
            .compiled
            .search(name)
            .filter(|groups| groups[0] == Some(whole));
        let Some(groups) = groups else {
            return Err(self.refused(name, "does not match the whole of it"));
        };
        self.replaced(name, &groups)
            .ok_or_else(|| self.refused(name, "cuts a character of more than one byte"))
    }

    fn replaced(&self, name: &str, groups: &Groups) -> Option<String> {
        let mut stored = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => stored.push_str(text),
                Piece::Group(number) => {
                    if let Some(covered) = groups.get(*number)?.clone() {
                        stored.push_str(name.get(covered)?);
                    }
                }
            }
        }
        Some(stored)
    }

    fn refused(&self, name: &str, why: &str) -> Error {
        let regex = &self.regex;
        Error::new(
            ErrorKind::Invalid,
            format!("volume name {name:?}: volumeMap's expression {regex:?} {why}"),
        )
    }

    /// Number of components that the replacement gives, as it is written.
    pub fn depth(&self) -> u32 {
        let slashes = self.replacement.matches('/').count();
        u32::try_from(slashes + 1).unwrap_or(u32::MAX)
    }

    /// The regular expression.
    pub fn regex(&self) -> &str {
        &self.regex
    }

    /// The replacement.
    pub fn replacement(&self) -> &str {
        &self.replacement
    }
}

impl fmt::Display for VolumeMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.regex, self.replacement)
    }
}

fn pieces(replacement: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut letters = replacement.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            text.push(letter);
            continue;
        }
        match letters.next() {
            Some('\\') => text.push('\\'),
            Some(digit @ '1'..='9') => {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Group(digit as usize - '0' as usize));
            }
            _ => {
                let shown = quoted(replacement);
                return Err(format!(
                    r"has a replacement {shown} with a \ before none of 1 to 9 and \"
                ));
            }
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    check_components(replacement)?;
    Ok(pieces)
}

/// Refuses a replacement whose result leaves the location whatever the name is.
fn check_components(replacement: &str) -> Result<(), String> {
    let shown = quoted(replacement);
    if replacement.starts_with('/') {
        return Err(format!(
            "has a replacement {shown} that leaves the location: it is absolute"
        ));
    }
    for component in replacement.split('/') {
        match component {
            "" => return Err(format!("has a replacement {shown} with an empty component")),
            "." | ".." => {
                return Err(format!(
                    "has a replacement {shown} that leaves the location: a component is {component:?}"
                ));
            }
            _ => {}
        }
    }
    if replacement.starts_with(".mosaic") || replacement.starts_with('-') {
        return Err(format!(
            "has a replacement {shown} that no volume may be called"
        ));
    }
    Ok(())
}

fn check_groups(pieces: &[Piece], groups: usize) -> Result<(), String> {
    for piece in pieces {
        if let Piece::Group(number) = piece
            && *number > groups
        {
            let count = match groups {
                0 => "no group".to_owned(),
                1 => "one group".to_owned(),
                _ => format!("{groups} groups"),
            };
            return Err(format!(
                r"uses \{number} in the replacement, but the regular expression has {count}"
            ));
        }
    }
    Ok(())
}
