// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of half-made and half-dropped things.
//!
//! In a location that is a directory they stand in `.mosaic/tmp` and `.mosaic/trash`. The host
//! makes the name at random and takes the lock of `<place>/<name>` **before** the thing is made, so
//! whoever gets that lock later knows that the maker is dead and may sweep.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// The folder of Mosaic's own things in a location that is a directory.
pub const PRIVATE_DIR: &str = ".mosaic";

/// Name of the lock file in [`PRIVATE_DIR`].
pub(crate) const LOCK_FILE: &str = "lock";

/// A folder of unfinished things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Half made: never had a name.
    Tmp,
    /// Half dropped: has no name any more.
    Trash,
}

impl Place {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tmp, Self::Trash];

    /// The folder's name below [`PRIVATE_DIR`].
    pub fn folder(self) -> &'static str {
        match self {
            Self::Tmp => "tmp",
            Self::Trash => "trash",
        }
    }

    /// The place of a folder's name.
    ///
    /// # Errors
    /// `Invalid` for any other folder.
    pub fn from_folder(folder: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|place| place.folder() == folder)
            .ok_or_else(|| Error::new(ErrorKind::Invalid, format!("no place {folder:?}")))
    }
}

/// The name of one unfinished thing: 16 hexadecimal digits, never a user's text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScratchName(String);

impl ScratchName {
    /// A name from a random number.
    pub fn from_random(number: u64) -> Self {
        Self(format!("{number:016x}"))
    }

    /// Reads a name back, from a folder's listing or over the driver border.
    ///
    /// # Errors
    /// `Invalid` if it is none of ours.
    pub fn parse(text: &str) -> Result<Self> {
        let ours = text.len() == 16
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !ours {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{text:?} is not a name that Mosaic gives to unfinished things"),
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as a path component.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ScratchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_are_read_back() {
        let name = ScratchName::from_random(0xfeed);
        assert_eq!(ScratchName::parse(name.as_str()).unwrap(), name);
        for text in ["", "..", "feed", "000000000000FEED", "000000000000/eed"] {
            assert!(ScratchName::parse(text).is_err(), "{text}");
        }
    }
}
