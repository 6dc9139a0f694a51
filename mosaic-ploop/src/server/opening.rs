// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a server is to open a disk, and what it shows of it: one word of a message.

use std::fmt;
use std::str::FromStr;

use rustix::io::Errno;

const READ: &str = "ro";
const WRITE: &str = "rw";
/// Between that and the partition's first byte.
const FROM: char = '@';

/// How a disk is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Only for reading.
    pub read_only: bool,
    /// First byte of the partition that is shown, and that grows with the disk; `None`: all of the
    /// disk is shown.
    pub partition: Option<u64>,
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.read_only { READ } else { WRITE })?;
        match self.partition {
            Some(at) => write!(f, "{FROM}{at}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Opening {
    type Err = Errno;

    fn from_str(word: &str) -> Result<Self, Errno> {
        let (access, from) = match word.split_once(FROM) {
            Some((access, from)) => (access, Some(from.parse().map_err(|_| Errno::PROTO)?)),
            None => (word, None),
        };
        let read_only = match access {
            READ => true,
            WRITE => false,
            _ => return Err(Errno::PROTO),
        };
        Ok(Self {
            read_only,
            partition: from,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_word_and_read_back() {
        for read_only in [false, true] {
            for partition in [None, Some(0), Some(1 << 20)] {
                let opening = Opening {
                    read_only,
                    partition,
                };
                let word = opening.to_string();
                assert!(!word.contains(' '));
                assert_eq!(word.parse(), Ok(opening));
            }
        }
        for other in ["", "rx", "rw@", "rw@x", "ro@-1"] {
            assert_eq!(other.parse::<Opening>(), Err(Errno::PROTO), "{other}");
        }
    }
}
