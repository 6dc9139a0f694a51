// SPDX-License-Identifier: MIT OR Apache-2.0
//! Functions that programs give the library.
//!
//! They are called with no lock held, so that they can call the library, whatever they call.

use std::ffi::{CStr, c_char, c_int, c_void};

use mosaic_core::{Error, ErrorKind, Result};

/// `void *data`: the program's own, handed back as it came.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Data(*mut c_void);

// SAFETY: nothing here looks at what it points to. The header says that the functions it is handed
// to are called in the threads that call the library, so the program has made it fit for those.
unsafe impl Send for Data {}
// SAFETY: as above.
unsafe impl Sync for Data {}

impl Data {
    /// NULL.
    pub(crate) const NONE: Self = Self(std::ptr::null_mut());
}

/// A function that gets things one by one: `int (*)(const T *, void *)`.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Each<T>(Option<unsafe extern "C" fn(*const T, Data) -> c_int>);

impl<T> Each<T> {
    /// Refuses NULL.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0 {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::Invalid, "the function is NULL")),
        }
    }

    /// Calls it; what it says. NULL says 0.
    pub(crate) fn call(&self, thing: &T, data: Data) -> c_int {
        self.call_at(thing, data)
    }

    /// `thing` is good as long as the call.
    fn call_at(&self, thing: *const T, data: Data) -> c_int {
        match self.0 {
            // SAFETY: the program's function of that type, which gets a pointer that is good.
            Some(function) => unsafe { function(thing, data) },
            None => 0,
        }
    }
}

impl Each<c_char> {
    /// Calls it with a line of text.
    pub(crate) fn line(&self, line: &CStr, data: Data) -> c_int {
        self.call_at(line.as_ptr(), data)
    }
}

/// `mosaic_log_fn`.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Log(Option<unsafe extern "C" fn(c_int, *const c_char, ...)>);

impl Log {
    /// NULL.
    pub(crate) const NONE: Self = Self(None);

    /// Whether there is one.
    pub(crate) fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// Calls it with a line, without `\n` at its end.
    pub(crate) fn line(&self, level: c_int, line: &CStr) {
        if let Some(function) = self.0 {
            // SAFETY: the program's function of that type; the format takes one text, and gets one.
            unsafe { function(level, c"%s\n".as_ptr(), line.as_ptr()) };
        }
    }
}

/// `mosaic_progress_fn`.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Progress(Option<unsafe extern "C" fn(u64, u64, *const c_char, Data)>);

impl Progress {
    /// NULL.
    pub(crate) const NONE: Self = Self(None);

    /// Whether there is one.
    pub(crate) fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// Calls it.
    pub(crate) fn call(&self, done: u64, total: u64, what: &CStr, data: Data) {
        if let Some(function) = self.0 {
            // SAFETY: the program's function of that type; the text is good as long as the call.
            unsafe { function(done, total, what.as_ptr(), data) };
        }
    }
}

/// `mosaic_cancel_fn`.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Cancel(Option<unsafe extern "C" fn(Data) -> c_int>);

impl Cancel {
    /// NULL.
    pub(crate) const NONE: Self = Self(None);

    /// Whether the program wants to stop.
    pub(crate) fn call(&self, data: Data) -> bool {
        // SAFETY: the program's function of that type.
        self.0
            .is_some_and(|function| unsafe { function(data) } != 0)
    }
}
