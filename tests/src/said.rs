// SPDX-License-Identifier: MIT OR Apache-2.0
//! A user who remembers what is said, for tests that run a driver without `moctl`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mosaic_core::{Level, Services};

/// Keeps the warnings and errors that reach the user; never asks to stop.
#[derive(Debug, Default)]
pub struct Said(Mutex<Vec<String>>);

impl Said {
    /// All so far.
    pub fn lines(&self) -> Vec<String> {
        self.kept().clone()
    }

    /// All since it was last taken.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.kept())
    }

    fn kept(&self) -> MutexGuard<'_, Vec<String>> {
        // A test that failed meanwhile leaves whole lines.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Services for Said {
    fn log(&self, level: Level, message: &str) {
        if level <= Level::Warning {
            self.kept().push(message.to_owned());
        }
    }

    fn progress(&self, _: u64, _: u64, _: &str) {}

    fn cancelled(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_sees_is_kept_until_it_is_taken() {
        let said = Said::default();
        said.log(Level::Debug, "ioctl");
        said.log(Level::Warning, "careful");
        assert_eq!(said.lines(), ["careful"]);
        assert_eq!(said.take(), ["careful"]);
        assert_eq!(said.take(), [""; 0]);
    }
}
