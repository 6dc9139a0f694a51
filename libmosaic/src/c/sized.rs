// SPDX-License-Identifier: MIT OR Apache-2.0
//! Structures that callers fill in, and that grow from version to version.

use std::mem::MaybeUninit;

use mosaic_core::{Error, ErrorKind, Result};

/// No structure of options will ever be longer; what says so is a number that was never set.
const LONGEST: usize = 64 << 10;

/// How long the member is that the function gives.
pub(crate) const fn member_size<T, M>(_: fn(&T) -> &M) -> usize {
    size_of::<M>()
}

/// Has it not compiled if a structure of the header has bytes behind its last member: the next one
/// would lie in them, where a program that was made for it could not see from the size that it is not
/// there.
macro_rules! ends_with {
    ($structure:ty, $last:ident) => {
        const _: () = {
            let last = $crate::c::member_size(|it: &$structure| &it.$last);
            let end = std::mem::offset_of!($structure, $last) + last;
            assert!(end == size_of::<$structure>(), "bytes of no member");
        };
    };
}
pub(crate) use ends_with;

/// A structure whose first member is its size in bytes.
///
/// # Safety
/// `repr(C)`; the first member is a `usize`; whatever bytes there are, they are a value of it: it has
/// numbers and pointers only.
pub(crate) unsafe trait Growing {
    /// Its size in the version in which it came.
    const FIRST: usize;
}

/// `const struct options *`, or NULL.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Options<T>(*const T);

impl<T> Options<T> {
    /// NULL.
    pub(crate) const NONE: Self = Self(std::ptr::null());
}

impl<T: Growing> Options<T> {
    /// What is given, and 0 for members that the caller's version does not have; `None`: NULL.
    ///
    /// # Errors
    /// `Invalid` for a size that it never had, and for members other than 0 of which nothing is known.
    pub(crate) fn read(&self, what: &str) -> Result<Option<T>> {
        let invalid = |why: String| Error::new(ErrorKind::Invalid, format!("{what}: {why}"));
        if self.0.is_null() {
            return Ok(None);
        }
        // SAFETY: the caller's structure begins with its size (`Growing`).
        let size = unsafe { self.0.cast::<usize>().read_unaligned() };
        if size < T::FIRST || size > LONGEST || !size.is_multiple_of(align_of::<usize>()) {
            let why = format!("the size of {size} bytes is not that of the structure; set it");
            return Err(invalid(why));
        }
        let known = size.min(size_of::<T>());
        let (from, mut value) = (self.0.cast::<u8>(), MaybeUninit::<T>::zeroed());
        // SAFETY: the caller says that there are `size` bytes, and `value` has as many as are known.
        unsafe { from.copy_to_nonoverlapping(value.as_mut_ptr().cast(), known) };
        // SAFETY: as above, behind those.
        let rest = unsafe { std::slice::from_raw_parts(from.add(known), size - known) };
        if rest.iter().any(|byte| *byte != 0) {
            let version = env!("CARGO_PKG_VERSION");
            let why = format!("it has members that version {version} of the library does not know");
            return Err(invalid(why));
        }
        // SAFETY: zeros and the caller's bytes, and any bytes are a value (`Growing`).
        Ok(Some(unsafe { value.assume_init() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    #[repr(C)]
    struct Two {
        size: usize,
        first: usize,
        second: usize,
    }

    const WORD: usize = size_of::<usize>();

    // SAFETY: numbers only.
    unsafe impl Growing for Two {
        const FIRST: usize = 2 * WORD;
    }

    fn read(words: &[usize]) -> Result<Option<Two>> {
        Options(words.as_ptr().cast::<Two>()).read("options")
    }

    #[test]
    fn an_older_program_gives_less() {
        let two = |size, first, second| Two {
            size,
            first,
            second,
        };
        let older = [2 * WORD, 1, 4711];
        assert_eq!(read(&older).unwrap(), Some(two(2 * WORD, 1, 0)));
        let same = [3 * WORD, 1, 2];
        assert_eq!(read(&same).unwrap(), Some(two(3 * WORD, 1, 2)));
        assert_eq!(Options::<Two>(std::ptr::null()).read("x").unwrap(), None);
    }

    #[test]
    fn a_newer_program_may_give_more_if_it_asks_for_nothing() {
        let newer = [4 * WORD, 1, 2, 0];
        assert_eq!(read(&newer).unwrap().unwrap().second, 2);
        let asks = [4 * WORD, 1, 2, 3];
        assert_eq!(read(&asks).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_size_that_it_never_had_is_refused() {
        for size in [0, 1, WORD, 2 * WORD - 1, 2 * WORD + 1, usize::MAX & !7] {
            let error = read(&[size, 0, 0, 0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{size}");
            assert!(
                error.to_string().starts_with("options: the size"),
                "{error}"
            );
        }
    }
}
