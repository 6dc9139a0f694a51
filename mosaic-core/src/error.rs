// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one error type, and the one table of kinds.
//!
//! A message is one line in lower case that names the object in quotes, the fact and, if known,
//! the way out. It never repeats its source's text: whoever prints it prints the chain.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use rustix::process::{Resource, getrlimit};

use crate::size::Bytes;

mod needs;

pub use needs::{Needs, text_in};

/// Shorthand for a result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can tell apart and act on.
///
/// The number is the exit status of `moctl` and what crosses the driver border.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum ErrorKind {
    /// The kernel, the storage or a program failed.
    Io = 1,
    /// What was asked for makes no sense: a name, a size, an option.
    Invalid = 2,
    /// It is not there.
    NotFound = 3,
    /// It is there already.
    Exists = 4,
    /// Somebody uses it, or holds its lock.
    Busy = 5,
    /// This driver, location or kernel cannot do that.
    Unsupported = 6,
    /// No space, or a quota is used up.
    NoSpace = 7,
    /// The config file is at fault.
    Config = 8,
    /// The caller may not.
    Permission = 9,
    /// What is on the storage contradicts itself.
    Corrupt = 10,
    /// A signal asked to stop.
    Interrupted = 11,
}

/// Kind, its name in JSON, the errno that the C library gives.
const KINDS: [(ErrorKind, &str, i32); 11] = [
    (ErrorKind::Io, "io", libc::EIO),
    (ErrorKind::Invalid, "invalid", libc::EINVAL),
    (ErrorKind::NotFound, "not-found", libc::ENOENT),
    (ErrorKind::Exists, "exists", libc::EEXIST),
    (ErrorKind::Busy, "busy", libc::EBUSY),
    (ErrorKind::Unsupported, "unsupported", libc::EOPNOTSUPP),
    (ErrorKind::NoSpace, "no-space", libc::ENOSPC),
    (ErrorKind::Config, "config", libc::EINVAL),
    (ErrorKind::Permission, "permission", libc::EPERM),
    (ErrorKind::Corrupt, "corrupt", libc::EUCLEAN),
    (ErrorKind::Interrupted, "interrupted", libc::EINTR),
];

impl ErrorKind {
    /// All kinds, in the order of their exit status.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|row| row.0)
    }

    /// The exit status of `moctl`, 1 to 11.
    pub fn exit_status(self) -> u8 {
        self as u8
    }

    /// The word in JSON output.
    pub fn name(self) -> &'static str {
        KINDS[usize::from(self as u8) - 1].1
    }

    /// The errno of the C library.
    pub fn errno(self) -> i32 {
        KINDS[usize::from(self as u8) - 1].2
    }

    /// The kind of an exit status; an unknown one is [`ErrorKind::Io`].
    pub fn from_status(status: u32) -> Self {
        Self::all()
            .find(|kind| u32::from(kind.exit_status()) == status)
            .unwrap_or(Self::Io)
    }

    /// The kind that fits an errno of the kernel.
    pub fn from_errno(errno: i32) -> Self {
        match errno {
            libc::ENOENT | libc::ENODEV | libc::ENXIO => Self::NotFound,
            libc::EEXIST => Self::Exists,
            libc::EBUSY | libc::ETXTBSY => Self::Busy,
            libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOTTY => Self::Unsupported,
            libc::ENOSPC | libc::EDQUOT | libc::EFBIG => Self::NoSpace,
            libc::EPERM | libc::EACCES | libc::EROFS => Self::Permission,
            libc::EUCLEAN | libc::EBADMSG => Self::Corrupt,
            libc::EINTR => Self::Interrupted,
            _ => Self::Io,
        }
    }
}

/// A failed operation: what kind, on what, why.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    errno: Option<i32>,
    key: Option<String>,
    needs: Option<Needs>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error without a cause below it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            errno: None,
            key: None,
            needs: None,
            source: None,
        }
    }

    /// An error of the kernel; the kind follows from its errno. Of a file that is too large it says what
    /// this process may write, where that is limited.
    pub fn io(source: impl Into<io::Error>, message: impl Into<String>) -> Self {
        let source = source.into();
        let errno = source.raw_os_error();
        let mut message = message.into();
        if errno == Some(libc::EFBIG)
            && let Some(limit) = getrlimit(Resource::Fsize).current
        {
            message = format!("{message}, with RLIMIT_FSIZE at {}", Bytes(limit));
        }
        Self {
            kind: errno.map_or(ErrorKind::Io, ErrorKind::from_errno),
            message,
            errno,
            key: None,
            needs: None,
            source: Some(Box::new(source)),
        }
    }

    /// A fault in a config value; the host adds file and line.
    pub fn config(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: Some(key.into()),
            ..Self::new(ErrorKind::Config, message)
        }
    }

    /// Puts `message` around this error. The kind stays.
    #[must_use]
    pub fn context(self, message: impl Into<String>) -> Self {
        Self {
            kind: self.kind,
            message: message.into(),
            errno: self.errno,
            key: self.key.clone(),
            needs: None,
            source: Some(Box::new(self)),
        }
    }

    /// Sets the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets the kernel's errno.
    #[must_use]
    pub fn with_errno(mut self, errno: i32) -> Self {
        self.errno = Some(errno);
        self
    }

    /// Adds that undoing failed too; the cause stays the cause.
    #[must_use]
    pub fn with_failed_undo(mut self, left: &Error) -> Self {
        self.message = format!("{}; undo also failed: {}", self.message, left.chain());
        self
    }

    /// Adds how undoing went: nothing if it went well.
    #[must_use]
    pub fn after_undo(self, undo: Result<()>) -> Self {
        match undo {
            Ok(()) => self,
            Err(left) => self.with_failed_undo(&left),
        }
    }

    /// What a caller can act on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The kernel's errno, where there is one behind it.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// The config key at fault.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The whole chain in one line, joined by `: `.
    pub fn chain(&self) -> String {
        self.texts(text_of).join(": ")
    }

    /// The same, and really one line: several faults of a config file are split by `; `.
    pub fn line(&self) -> String {
        one_line(&self.chain())
    }

    /// The same line, with a face's words for what the call [`Needs`].
    pub fn line_in(&self, words: fn(Needs) -> &'static str) -> String {
        one_line(&self.texts(|error| text_in(error, words)).join(": "))
    }

    /// The causes' texts, outermost first; see [`text_of`].
    pub fn causes(&self) -> Vec<String> {
        self.texts(text_of).split_off(1)
    }

    /// What the errors of the chain say, this one first.
    fn texts(&self, text: impl Fn(&(dyn StdError + 'static)) -> String) -> Vec<String> {
        let mut texts = Vec::new();
        let mut next: Option<&(dyn StdError + 'static)> = Some(self);
        while let Some(error) = next {
            texts.push(text(error));
            next = error.source();
        }
        texts
    }
}

fn one_line(chain: &str) -> String {
    let faults: Vec<&str> = chain.lines().collect();
    faults.join("; ")
}

/// What one error of a chain says: the kernel's words come without Rust's `(os error N)`.
pub fn text_of(error: &(dyn StdError + 'static)) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.needs {
            Some(needs) => write!(f, ": {needs}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|e| e as &(dyn StdError + 'static))
    }
}

/// Adds what was being done to an error on its way up.
pub trait Context<T> {
    /// Puts a message around the error; called only when there is one.
    ///
    /// # Errors
    /// The error itself, of the same kind.
    fn context(self, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| e.context(message()))
    }
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::io(e, message()))
    }
}

impl<T> Context<T> for rustix::io::Result<T> {
    fn context(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::io(e, message()))
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn context(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::io(e, message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_the_order_of_the_exit_status() {
        for (at, (kind, ..)) in KINDS.iter().enumerate() {
            assert_eq!(usize::from(kind.exit_status()), at + 1);
            assert_eq!(ErrorKind::from_status(u32::from(kind.exit_status())), *kind);
        }
        assert_eq!(ErrorKind::from_status(4711), ErrorKind::Io);
    }

    #[test]
    fn chain_names_each_cause_once_and_keeps_the_kind() {
        let error = Error::io(rustix::io::Errno::NOSPC, "cannot write label")
            .context("cannot create volume \"a\"");
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert_eq!(
            error.chain(),
            "cannot create volume \"a\": cannot write label: No space left on device"
        );
    }

    #[test]
    fn a_line_is_one_line() {
        let faults = Error::new(ErrorKind::Config, "/a.mos:1: one\n/a.mos:2: two");
        assert_eq!(faults.line(), "/a.mos:1: one; /a.mos:2: two");
        let outer = faults.context("cannot open mosaic \"a\"");
        let text = "cannot open mosaic \"a\": /a.mos:1: one; /a.mos:2: two";
        assert_eq!(outer.line(), text);
    }

    #[test]
    fn failed_undo_stands_beside_the_cause() {
        let left = Error::new(ErrorKind::Busy, "left /dev/loop7 attached");
        let error = Error::new(ErrorKind::Io, "cannot mount").with_failed_undo(&left);
        assert_eq!(error.kind(), ErrorKind::Io);
        assert_eq!(
            error.chain(),
            "cannot mount; undo also failed: left /dev/loop7 attached"
        );
    }
}
