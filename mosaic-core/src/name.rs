// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volume names. [`VolumeName`] is the only way in: no text becomes a path without it.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// Most bytes in one component, the limit of Linux file systems (`NAME_MAX`).
pub const COMPONENT_MAX: usize = 255;
/// Most bytes in a whole name.
pub const NAME_MAX: usize = 1024;

/// A volume's two names: the user's, and the one under which the location stores it.
///
/// They differ only where a volume map changes them. Both are one or more components split by
/// `/`; none is empty, `.` or `..`; there is no control character; neither starts with `-` or
/// `.mosaic`; `lost+found` is the file system's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeName {
    user: String,
    stored: String,
}

impl VolumeName {
    /// A name that is stored as the user says it.
    ///
    /// # Errors
    /// `Invalid`, with the rule that it breaks.
    pub fn parse(name: &str) -> Result<Self> {
        Self::with_stored(name, name)
    }

    /// A name that is stored as another one.
    ///
    /// # Errors
    /// `Invalid`, with the rule that either breaks.
    pub fn with_stored(user: &str, stored: &str) -> Result<Self> {
        check(user)?;
        if stored != user {
            check(stored)
                .map_err(|e| e.context(format!("volume name {user:?} is mapped badly")))?;
        }
        Ok(Self {
            user: user.to_owned(),
            stored: stored.to_owned(),
        })
    }

    /// Refuses what an existing volume may be called, but no new one: `@` is kept for snapshots.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check_new(&self) -> Result<()> {
        if self.user.contains('@') || self.stored.contains('@') {
            return Err(invalid(&self.user, "\"@\" is kept for snapshots"));
        }
        Ok(())
    }

    /// As the user says it.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// As the location stores it: a relative path.
    pub fn stored(&self) -> &str {
        &self.stored
    }

    /// The components of the stored name.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.stored.split('/')
    }

    /// The stored name's folder, `None` at the top.
    pub fn parent(&self) -> Option<&str> {
        self.stored.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// The stored names above this one, topmost first: `a`, `a/b` for `a/b/c`.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.stored
            .match_indices('/')
            .map(|(at, _)| &self.stored[..at])
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)
    }
}

fn check(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(invalid(name, "empty"));
    }
    if name.len() > NAME_MAX {
        let short: String = name.chars().take(32).collect();
        let why = format!("{} bytes, at most {NAME_MAX} are allowed", name.len());
        return Err(invalid(&format!("{short}..."), &why));
    }
    if name.starts_with('-') {
        return Err(invalid(name, "starts with \"-\""));
    }
    if name.starts_with(".mosaic") {
        return Err(invalid(name, "\".mosaic\" is kept for Mosaic's own files"));
    }
    if name.chars().any(char::is_control) {
        return Err(invalid(name, "contains a control character"));
    }
    for (at, component) in name.split('/').enumerate() {
        match component {
            "" if at == 0 => return Err(invalid(name, "starts with \"/\"")),
            "" => return Err(invalid(name, "has an empty component")),
            "." | ".." => return Err(invalid(name, "has a component \".\" or \"..\"")),
            "lost+found" if at == 0 => {
                return Err(invalid(name, "\"lost+found\" belongs to the file system"));
            }
            _ if component.len() > COMPONENT_MAX => {
                let short: String = component.chars().take(32).collect();
                let why = format!(
                    "a component has {} bytes, at most {COMPONENT_MAX} are allowed",
                    component.len()
                );
                return Err(invalid(&format!("{short}..."), &why));
            }
            _ => {}
        }
    }
    Ok(())
}

fn invalid(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("volume name {name:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_leave_the_location_or_confuse() {
        let long = "x".repeat(256);
        let longer = format!("{}/y", "x/".repeat(600));
        for name in [
            "",
            "../x",
            "/abs",
            "a/../b",
            ".",
            "..",
            "a//b",
            "a/",
            "-n",
            "a\nb",
            "\u{7f}",
            "a\0b",
            "\u{9b}0m",
            ".mosaic",
            ".mosaic/tmp",
            ".mosaicx",
            "lost+found",
            &long,
            &longer,
        ] {
            let error = VolumeName::parse(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{name:?}");
        }
    }

    #[test]
    fn takes_odd_names_as_names() {
        let full = "x".repeat(255);
        for name in [
            "a b",
            "$(reboot)",
            "a;b",
            "*",
            "'",
            "\"",
            "größe",
            "日本",
            "a/b/c",
            "...",
            ".hidden",
            "a@b",
            "x/-n",
            &full,
        ] {
            assert_eq!(VolumeName::parse(name).unwrap().stored(), name);
        }
    }

    #[test]
    fn new_names_hold_no_at_sign() {
        assert!(VolumeName::parse("a@b").unwrap().check_new().is_err());
        assert!(VolumeName::parse("ab").unwrap().check_new().is_ok());
    }

    #[test]
    fn ancestors_come_topmost_first() {
        let name = VolumeName::with_stored("123", "1/12/123").unwrap();
        assert_eq!(name.ancestors().collect::<Vec<_>>(), ["1", "1/12"]);
        assert_eq!(name.parent(), Some("1/12"));
        assert_eq!(VolumeName::parse("a").unwrap().ancestors().count(), 0);
    }
}
