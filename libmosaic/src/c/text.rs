// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text from C, and for C.

use std::ffi::{CStr, CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mosaic_core::{Error, ErrorKind, Result};

/// No text is longer, in bytes without its NUL: the kernel takes no longer path (`PATH_MAX`,
/// include/uapi/linux/limits.h). Longer ones are refused without being shown, or copied.
const LONGEST: usize = 4095;

/// `const char *`: text with a NUL at its end, or NULL.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Text(*const c_char);

impl Text {
    /// The bytes before the NUL; `None`: NULL.
    fn bytes(&self, what: &str) -> Result<Option<&[u8]>> {
        if self.0.is_null() {
            return Ok(None);
        }
        // SAFETY: the caller's text, which has a NUL at its end and stays until the call returns;
        // `self` is an argument of that call.
        let bytes = unsafe { CStr::from_ptr(self.0) }.to_bytes();
        if bytes.len() > LONGEST {
            let why = format!("{what} has more than {LONGEST} bytes");
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        Ok(Some(bytes))
    }

    fn required(&self, what: &str) -> Result<&[u8]> {
        self.bytes(what)?.ok_or_else(|| {
            let why = format!("{what} is NULL");
            Error::new(ErrorKind::Invalid, why)
        })
    }

    /// Text; NULL and what is no UTF-8 is refused.
    pub(crate) fn utf8(&self, what: &str) -> Result<&str> {
        let bytes = self.required(what)?;
        std::str::from_utf8(bytes).map_err(|_| {
            let shown = String::from_utf8_lossy(bytes);
            Error::new(ErrorKind::Invalid, format!("{what} {shown:?} is not UTF-8"))
        })
    }

    /// The same; NULL is `None`.
    pub(crate) fn utf8_if_given(&self, what: &str) -> Result<Option<&str>> {
        match self.bytes(what)? {
            None => Ok(None),
            Some(_) => self.utf8(what).map(Some),
        }
    }

    /// Bytes as the kernel takes them; NULL is refused.
    pub(crate) fn os(&self, what: &str) -> Result<&OsStr> {
        self.required(what).map(OsStr::from_bytes)
    }

    /// The same; NULL is `None`.
    pub(crate) fn os_if_given(&self, what: &str) -> Result<Option<&OsStr>> {
        Ok(self.bytes(what)?.map(OsStr::from_bytes))
    }

    /// A path; NULL is refused.
    pub(crate) fn path(&self, what: &str) -> Result<&Path> {
        self.os(what).map(Path::new)
    }

    #[cfg(test)]
    pub(crate) fn of(text: Option<&'static CStr>) -> Self {
        Self(text.map_or(std::ptr::null(), CStr::as_ptr))
    }
}

/// Text for C; a NUL in it becomes `\0`, so that this never fails.
pub(crate) fn owned(bytes: &[u8]) -> CString {
    let escaped: Vec<u8> = match bytes.contains(&0) {
        true => bytes
            .split(|b| *b == 0)
            .collect::<Vec<_>>()
            .join(&b"\\0"[..]),
        false => bytes.to_vec(),
    };
    CString::new(escaped).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_what_is_no_utf8_are_refused_with_what_it_is() {
        let error = Text::of(None).utf8("volume name").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(error.to_string(), "volume name is NULL");
        let odd = Text::of(Some(c"a\xff"));
        let error = odd.utf8("volume name").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(error.to_string(), "volume name \"a\u{fffd}\" is not UTF-8");
        assert!(odd.utf8_if_given("x").is_err());
        assert_eq!(Text::of(None).utf8_if_given("x").unwrap(), None);
        assert_eq!(Text::of(Some(c"größe")).utf8("x").unwrap(), "größe");
        assert_eq!(Text::of(Some(c"")).utf8("x").unwrap(), "");
    }

    #[test]
    fn paths_are_bytes() {
        let odd = Text::of(Some(c"/\xff"));
        assert_eq!(odd.path("path").unwrap().as_os_str().as_bytes(), b"/\xff");
        assert!(Text::of(None).path("path").is_err());
        assert_eq!(Text::of(None).os_if_given("path").unwrap(), None);
    }

    #[test]
    fn what_is_longer_than_any_path_is_refused_and_not_shown() {
        let of = |length| CString::new(vec![b'\xff'; length]).unwrap();
        let (longest, longer) = (of(LONGEST), of(LONGEST + 1));
        assert!(Text(longest.as_ptr()).path("path").is_ok());
        let text = Text(longer.as_ptr());
        for error in [
            text.path("text").unwrap_err(),
            text.utf8("text").unwrap_err(),
            text.utf8_if_given("text").unwrap_err(),
            text.os_if_given("text").unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert_eq!(error.to_string(), "text has more than 4095 bytes");
        }
    }

    #[test]
    fn a_nul_inside_of_text_is_shown() {
        assert_eq!(owned(b"plain").as_c_str(), c"plain");
        assert_eq!(owned(b"a\0b\0").as_c_str(), c"a\\0b\\0");
        assert_eq!(owned(b"").as_c_str(), c"");
    }
}
