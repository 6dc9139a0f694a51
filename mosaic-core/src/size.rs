// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes in bytes: how people write them, how they are shown.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// Bytes in a sector, the unit of block devices in the kernel's interfaces, always.
pub const SECTOR: u64 = 512;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

/// Suffix letters; each is 1024 times the one before.
const UNITS: [char; 5] = ['K', 'M', 'G', 'T', 'P'];

impl Bytes {
    /// Whether a block device can have this size: whole sectors, more than none.
    pub fn is_volume_size(self) -> bool {
        self.0 != 0 && self.0.is_multiple_of(SECTOR)
    }

    /// So many sectors.
    ///
    /// # Errors
    /// `Invalid` for more than 2^63 - 1 bytes, the most a file can have.
    pub fn from_sectors(sectors: u64) -> Result<Self> {
        let bytes = sectors.checked_mul(SECTOR);
        let bytes = bytes.filter(|bytes| i64::try_from(*bytes).is_ok());
        bytes.map(Self).ok_or_else(|| {
            let what = format!("{sectors} blocks of {SECTOR} bytes");
            invalid(&what, "more than fits into a file")
        })
    }

    /// Reads a size for a volume: what [`FromStr`] takes, but not 0 and only whole sectors.
    ///
    /// # Errors
    /// `Invalid`, with what would be right.
    pub fn parse_volume_size(text: &str) -> Result<Self> {
        let size: Self = text.parse()?;
        if size.0 == 0 {
            return Err(invalid(text, "a volume cannot have 0 bytes"));
        }
        if !size.is_volume_size() {
            let down = size.0 / SECTOR * SECTOR;
            let near = if down == 0 { SECTOR } else { down };
            return Err(invalid(
                text,
                &format!("not a multiple of {SECTOR} bytes; {near} is"),
            ));
        }
        Ok(size)
    }
}

impl FromStr for Bytes {
    type Err = Error;

    /// Reads `4096`, `10G`, `10GiB`: decimal digits, then one of K M G T P (1024 each), then
    /// perhaps `iB`. No sign, no space, no fraction.
    ///
    /// # Errors
    /// `Invalid` for anything else and for more than 2^63 - 1 bytes, the most a file can have.
    fn from_str(text: &str) -> Result<Self> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(invalid(text, "expected digits and perhaps K, M, G, T or P"));
        }
        let unit = unit.strip_suffix("iB").unwrap_or(unit);
        let mut letters = unit.chars();
        let power = match (letters.next(), letters.next()) {
            (None, _) if text.len() == digits => 0,
            (Some(letter), None) => UNITS
                .iter()
                .position(|u| *u == letter.to_ascii_uppercase())
                .map(|at| at + 1)
                .ok_or_else(|| invalid(text, "the units are K, M, G, T and P"))?,
            _ => return Err(invalid(text, "the units are K, M, G, T and P")),
        };
        let too_large = || invalid(text, "more than fits into a file");
        let mut bytes: u64 = number.parse().map_err(|_| too_large())?;
        for _ in 0..power {
            bytes = bytes.checked_mul(1024).ok_or_else(too_large)?;
        }
        if i64::try_from(bytes).is_err() {
            return Err(too_large());
        }
        Ok(Self(bytes))
    }
}

fn invalid(text: &str, why: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("size {text:?}: {why}"))
}

impl fmt::Display for Bytes {
    /// `10 GiB` where that is exact, else one decimal: `1.5 GiB`; below 1024 `512 B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = 1u64;
        let mut letter = None;
        for next in UNITS {
            if self.0 / unit < 1024 {
                break;
            }
            unit *= 1024;
            letter = Some(next);
        }
        match letter {
            None => f.pad(&format!("{} B", self.0)),
            Some(letter) if self.0.is_multiple_of(unit) => {
                f.pad(&format!("{} {letter}iB", self.0 / unit))
            }
            Some(letter) => {
                let tenths = u128::from(self.0) * 10 / u128::from(unit);
                f.pad(&format!("{}.{} {letter}iB", tenths / 10, tenths % 10))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes) in [
            ("512", 512),
            ("1K", 1024),
            ("1KiB", 1024),
            ("10g", 10 << 30),
            ("2T", 2 << 40),
            ("3P", 3 << 50),
            ("0", 0),
            ("9223372036854775807", i64::MAX as u64),
        ] {
            assert_eq!(text.parse::<Bytes>().unwrap(), Bytes(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "-5G",
            "+5G",
            "12X",
            "abc",
            "1e3",
            "0x10",
            "5 G",
            " 5G",
            "5G ",
            "1.5G",
            "10KB",
            "10iB",
            "10Gi",
            "G",
            "9223372036854775808",
            "8192P",
            "99999999999999999999",
            "５G",
            "5GG",
            "1KiBiB",
        ] {
            let error = text.parse::<Bytes>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
        }
    }

    #[test]
    fn a_volume_has_whole_sectors_and_not_none() {
        assert!(Bytes::parse_volume_size("0").is_err());
        assert!(Bytes::parse_volume_size("0G").is_err());
        let error = Bytes::parse_volume_size("1000").unwrap_err();
        assert_eq!(
            error.to_string(),
            "size \"1000\": not a multiple of 512 bytes; 512 is"
        );
        assert_eq!(Bytes::parse_volume_size("1536").unwrap(), Bytes(1536));
    }

    #[test]
    fn sectors_are_as_many_as_a_file_can_have() {
        assert_eq!(Bytes::from_sectors(0).unwrap(), Bytes(0));
        let most = i64::MAX.unsigned_abs() / SECTOR;
        assert_eq!(Bytes::from_sectors(most).unwrap(), Bytes(most * SECTOR));
        for many in [most + 1, u64::MAX / SECTOR + 1, u64::MAX] {
            let error = Bytes::from_sectors(many).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{many}");
        }
    }

    #[test]
    fn shows_units_of_1024() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (10 << 30, "10 GiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
