// SPDX-License-Identifier: MIT OR Apache-2.0
//! Results that a program frees: by the address that it was given, and only once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use mosaic_core::{Error, ErrorKind, Result};

use crate::c::Arena;

/// Results of one kind that programs have.
#[derive(Debug)]
pub(crate) struct Results {
    what: &'static str,
    given: Mutex<BTreeMap<usize, Arena>>,
}

impl Results {
    /// None yet; `what` is what programs call them.
    pub(crate) const fn new(what: &'static str) -> Self {
        Self {
            what,
            given: Mutex::new(BTreeMap::new()),
        }
    }

    /// Gives a result that `fill` makes of parts in an arena.
    pub(crate) fn give<T: Copy + 'static>(&self, fill: impl FnOnce(&mut Arena) -> T) -> *mut T {
        let mut arena = Arena::default();
        let result = fill(&mut arena);
        let result = arena.keep(result);
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.insert(result.addr(), arena);
        result
    }

    /// Frees a result; NULL is nothing to free.
    ///
    /// # Errors
    /// `Invalid` for what was not given, or has been freed.
    pub(crate) fn free<T>(&self, result: *mut T) -> Result<()> {
        if result.is_null() {
            return Ok(());
        }
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let arena = given.remove(&result.addr());
        drop(given);
        arena.map(drop).ok_or_else(|| {
            let why = format!("{result:p} is no {} to free (any more)", self.what);
            Error::new(ErrorKind::Invalid, why)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_freed_once() {
        let results = Results::new("thing");
        let first = results.give(|arena| arena.text("a"));
        let second = results.give(|arena| arena.text("b"));
        assert!(results.free(first).is_ok());
        assert_eq!(results.free(first).unwrap_err().kind(), ErrorKind::Invalid);
        assert!(results.free(second).is_ok());
        assert!(results.free(std::ptr::null_mut::<u8>()).is_ok());
        assert!(results.given.lock().unwrap().is_empty());
    }
}
