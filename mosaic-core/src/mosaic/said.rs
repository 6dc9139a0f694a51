// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program's services as a driver has them: what looks twice warns once.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use crate::host_services::{Level, Services};

/// Services that leave out warnings which a thread has had already, where it says so.
pub(super) struct Said {
    services: Arc<dyn Services>,
    /// What was said to whom since. One thread is there several times when the program's own functions
    /// call the library again.
    heard: Mutex<Vec<(ThreadId, BTreeSet<String>)>>,
}

impl Said {
    /// Those of a program.
    pub(super) fn new(services: Arc<dyn Services>) -> Self {
        let heard = Mutex::default();
        Self { services, heard }
    }

    /// Each warning comes once in this thread, until the answer is dropped in it.
    pub(super) fn once(&self) -> Once<'_> {
        let thread = thread::current().id();
        self.heard().push((thread, BTreeSet::new()));
        Once { said: self, thread }
    }

    fn heard(&self) -> MutexGuard<'_, Vec<(ThreadId, BTreeSet<String>)>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_new(&self, warning: &str) -> bool {
        let thread = thread::current().id();
        let mut heard = self.heard();
        match heard.iter_mut().rfind(|(whose, _)| *whose == thread) {
            Some((_, warnings)) => warnings.insert(warning.to_owned()),
            None => true,
        }
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Said")
    }
}

impl Services for Said {
    fn log(&self, level: Level, message: &str) {
        if level != Level::Warning || self.is_new(message) {
            self.services.log(level, message);
        }
    }

    fn progress(&self, done: u64, total: u64, what: &str) {
        self.services.progress(done, total, what);
    }

    fn cancelled(&self) -> bool {
        self.services.cancelled()
    }
}

/// As long as this is there.
pub(super) struct Once<'a> {
    said: &'a Said,
    thread: ThreadId,
}

impl Drop for Once<'_> {
    fn drop(&mut self) {
        let mut heard = self.said.heard();
        if let Some(at) = heard.iter().rposition(|(whose, _)| *whose == self.thread) {
            heard.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl Services for Lines {
        fn log(&self, level: Level, message: &str) {
            self.0.lock().unwrap().push(format!("{level:?} {message}"));
        }
        fn progress(&self, _: u64, _: u64, _: &str) {}
        fn cancelled(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_warning_comes_once_where_that_is_asked_for() {
        let lines = Arc::new(Lines::default());
        let said = Said::new(lines.clone());
        let warn = || said.log(Level::Warning, "a");
        let came = || std::mem::take(&mut *lines.0.lock().unwrap());
        warn();
        warn();
        assert_eq!(came(), ["Warning a", "Warning a"]);
        let once = said.once();
        warn();
        warn();
        said.log(Level::Warning, "b");
        said.log(Level::Debug, "a");
        said.log(Level::Debug, "a");
        let all = ["Warning a", "Warning b", "Debug a", "Debug a"];
        assert_eq!(came(), all);
        // Another thread, and a call from within, hear it for themselves.
        thread::scope(|scope| scope.spawn(warn).join().unwrap());
        let within = said.once();
        warn();
        drop(within);
        assert_eq!(came(), ["Warning a", "Warning a"]);
        warn();
        assert_eq!(came(), [""; 0]);
        drop(once);
        warn();
        assert_eq!(came(), ["Warning a"]);
        assert!(said.heard().is_empty());
    }
}
