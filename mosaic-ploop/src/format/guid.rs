// SPDX-License-Identifier: MIT OR Apache-2.0
//! GUIDs as descriptors have them: in braces, hex of either case, compared without case.

use std::fmt;
use std::str::FromStr;

/// Where the hyphens are among 36 characters.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// A GUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(u128);

/// A text that is no GUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no GUID")]
pub struct NoGuid(pub String);

impl Guid {
    /// No snapshot: the parent of a base.
    pub const NONE: Self = Self(0);
    /// The top of every disk.
    pub const TOP: Self = Self(0x5fba_abe3_6958_40ff_92a7_860e_329a_ab41);
    /// Kept for backup software: read as any other, never given.
    pub const RESERVED: Self = Self(0x7047_18e1_2314_44c8_9087_d78e_d36b_0f4e);

    /// A random one (version 4) from 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        let version_and_variant = (0xf000_u128 << 64) | (0xc000_u128 << 48);
        let random = u128::from_be_bytes(bytes) & !version_and_variant;
        Self(random | (0x4000 << 64) | (0x8000 << 48))
    }

    /// Whether a snapshot can be called that.
    pub fn is_free(self) -> bool {
        ![Self::NONE, Self::TOP, Self::RESERVED].contains(&self)
    }
}

impl FromStr for Guid {
    type Err = NoGuid;

    /// Reads it with or without its braces.
    fn from_str(text: &str) -> Result<Self, NoGuid> {
        let wrong = || NoGuid(text.to_owned());
        let inner = match text.strip_prefix('{') {
            Some(rest) => rest.strip_suffix('}').ok_or_else(wrong)?,
            None => text,
        };
        if inner.len() != 36 {
            return Err(wrong());
        }
        let mut number = 0;
        for (at, byte) in inner.bytes().enumerate() {
            if HYPHENS.contains(&at) {
                if byte != b'-' {
                    return Err(wrong());
                }
                continue;
            }
            let digit = char::from(byte).to_digit(16).ok_or_else(wrong)?;
            number = (number << 4) | u128::from(digit);
        }
        Ok(Self(number))
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |shift: u32, bits: u32| (self.0 >> shift) & ((1 << bits) - 1);
        write!(
            f,
            "{{{:08x}-{:04x}-{:04x}-{:04x}-{:012x}}}",
            part(96, 32),
            part(80, 16),
            part(64, 16),
            part(48, 16),
            part(0, 48)
        )
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_are_read_in_either_case_and_with_or_without_braces() {
        let text = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
        assert_eq!(Guid::TOP.to_string(), text);
        for text in [text, &text.to_uppercase(), &text[1..37]] {
            assert_eq!(text.parse(), Ok(Guid::TOP), "{text}");
        }
        let reserved = "{704718e1-2314-44c8-9087-d78ed36b0f4e}";
        assert_eq!(reserved.parse(), Ok(Guid::RESERVED));
        let none = "{00000000-0000-0000-0000-000000000000}";
        assert_eq!(Guid::NONE.to_string(), none);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "{}",
            "{5fbaabe3-6958-40ff-92a7-860e329aab41",
            "5fbaabe3-6958-40ff-92a7-860e329aab41}",
            "{5fbaabe3-6958-40ff-92a7-860e329aab4}",
            "{5fbaabe3+6958-40ff-92a7-860e329aab41}",
            "{5fbaabe3-6958-40ff-92a7-860e329aab4g}",
            "{5fbaabe3-6958-40ff-92a7-860e329aa\u{e4}1}",
        ] {
            assert!(text.parse::<Guid>().is_err(), "{text}");
        }
    }

    #[test]
    fn random_ones_are_of_version_4() {
        for byte in [0, 0xff] {
            let text = Guid::from_random([byte; 16]).to_string();
            assert_eq!(&text[15..16], "4");
            assert!("89ab".contains(&text[20..21]), "{text}");
            assert!(text.parse::<Guid>().unwrap().is_free());
        }
        assert!(!Guid::TOP.is_free());
    }
}
