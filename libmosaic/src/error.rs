// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors and the version, as C asks for them.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::sync::LazyLock;

use mosaic_core::{ErrorKind, Needs};

use crate::call;

/// `MOSAIC_ERR_NONE`.
const NONE: c_int = 0;

/// The number of a kind, one of `enum mosaic_error_kind`.
pub(crate) fn number(kind: Option<ErrorKind>) -> c_int {
    kind.map_or(NONE, |kind| c_int::from(kind.exit_status()))
}

/// How a program asks for what a call needs.
pub(crate) fn words(needs: Needs) -> &'static str {
    match needs {
        Needs::Shrink => "say MOSAIC_SHRINK",
        Needs::ShrunkClone => "clone, then resize with MOSAIC_SHRINK",
        Needs::ReadOnlyMount => "mount it with MS_RDONLY",
    }
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_last_error() -> *const c_char {
    call::with_last_message(CStr::as_ptr)
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_last_error_kind() -> c_int {
    number(call::last_kind())
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_error_kind_name(kind: c_int) -> *const c_char {
    /// The words of all kinds, in the order of their numbers.
    static NAMES: LazyLock<Vec<CString>> = LazyLock::new(|| {
        let names = ErrorKind::all().map(|kind| CString::new(kind.name()));
        names.map(Result::unwrap_or_default).collect()
    });
    let at = kind.checked_sub(1).and_then(|at| usize::try_from(at).ok());
    let name = at.and_then(|at| NAMES.get(at));
    name.map_or(ptr::null(), |name| name.as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_last_changed() -> c_int {
    c_int::from(call::last_changed())
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_names_of_the_header() {
        assert!(mosaic_error_kind_name(NONE).is_null());
        assert!(mosaic_error_kind_name(-1).is_null());
        assert!(mosaic_error_kind_name(c_int::MIN).is_null());
        assert!(mosaic_error_kind_name(12).is_null());
        let header = include_str!("../include/mosaic/mosaic.h");
        for kind in ErrorKind::all() {
            assert!(!mosaic_error_kind_name(number(Some(kind))).is_null());
            let word = kind.name().to_uppercase().replace('-', "_");
            let line = format!("MOSAIC_ERR_{word} = {}", kind.exit_status());
            assert!(header.contains(&line), "{line}");
        }
    }

    #[test]
    fn the_header_is_of_this_version() {
        let header = include_str!("../include/mosaic/mosaic.h");
        let line = format!("#define MOSAIC_VERSION {:?}\n", env!("CARGO_PKG_VERSION"));
        assert!(header.contains(&line), "{line}");
    }
}
