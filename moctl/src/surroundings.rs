// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the environment says. Nothing below `moctl` reads environment variables.
//!
//! A process that runs with more rights than its caller (set-uid, file capabilities) believes none
//! of the paths in its environment: the kernel marks it with `AT_SECURE` (getauxval(3)).

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Where config files are.
const CONFIG_DIR: &str = "/etc/mosaic";

/// `AT_SECURE` in include/uapi/linux/auxvec.h.
const AT_SECURE: usize = 23;

/// What the environment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// `MOSAIC_CONFIG_DIR`, else `/etc/mosaic`.
    pub config_dir: PathBuf,
    /// `MOSAIC_DRIVER_PATH`: folders split by `:`.
    pub driver_path: Vec<PathBuf>,
    /// `MOSAIC_ABI_DEBUG`: print all of a layout mismatch.
    pub abi_debug: bool,
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
            |name| std::env::var_os(name),
            is_secure_execution(),
            stdout.then_some(columns),
            std::io::stderr().is_terminal(),
        )
    }

    /// `stdout`: the columns of the terminal that it is, if it is one and if it knows.
    fn from_variables(
        variable: impl Fn(&str) -> Option<OsString>,
        secure: bool,
        stdout: Option<Option<u16>>,
        stderr: bool,
    ) -> Self {
        let text = |name| variable(name).filter(|value| !value.is_empty());
        let trusted = |name| text(name).filter(|_| !secure);
        let columns = || {
            let said = text("COLUMNS")?.to_str()?.parse().ok()?;
            (said > 0).then_some(said)
        };
        // https://no-color.org: any value that is not empty.
        let color = text("NO_COLOR").is_none() && text("TERM").is_none_or(|term| term != "dumb");
        Self {
            config_dir: trusted("MOSAIC_CONFIG_DIR").map_or(CONFIG_DIR.into(), PathBuf::from),
            driver_path: trusted("MOSAIC_DRIVER_PATH").map_or_else(Vec::new, |path| {
                let folders = std::env::split_paths(&path);
                folders.filter(|folder| folder != Path::new("")).collect()
            }),
            abi_debug: text("MOSAIC_ABI_DEBUG").is_some_and(|value| value != "0"),
            columns: stdout.map(|window| columns().or(window).unwrap_or(80)),
            color: color && stdout.is_some(),
            color_stderr: color && stderr,
            home: trusted("HOME").map(PathBuf::from),
        }
    }
}

fn window_columns() -> Option<u16> {
    let window = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (window.ws_col > 0).then_some(window.ws_col)
}

/// Whether the kernel marked this process; what cannot be read is taken for yes.
fn is_secure_execution() -> bool {
    let Ok(vector) = std::fs::read("/proc/self/auxv") else {
        return true;
    };
    secure_flag(&vector).unwrap_or(true)
}

/// The value of `AT_SECURE` in the auxiliary vector: pairs of native words, proc(5).
fn secure_flag(vector: &[u8]) -> Option<bool> {
    let words: Vec<usize> = vector
        .chunks_exact(size_of::<usize>())
        .filter_map(|word| word.try_into().ok().map(usize::from_ne_bytes))
        .collect();
    let pair = words.chunks_exact(2).find(|pair| pair[0] == AT_SECURE)?;
    Some(pair[1] != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)], secure: bool) -> Surroundings {
        let get = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Surroundings::from_variables(get, secure, Some(Some(100)), true)
    }

    #[test]
    fn a_privileged_process_believes_no_paths() {
        let variables = [
            ("MOSAIC_CONFIG_DIR", "/evil"),
            ("MOSAIC_DRIVER_PATH", "/evil:/worse"),
        ];
        let plain = with(&variables, false);
        assert_eq!(plain.config_dir, Path::new("/evil"));
        assert_eq!(plain.driver_path.len(), 2);
        let secure = with(&variables, true);
        assert_eq!(secure.config_dir, Path::new("/etc/mosaic"));
        assert!(secure.driver_path.is_empty());
    }

    #[test]
    fn empty_variables_are_no_variables() {
        let empty = with(
            &[
                ("MOSAIC_CONFIG_DIR", ""),
                ("MOSAIC_DRIVER_PATH", "::"),
                ("NO_COLOR", ""),
            ],
            false,
        );
        assert_eq!(empty, with(&[], false));
        assert!(empty.color && empty.driver_path.is_empty());
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
        let piped = Surroundings::from_variables(|_| Some("60".into()), false, None, false);
        assert_eq!(piped.columns, None);
    }

    #[test]
    fn the_kernel_says_whether_this_is_a_secure_execution() {
        assert!(!is_secure_execution());
        let word = |n: usize| n.to_ne_bytes();
        let vector = [word(6), word(4096), word(23), word(1), word(0), word(0)].concat();
        assert_eq!(secure_flag(&vector), Some(true));
        assert_eq!(secure_flag(b"short"), None);
    }
}
