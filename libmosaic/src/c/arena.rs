// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a result of several parts points to.

use std::any::Any;
use std::ffi::{OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;

use super::text::owned;

/// A list of texts with NULL at its end.
pub(crate) type Strings = *const *const c_char;

/// Owns all parts of a result. What it gives stays where it is until the arena is dropped.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    kept: Vec<Box<dyn Any>>,
}

// SAFETY: all that another thread does with what it owns is to free the memory, for a `Copy` type has no
// `drop`. Who reads it does so by a pointer, and answers for that.
unsafe impl Send for Arena {}

impl Arena {
    /// Keeps a value.
    pub(crate) fn keep<T: Copy + 'static>(&mut self, value: T) -> *mut T {
        self.keep_all(vec![value])
    }

    fn keep_all<T: Copy + 'static>(&mut self, mut values: Vec<T>) -> *mut T {
        let at = values.as_mut_ptr();
        self.kept.push(Box::new(values));
        at
    }

    /// Keeps a text.
    pub(crate) fn text(&mut self, text: impl AsRef<OsStr>) -> *const c_char {
        let bytes = owned(text.as_ref().as_bytes()).into_bytes_with_nul();
        self.keep_all(bytes).cast()
    }

    /// Keeps a text; `None` is NULL.
    pub(crate) fn text_if_any(&mut self, text: Option<impl AsRef<OsStr>>) -> *const c_char {
        text.map_or(ptr::null(), |text| self.text(text))
    }

    /// Keeps a list, NULL at its end.
    pub(crate) fn list<T: Copy + 'static>(&mut self, mut things: Vec<*const T>) -> *const *const T {
        things.push(ptr::null());
        self.keep_all(things)
    }

    /// Keeps a list of things made in here.
    pub(crate) fn list_of<F, T: Copy + 'static>(
        &mut self,
        things: &[F],
        make: impl Fn(&mut Self, &F) -> T,
    ) -> *const *const T {
        let things = things.iter().map(|thing| {
            let made = make(self, thing);
            self.keep(made).cast_const()
        });
        let things = things.collect();
        self.list(things)
    }

    /// Keeps texts.
    pub(crate) fn texts(&mut self, texts: &[String]) -> Strings {
        let texts = texts.iter().map(|text| self.text(text)).collect();
        self.list(texts)
    }

    /// Keeps paths.
    pub(crate) fn paths(&mut self, paths: &[PathBuf]) -> Strings {
        let paths = paths.iter().map(|path| self.text(path)).collect();
        self.list(paths)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn read(text: *const c_char) -> String {
        // SAFETY: the arena's text, and the arena is still there.
        let text = unsafe { CStr::from_ptr(text) };
        text.to_str().unwrap().to_owned()
    }

    #[test]
    fn what_is_kept_stays_where_it_is() {
        let mut arena = Arena::default();
        let first = arena.text("first");
        let texts = arena.texts(&["a".to_owned(), "b\0c".to_owned()]);
        for _ in 0..1000 {
            arena.text("more");
        }
        let arena = std::thread::spawn(move || arena).join().unwrap();
        assert_eq!(read(first), "first");
        // SAFETY: a list of two texts and NULL.
        let texts = unsafe { std::slice::from_raw_parts(texts, 3) };
        assert_eq!(read(texts[0]), "a");
        assert_eq!(read(texts[1]), "b\\0c");
        assert!(texts[2].is_null());
        drop(arena);
    }

    #[test]
    fn an_empty_list_is_only_its_end() {
        let mut arena = Arena::default();
        let texts = arena.paths(&[]);
        // SAFETY: a list of one pointer.
        assert!(unsafe { *texts }.is_null());
        assert!(arena.text_if_any(None::<&str>).is_null());
    }
}
