// SPDX-License-Identifier: MIT OR Apache-2.0
//! The flags of the header.

use std::ffi::c_int;

use mosaic_core::{Error, ErrorKind, Result};

/// `MOSAIC_EXIST_OK`.
pub(crate) const EXIST_OK: c_int = 1 << 0;
/// `MOSAIC_MISSING_OK`.
pub(crate) const MISSING_OK: c_int = 1 << 1;
/// `MOSAIC_WAIT`.
pub(crate) const WAIT: c_int = 1 << 2;
/// `MOSAIC_SHRINK`.
pub(crate) const SHRINK: c_int = 1 << 3;
/// `MOSAIC_RDONLY`.
pub(crate) const RDONLY: c_int = 1 << 4;

/// `int flags`, of which nothing is known yet.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Flags(c_int);

/// Flags that the call knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known(c_int);

impl Flags {
    /// Refuses all flags but these.
    pub(crate) fn only(self, known: c_int) -> Result<Known> {
        let odd = self.0 & !known;
        if odd == 0 {
            return Ok(Known(self.0));
        }
        let why = format!("flags {odd:#x} are not known here");
        Err(Error::new(ErrorKind::Invalid, why))
    }

    /// Refuses all flags.
    pub(crate) fn none(self) -> Result<()> {
        self.only(0).map(|_| ())
    }
}

impl Known {
    /// Whether it is set.
    pub(crate) fn has(self, flag: c_int) -> bool {
        self.0 & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_that_a_call_does_not_know_is_refused() {
        let known = Flags(EXIST_OK).only(EXIST_OK | RDONLY).unwrap();
        assert!(known.has(EXIST_OK) && !known.has(RDONLY));
        assert!(Flags(0).none().is_ok());
        for odd in [WAIT, MISSING_OK | EXIST_OK, -1, c_int::MIN, 1 << 20] {
            let error = Flags(odd).only(EXIST_OK | SHRINK).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{odd:#x}");
        }
        assert!(Flags(EXIST_OK).none().is_err());
    }
}
