// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a refused call lacks. How a caller asks for it is the face's to say: an option of `moctl`, a
//! flag in C.

use std::error::Error as StdError;
use std::fmt;

use super::{Error, text_of};

/// What would have let a call go on if it had been asked for. Each face has words for each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Needs {
    /// A size that is smaller: what is beyond it is lost.
    Shrink,
    /// The same of a clone, as no clone is made smaller than what it is of.
    ShrunkClone,
    /// A mount that refuses writes.
    ReadOnlyMount,
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shrink => "say that it may shrink",
            Self::ShrunkClone => "clone, then say that the clone may shrink",
            Self::ReadOnlyMount => "mount it read-only",
        })
    }
}

impl Error {
    /// Adds what the call needs; it is said behind the message.
    #[must_use]
    pub fn that_needs(mut self, needs: Needs) -> Self {
        self.needs = Some(needs);
        self
    }

    /// What the call that failed needs, this error or a cause of it says.
    pub fn needs(&self) -> Option<Needs> {
        let mut next: Option<&(dyn StdError + 'static)> = Some(self);
        while let Some(error) = next {
            if let Some(needs) = error.downcast_ref::<Self>().and_then(|error| error.needs) {
                return Some(needs);
            }
            next = error.source();
        }
        None
    }
}

/// What one error of a chain says, with a face's words for what the call needs.
pub fn text_in(error: &(dyn StdError + 'static), words: fn(Needs) -> &'static str) -> String {
    let known = error.downcast_ref::<Error>();
    match known.and_then(|known| Some((known, known.needs?))) {
        Some((known, needs)) => format!("{}: {}", known.message, words(needs)),
        None => text_of(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn words(needs: Needs) -> &'static str {
        match needs {
            Needs::Shrink => "say --shrink",
            _ => "other",
        }
    }

    #[test]
    fn each_face_has_its_own_words_for_what_a_call_needs() {
        let error = Error::new(ErrorKind::Invalid, "1M is less than 2M").that_needs(Needs::Shrink);
        let error = error.context("cannot resize").context("in vain");
        assert_eq!(error.needs(), Some(Needs::Shrink));
        let neutral = "in vain: cannot resize: 1M is less than 2M: say that it may shrink";
        assert_eq!(error.chain(), neutral);
        let of_face = "in vain: cannot resize: 1M is less than 2M: say --shrink";
        assert_eq!(error.line_in(words), of_face);
        assert_eq!(Error::new(ErrorKind::Io, "x").needs(), None);
    }
}
