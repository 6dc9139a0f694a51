// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where callers want answers.

use std::ffi::{c_char, c_int};

use mosaic_core::{Error, ErrorKind, Result};

/// `char *buf` with its `int len`.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Buffer(*mut c_char);

impl Buffer {
    /// Refuses a length that makes no sense, and NULL unless the length is 0.
    pub(crate) fn check(&self, len: c_int) -> Result<usize> {
        let invalid = |why: String| Error::new(ErrorKind::Invalid, why);
        let room = usize::try_from(len).map_err(|_| {
            invalid(format!(
                "a buffer of {len} bytes: the length is less than 0"
            ))
        })?;
        if self.0.is_null() && room > 0 {
            return Err(invalid(format!("the buffer of {len} bytes is NULL")));
        }
        Ok(room)
    }

    /// Writes text, cut off where it does not fit, with a NUL at its end. The length of the whole text.
    pub(crate) fn write(&self, len: c_int, text: &[u8]) -> Result<c_int> {
        let room = self.check(len)?;
        if let Some(most) = room.checked_sub(1) {
            let part = &text[..text.len().min(most)];
            // SAFETY: the caller's buffer has `len` bytes, which is one more than `part` at least.
            unsafe {
                self.0
                    .cast::<u8>()
                    .copy_from_nonoverlapping(part.as_ptr(), part.len())
            };
            // SAFETY: as above; this is the byte behind `part`.
            unsafe { self.0.add(part.len()).write(0) };
        }
        c_int::try_from(text.len()).map_err(|_| {
            let why = "the text is too long for its length to be told";
            Error::new(ErrorKind::Invalid, why)
        })
    }

    #[cfg(test)]
    fn of(bytes: &mut [u8]) -> Self {
        Self(bytes.as_mut_ptr().cast())
    }
}

/// A place for one value, such as `unsigned long *blocks`.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Refuses NULL.
    pub(crate) fn check(&self, what: &str) -> Result<()> {
        match self.0.is_null() {
            true => Err(Error::new(ErrorKind::Invalid, format!("{what} is NULL"))),
            false => Ok(()),
        }
    }

    /// Puts the value there.
    pub(crate) fn put(&self, what: &str, value: T) -> Result<()> {
        self.check(what)?;
        // SAFETY: the caller's variable of that type, and not NULL.
        unsafe { self.0.write(value) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_off_but_its_length_is_told() {
        for (len, expected) in [
            (0, *b"######"),
            (1, *b"\0#####"),
            (3, *b"ab\0###"),
            (4, *b"abc\0##"),
            (6, *b"abc\0##"),
        ] {
            let mut bytes = *b"######";
            let written = Buffer::of(&mut bytes).write(len, b"abc").unwrap();
            assert_eq!((written, bytes), (3, expected), "{len}");
        }
    }

    #[test]
    fn a_buffer_that_cannot_be_is_refused() {
        let null = Buffer(std::ptr::null_mut());
        assert_eq!(null.write(0, b"abc").unwrap(), 3);
        for len in [1, -1, c_int::MIN] {
            let error = null.write(len, b"abc").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{len}");
        }
        let mut bytes = [0; 4];
        assert!(Buffer::of(&mut bytes).write(-1, b"abc").is_err());
    }

    #[test]
    fn a_value_goes_where_it_is_wanted() {
        let mut value = 0;
        Out(&raw mut value).put("blocks", 7).unwrap();
        assert_eq!(value, 7);
        let error = Out(std::ptr::null_mut()).put("blocks", 7).unwrap_err();
        assert_eq!(error.to_string(), "blocks is NULL");
    }
}
