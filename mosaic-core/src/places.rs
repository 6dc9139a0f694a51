// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the environment says that things are.
//!
//! [`Places::from_environment`] is all in this crate that reads environment variables, and it does so
//! only when a program asks. A process that runs with more rights than its caller (set-uid, file
//! capabilities) believes none of the paths in its environment: the kernel marks it with `AT_SECURE`
//! (getauxval(3)).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::loader::{Beside, SearchPath};

/// Where config files are.
const CONFIG_DIR: &str = "/etc/mosaic";

/// `AT_SECURE` in include/uapi/linux/auxvec.h, Linux 2.6.
const AT_SECURE: usize = 23;

/// What the environment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// `MOSAIC_CONFIG_DIR`, else `/etc/mosaic`.
    pub config_dir: PathBuf,
    /// `MOSAIC_DRIVER_PATH`: folders split by `:`.
    pub driver_path: Vec<PathBuf>,
    /// `MOSAIC_ABI_DEBUG`: all of a layout mismatch is wanted.
    pub abi_debug: bool,
}

impl Places {
    /// Asks the environment of this process, as it is now.
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var_os(name), is_secure_execution())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>, secure: bool) -> Self {
        let text = |name| variable(name).filter(|value| !value.is_empty());
        let trusted = |name| text(name).filter(|_| !secure);
        Self {
            config_dir: trusted("MOSAIC_CONFIG_DIR").map_or(CONFIG_DIR.into(), PathBuf::from),
            driver_path: trusted("MOSAIC_DRIVER_PATH").map_or_else(Vec::new, folders),
            abi_debug: text("MOSAIC_ABI_DEBUG").is_some_and(|value| value != "0"),
        }
    }

    /// Where drivers are looked for: in `explicit` first, then in the environment's folders, those of
    /// the system, and those beside what runs. `report` gets all of a layout mismatch, where that is
    /// wanted.
    pub fn search(&self, explicit: Vec<PathBuf>, beside: Beside, report: fn(&str)) -> SearchPath {
        let search = SearchPath::new(explicit, self.driver_path.clone(), beside);
        match self.abi_debug {
            true => search.with_layout_report(report),
            false => search,
        }
    }
}

/// The folders of a text in which they are split by `:`; an empty one is none.
pub fn folders(text: impl AsRef<std::ffi::OsStr>) -> Vec<PathBuf> {
    let folders = std::env::split_paths(&text);
    folders.filter(|folder| folder != Path::new("")).collect()
}

/// Whether the kernel marked this process; what cannot be read is taken for yes.
pub fn is_secure_execution() -> bool {
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

    fn with(variables: &[(&str, &str)], secure: bool) -> Places {
        let get = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Places::from_variables(get, secure)
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
        let variables = [
            ("MOSAIC_CONFIG_DIR", ""),
            ("MOSAIC_DRIVER_PATH", "::"),
            ("MOSAIC_ABI_DEBUG", ""),
        ];
        let empty = with(&variables, false);
        assert_eq!(empty, with(&[], false));
        assert!(empty.driver_path.is_empty() && !empty.abi_debug);
    }

    #[test]
    fn what_is_given_comes_before_what_the_environment_says() {
        let places = with(&[("MOSAIC_DRIVER_PATH", "/b:/a")], false);
        let search = places.search(vec!["/a".into()], Beside::Program, |_| ());
        let directories: Vec<_> = search.directories().take(3).collect();
        assert_eq!(directories[..2], [Path::new("/a"), Path::new("/b")]);
        assert_eq!(directories[2], Path::new("/usr/local/lib/mosaic/drivers/1"));
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
