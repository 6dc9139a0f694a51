// SPDX-License-Identifier: MIT OR Apache-2.0
//! POSIX basic regular expressions of the C library. The only unsafe code of the config layer.
//!
//! Why the C library's and not a crate: POSIX takes the leftmost **longest** match, other engines the
//! first alternative that fits, and what a map made of a name earlier is on the storage: another
//! capture is another volume. The locale is pinned to `C` (single bytes, no collation): else the same
//! file would mean something else in a program that has called `setlocale`.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;

/// Groups that can be referred to: `\1` to `\9`, and the whole match.
const MATCHES: usize = 10;

/// What each group of a match covers, in bytes; the first is the whole match.
pub(super) type Groups = [Option<Range<usize>>; MATCHES];

/// A compiled regular expression.
pub(super) struct PosixRegex {
    compiled: libc::regex_t,
}

// SAFETY: the compiled expression belongs to this value alone, and regexec(3) is MT-Safe: it may be
// called from any thread.
unsafe impl Send for PosixRegex {}
// SAFETY: glibc's regexec(3) is MT-Safe on one regex_t: it takes a lock inside.
unsafe impl Sync for PosixRegex {}

impl PosixRegex {
    /// Compiles a basic regular expression, regcomp(3) without flags.
    ///
    /// # Errors
    /// The C library's words.
    pub(super) fn compile(regex: &CStr) -> Result<Self, String> {
        let _locale = PlainLocale::enter()?;
        let mut compiled = MaybeUninit::<libc::regex_t>::zeroed();
        // SAFETY: `compiled` has room for a regex_t, `regex` ends in a NUL.
        let status = unsafe { libc::regcomp(compiled.as_mut_ptr(), regex.as_ptr(), 0) };
        if status != 0 {
            return Err(words(status, compiled.as_ptr()));
        }
        // SAFETY: regcomp has returned 0, so it has filled the structure.
        let compiled = unsafe { compiled.assume_init() };
        Ok(Self { compiled })
    }

    /// The leftmost longest match, regexec(3) without flags.
    pub(super) fn search(&self, text: &str) -> Option<Groups> {
        let text = CString::new(text).ok()?;
        let _locale = PlainLocale::enter().ok()?;
        let mut matches = [libc::regmatch_t {
            rm_so: -1,
            rm_eo: -1,
        }; MATCHES];
        // SAFETY: the expression is compiled, `text` ends in a NUL, `matches` has MATCHES elements.
        let status = unsafe {
            let matches = matches.as_mut_ptr();
            libc::regexec(&raw const self.compiled, text.as_ptr(), MATCHES, matches, 0)
        };
        (status == 0).then(|| matches.map(covered))
    }
}

impl Drop for PosixRegex {
    fn drop(&mut self) {
        // SAFETY: the expression is compiled and not used after this.
        unsafe { libc::regfree(&raw mut self.compiled) }
    }
}

impl std::fmt::Debug for PosixRegex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PosixRegex").finish_non_exhaustive()
    }
}

/// A group that took no part in the match has -1.
fn covered(group: libc::regmatch_t) -> Option<Range<usize>> {
    Some(usize::try_from(group.rm_so).ok()?..usize::try_from(group.rm_eo).ok()?)
}

/// The words of regerror(3).
fn words(status: c_int, compiled: *const libc::regex_t) -> String {
    let mut buffer = [0u8; 256];
    // SAFETY: regerror takes what regcomp was given, also after a failure, and fills at most
    // the buffer, with a NUL at the end.
    unsafe {
        libc::regerror(
            status,
            compiled,
            buffer.as_mut_ptr().cast::<c_char>(),
            buffer.len(),
        )
    };
    CStr::from_bytes_until_nul(&buffer).map_or_else(
        |_| format!("status {status}"),
        |text| text.to_string_lossy().to_lowercase(),
    )
}

/// The `C` locale for this thread, until dropped.
struct PlainLocale {
    plain: libc::locale_t,
    before: libc::locale_t,
}

impl PlainLocale {
    fn enter() -> Result<Self, String> {
        // SAFETY: the name ends in a NUL, and no base locale is handed over.
        let plain = unsafe { libc::newlocale(libc::LC_ALL_MASK, c"C".as_ptr(), ptr::null_mut()) };
        if plain.is_null() {
            return Err("the C locale is not available".to_owned());
        }
        // SAFETY: `plain` is a valid locale; it stays so until it is replaced again in drop.
        let before = unsafe { libc::uselocale(plain) };
        Ok(Self { plain, before })
    }
}

impl Drop for PlainLocale {
    fn drop(&mut self) {
        // SAFETY: `before` was this thread's locale; `plain` is used by nobody afterwards.
        unsafe {
            libc::uselocale(self.before);
            libc::freelocale(self.plain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A locale of the thread's own, as a program around us may have set it.
    struct OtherLocale {
        other: libc::locale_t,
        before: libc::locale_t,
    }

    impl OtherLocale {
        fn enter(name: &CStr) -> Option<Self> {
            // SAFETY: the name ends in a NUL, and no base locale is handed over.
            let other =
                unsafe { libc::newlocale(libc::LC_ALL_MASK, name.as_ptr(), ptr::null_mut()) };
            if other.is_null() {
                return None;
            }
            // SAFETY: `other` is a valid locale until it is replaced in drop.
            let before = unsafe { libc::uselocale(other) };
            Some(Self { other, before })
        }
    }

    impl Drop for OtherLocale {
        fn drop(&mut self) {
            // SAFETY: `before` was this thread's locale; `other` is used by nobody afterwards.
            unsafe {
                libc::uselocale(self.before);
                libc::freelocale(self.other);
            }
        }
    }

    #[test]
    fn the_locale_of_the_program_does_not_matter_and_stays() {
        let Some(other) = OtherLocale::enter(c"C.UTF-8") else {
            return mosaic_tests::skip("the C library has no locale C.UTF-8");
        };
        let regex = PosixRegex::compile(c"\\(.\\)\\(.*\\)").unwrap();
        let groups = regex.search("öx").unwrap();
        assert_eq!(groups[1..3], [Some(0..1), Some(1..3)]);
        // SAFETY: a null locale only asks for the current one.
        let now = unsafe { libc::uselocale(ptr::null_mut()) };
        assert_eq!(now, other.other);
    }

    #[test]
    fn groups_that_took_no_part_are_none() {
        let regex = PosixRegex::compile(c"\\(a\\)\\?\\(b*\\)").unwrap();
        let groups = regex.search("bb").unwrap();
        assert_eq!(groups[..4], [Some(0..2), None, Some(0..2), None]);
        assert_eq!(regex.search("a\0b"), None);
    }

    #[test]
    fn a_faulty_expression_has_the_c_librarys_words() {
        let error = PosixRegex::compile(c"[z-a]").unwrap_err();
        assert_eq!(error, "invalid range end");
    }
}
