// SPDX-License-Identifier: MIT OR Apache-2.0
//! `volumeMap`: how a volume's name becomes the path under which it is stored.
//!
//! The expression must match the **whole** name. It is not anchored for that: the leftmost longest
//! match starts at the name's start and ends at its end exactly if any match does.

use std::ffi::CString;

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
        let regex = quoted(&self.regex);
        Error::new(
            ErrorKind::Invalid,
            format!("volume name {name:?}: volumeMap's expression {regex} {why}"),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(map: &str, name: &str) -> String {
        VolumeMap::parse(map).unwrap().map(name).unwrap()
    }

    fn refusal(map: &str) -> String {
        let error = VolumeMap::parse(map).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.key(), Some("volumeMap"));
        error.to_string()
    }

    #[test]
    fn groups_go_where_the_replacement_says() {
        for (map, name, expected) in [
            (r"\(.*\)\(.\) \2/\1\2", "web12", "2/web12"),
            (
                r"\(.\)\(.\)\(.\)\(.\)\(.\)\(.\)\(.\)\(.\)\(.*\) \9\8\1",
                "abcdefghij",
                "ijha",
            ),
            (r".* all", "web", "all"),
            (r"web\(.*\) w\1-\1", "web1", "w1-1"),
            (r"\(a\)\?\(.*\) x\1y\2", "b", "xyb"),
            ("\t\\(.*\\) \t\\1\\\\x \n", "a", r"a\x"),
            (r"^\(.*\)$ \1&", "a", "a&"),
            (r"\(.\)\(..*\) \1/\2", "a/b", "a//b"),
            (r"\(.*\) é\1", "é", "éé"),
        ] {
            assert_eq!(stored(map, name), expected, "{map}");
        }
    }

    #[test]
    fn the_longest_match_counts_as_posix_has_it() {
        // Perl and Rust take the first alternative that fits, "x", and so would not match it all.
        assert_eq!(stored(r"\(x\|xyz\) \1", "xyz"), "xyz");
        // They take "a" and nothing, and leave "bc" over.
        assert_eq!(stored(r"\(a\|ab\)\(c\|bcd\)\? \1-\2", "abc"), "ab-c");
    }

    #[test]
    fn the_match_covers_the_whole_name() {
        let map = VolumeMap::parse(r"\([a-z]*\) x/\1").unwrap();
        assert_eq!(map.map("web").unwrap(), "x/web");
        for name in ["web1", "1web", "1", "web "] {
            let error = map.map(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
        }
        let error = map.map("web1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "volume name \"web1\": volumeMap's expression \"\\([a-z]*\\)\" does not match the whole of it"
        );
    }

    #[test]
    fn a_character_is_not_cut() {
        let map = VolumeMap::parse(r"\(.\)\(.*\) \1/\2").unwrap();
        assert_eq!(map.map("aö").unwrap(), "a/ö");
        let error = map.map("öa").unwrap_err();
        assert!(error.to_string().contains("cuts a character"), "{error}");
        assert!(map.map("a\0b").is_err());
    }

    #[test]
    fn what_is_not_two_words_is_refused() {
        for map in ["", " ", "a", "a b c"] {
            assert!(refusal(map).contains("split by white space"), "{map:?}");
        }
    }

    #[test]
    fn a_replacement_needs_the_groups_that_it_names() {
        for (map, said) in [
            (
                r"\(.\)\(.*\) \3",
                "uses \\3 in the replacement, but the regular expression has 2 groups",
            ),
            (
                r".* \1",
                "uses \\1 in the replacement, but the regular expression has no group",
            ),
            (
                r"[\(]\(.\) \2",
                "uses \\2 in the replacement, but the regular expression has one group",
            ),
        ] {
            assert_eq!(refusal(map), said);
        }
        for map in [r"\(.*\) \0", r"\(.*\) \a", r"\(.*\) a\"] {
            assert!(refusal(map).contains(r"with a \ before none of"), "{map}");
        }
    }

    #[test]
    fn a_replacement_that_leaves_the_location_is_refused() {
        for map in [
            r"\(.*\) /\1",
            r"\(.*\) ../\1",
            r"\(.*\) a/../\1",
            r"\(.*\) \1/..",
            r"\(.*\) ./\1",
            r"\(.*\) a//\1",
            r"\(.*\) \1/",
            r"\(.*\) .mosaic/\1",
            r"\(.*\) -\1",
        ] {
            assert!(refusal(map).starts_with("has a replacement"), "{map}");
        }
    }

    #[test]
    fn a_faulty_expression_is_refused_in_the_c_librarys_words() {
        assert!(
            refusal("[z-a] x").contains("invalid range end"),
            "{}",
            refusal("[z-a] x")
        );
        assert!(refusal(r"[[:nobody:]] x").contains("invalid character class"));
        for map in [r"\(a x", r"a\) x", "[a x", r"a\{2 x", r"a\{3,1\} x"] {
            assert!(!refusal(map).is_empty());
        }
    }

    #[test]
    fn one_map_serves_many_threads() {
        let map = VolumeMap::parse(r"\(.*\)\(.\) \2/\1\2").unwrap();
        std::thread::scope(|scope| {
            for at in 0..8 {
                let map = &map;
                scope.spawn(move || {
                    for number in 0..500 {
                        let name = format!("v{number}x{at}");
                        assert_eq!(map.map(&name).unwrap(), format!("{at}/{name}"));
                    }
                });
            }
        });
    }
}
