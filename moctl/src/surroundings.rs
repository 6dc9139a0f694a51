// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the environment says: where things are, and of the terminal.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use mosaic_core::places::{Places, is_secure_execution};

/// What the environment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// Where things are.
    pub places: Places,
    /// Columns of the terminal that standard output is; `None`: it is none.
    pub columns: Option<u16>,
    /// Standard output shows colours.
    pub color: bool,
    /// Standard error shows colours.
    pub color_stderr: bool,
    /// `HOME`, for `~` in completion.
    pub home: Option<PathBuf>,
}

impl Surroundings {
    /// Asks the environment of this process.
    pub fn look() -> Self {
        let stdout = std::io::stdout().is_terminal();
        let columns = stdout.then(window_columns).flatten();
        Self::from_variables(
            Places::from_environment(),
            |name| std::env::var_os(name),
            is_secure_execution(),
            stdout.then_some(columns),
            std::io::stderr().is_terminal(),
        )
    }

    /// `stdout`: the columns of the terminal that it is, if it is one and if it knows.
    fn from_variables(
        places: Places,
        variable: impl Fn(&str) -> Option<OsString>,
        secure: bool,
        stdout: Option<Option<u16>>,
        stderr: bool,
    ) -> Self {
        let text = |name| variable(name).filter(|value| !value.is_empty());
        let columns = || {
            let said = text("COLUMNS")?.to_str()?.parse().ok()?;
            (said > 0).then_some(said)
        };
        // https://no-color.org: any value that is not empty.
        let color = text("NO_COLOR").is_none() && text("TERM").is_none_or(|term| term != "dumb");
        Self {
            places,
            columns: stdout.map(|window| columns().or(window).unwrap_or(80)),
            color: color && stdout.is_some(),
            color_stderr: color && stderr,
            home: text("HOME").filter(|_| !secure).map(PathBuf::from),
        }
    }
}

fn window_columns() -> Option<u16> {
    let window = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (window.ws_col > 0).then_some(window.ws_col)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_places() -> Places {
        Places {
            config_dir: "/etc/mosaic".into(),
            driver_path: Vec::new(),
            abi_debug: false,
            doubted: Vec::new(),
        }
    }

    fn with(variables: &[(&str, &str)], secure: bool) -> Surroundings {
        let get = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Surroundings::from_variables(no_places(), get, secure, Some(Some(100)), true)
    }

    #[test]
    fn a_privileged_process_believes_no_home() {
        let home = |secure| with(&[("HOME", "/evil")], secure).home;
        assert_eq!(home(false), Some("/evil".into()));
        assert_eq!(home(true), None);
    }

    #[test]
    fn empty_variables_are_no_variables() {
        let empty = with(&[("HOME", ""), ("NO_COLOR", "")], false);
        assert_eq!(empty, with(&[], false));
        assert!(empty.color);
    }

    #[test]
    fn no_color_and_a_dumb_terminal_mean_no_colour() {
        assert!(!with(&[("NO_COLOR", "1")], false).color);
        assert!(!with(&[("TERM", "dumb")], false).color_stderr);
    }

    #[test]
    fn columns_count_only_on_a_terminal() {
        assert_eq!(with(&[("COLUMNS", "60")], false).columns, Some(60));
        assert_eq!(with(&[("COLUMNS", "0")], false).columns, Some(100));
        let any = |_: &str| Some("60".into());
        let piped = Surroundings::from_variables(no_places(), any, false, None, false);
        assert_eq!(piped.columns, None);
    }
}
