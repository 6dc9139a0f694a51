// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `moctl` lends the host and its drivers: a log and progress on stderr, and the user's wish
//! to stop.
//!
//! Progress is one line that is drawn over; whatever else goes to stderr clears it first.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mosaic_core::{Level, Services, printable};

use crate::cli::Global;

/// A step shorter than this shows no progress at all.
const PROGRESS_AFTER: Duration = Duration::from_millis(400);
/// How often the line is drawn again.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Back to the first column, clear to the end of the line (ECMA-48).
const CLEAR_LINE: &str = "\r\x1b[K";

/// Standard error of one command.
#[derive(Debug)]
pub struct Terminal {
    quiet: bool,
    json: bool,
    verbose: u8,
    /// Progress is drawn.
    draws: bool,
    started: Instant,
    stop: Arc<AtomicBool>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    warnings: Vec<String>,
    step_since: Option<Instant>,
    drawn: Option<Instant>,
}

impl Terminal {
    /// As the options say; `stop` becomes true when the user asks to stop.
    pub fn new(global: &Global, stop: Arc<AtomicBool>) -> Self {
        let talks = !global.quiet && !global.json;
        Self {
            quiet: global.quiet,
            json: global.json,
            verbose: global.verbose,
            draws: talks && std::io::stderr().is_terminal(),
            started: Instant::now(),
            stop,
            state: Mutex::default(),
        }
    }

    /// The warnings so far, for JSON.
    pub fn warnings(&self) -> Vec<String> {
        self.state().warnings.clone()
    }

    /// Clears the line of progress.
    pub fn finish(&self) {
        Self::clear(&mut self.state());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clear(state: &mut State) {
        if state.drawn.take().is_some() {
            write_stderr(CLEAR_LINE);
        }
    }

    fn shows(&self, level: Level) -> bool {
        match level {
            Level::Error => true,
            Level::Warning => !self.quiet && !self.json,
            Level::Info | Level::Debug => self.verbose > 0,
        }
    }
}

impl Services for Terminal {
    fn log(&self, level: Level, message: &str) {
        let mut state = self.state();
        if level == Level::Warning {
            state.warnings.push(message.to_owned());
        }
        if !self.shows(level) {
            return;
        }
        Self::clear(&mut state);
        let word = match level {
            Level::Error => "error: ",
            Level::Warning => "warning: ",
            Level::Info | Level::Debug => "",
        };
        let time = if self.verbose > 1 {
            format!("[{:8.3}s] ", self.started.elapsed().as_secs_f64())
        } else {
            String::new()
        };
        write_stderr(&format!("moctl: {time}{word}{}\n", printable(message)));
    }

    fn progress(&self, done: u64, total: u64, what: &str) {
        if !self.draws {
            return;
        }
        let mut state = self.state();
        let now = Instant::now();
        let since = *state.step_since.get_or_insert(now);
        if done >= total && total > 0 {
            state.step_since = None;
            return Self::clear(&mut state);
        }
        let too_early = now.duration_since(since) < PROGRESS_AFTER;
        let just_drawn = |at: Instant| now.duration_since(at) < PROGRESS_EVERY;
        if too_early || state.drawn.is_some_and(just_drawn) {
            return;
        }
        state.drawn = Some(now);
        write_stderr(&progress_line(done, total, what));
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn progress_line(done: u64, total: u64, what: &str) -> String {
    let what = printable(what);
    if total == 0 {
        return format!("{CLEAR_LINE}{what} ...");
    }
    let percent = u128::from(done) * 100 / u128::from(total);
    format!("{CLEAR_LINE}{what}: {percent}%")
}

/// Standard error may be closed or full; there is nobody left to tell.
pub(crate) fn write_stderr(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_kept_for_json_and_lines_are_chosen_by_level() {
        let global = |quiet, json, verbose| Global {
            json,
            quiet,
            verbose,
            lock_timeout: Duration::ZERO,
            driver_dir: Vec::new(),
        };
        let terminal = |global: Global| Terminal::new(&global, Arc::default());
        let json = terminal(global(false, true, 0));
        json.log(Level::Warning, "a");
        json.log(Level::Debug, "b");
        assert_eq!(json.warnings(), ["a"]);
        assert!(!json.shows(Level::Warning) && json.shows(Level::Error));
        assert!(terminal(global(false, false, 0)).shows(Level::Warning));
        assert!(!terminal(global(true, false, 0)).shows(Level::Warning));
        assert!(terminal(global(false, false, 1)).shows(Level::Debug));
        assert!(!terminal(global(false, false, 0)).shows(Level::Info));
    }

    #[test]
    fn progress_is_a_percentage_where_the_end_is_known() {
        assert_eq!(
            progress_line(1, 3, "copying \"a\""),
            "\r\x1b[Kcopying \"a\": 33%"
        );
        assert_eq!(progress_line(7, 0, "a\nb"), "\r\x1b[Ka\\nb ...");
        assert_eq!(progress_line(u64::MAX - 1, u64::MAX, "x"), "\r\x1b[Kx: 99%");
    }

    #[test]
    fn a_stop_is_seen() {
        let stop = Arc::new(AtomicBool::new(false));
        let global = Global {
            json: false,
            quiet: true,
            verbose: 0,
            lock_timeout: Duration::ZERO,
            driver_dir: Vec::new(),
        };
        let terminal = Terminal::new(&global, Arc::clone(&stop));
        assert!(!terminal.cancelled());
        stop.store(true, Ordering::Relaxed);
        assert!(terminal.cancelled());
    }
}
