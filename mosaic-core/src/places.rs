// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the environment says that things are.
//!
//! [`Places::from_environment`] is all in this crate that reads environment variables, and it does so
//! only when a program asks. A process that runs with more rights than its caller (set-uid, file
//! capabilities) believes none of the paths in its environment: the kernel marks it with `AT_SECURE`
//! (getauxval(3)). One that has given up rights is not marked. Who set a path that is not believed is to
//! be told ([`Places::ignored`]): what is done instead is done to another mosaic.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::ioctl::secure_execution;
use crate::loader::{Beside, SearchPath};

/// Where config files are.
const CONFIG_DIR: &str = "/etc/mosaic";

/// The variables that say it otherwise.
const CONFIG_VARIABLE: &str = "MOSAIC_CONFIG_DIR";
const DRIVER_VARIABLE: &str = "MOSAIC_DRIVER_PATH";

/// What the environment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// `MOSAIC_CONFIG_DIR`, else `/etc/mosaic`.
    pub config_dir: PathBuf,
    /// `MOSAIC_DRIVER_PATH`: folders split by `:`.
    pub driver_path: Vec<PathBuf>,
    /// `MOSAIC_ABI_DEBUG`: all of a layout mismatch is wanted.
    pub abi_debug: bool,
    /// The variables that are set and not believed.
    pub doubted: Vec<&'static str>,
}

impl Places {
    /// Asks the environment of this process, as it is now.
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var_os(name), is_secure_execution())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>, secure: bool) -> Self {
        let text = |name: &str| variable(name).filter(|value| !value.is_empty());
        let trusted = |name: &str| text(name).filter(|_| !secure);
        let doubted = |name: &&str| secure && text(name).is_some();
        Self {
            config_dir: trusted(CONFIG_VARIABLE).map_or(CONFIG_DIR.into(), PathBuf::from),
            driver_path: trusted(DRIVER_VARIABLE).map_or_else(Vec::new, folders),
            abi_debug: text("MOSAIC_ABI_DEBUG").is_some_and(|value| value != "0"),
            doubted: [CONFIG_VARIABLE, DRIVER_VARIABLE]
                .into_iter()
                .filter(doubted)
                .collect(),
        }
    }

    /// A warning for each variable that is set and not believed. `has_config_dir`: it is known without
    /// the environment where config files are.
    pub fn ignored(&self, has_config_dir: bool) -> impl Iterator<Item = String> {
        let counts = move |name: &&&str| !(has_config_dir && **name == CONFIG_VARIABLE);
        self.doubted.iter().filter(counts).map(|name| {
            format!("{name} is ignored: this process runs with more rights than its caller")
        })
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

/// Whether the kernel marked this process.
pub fn is_secure_execution() -> bool {
    secure_execution::is_secure_execution()
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
    fn what_is_not_believed_is_told() {
        let variables = [("MOSAIC_CONFIG_DIR", "/a"), ("MOSAIC_DRIVER_PATH", "/b")];
        let told = |variables, secure, given| -> Vec<_> {
            with(variables, secure).ignored(given).collect()
        };
        let why = "is ignored: this process runs with more rights than its caller";
        let [config, drivers] = variables.map(|(name, _)| format!("{name} {why}"));
        assert_eq!(told(&variables, true, false), [config, drivers.clone()]);
        assert_eq!(told(&variables, true, true), [drivers]);
        assert_eq!(told(&variables, false, false), [""; 0]);
        assert_eq!(told(&[("MOSAIC_CONFIG_DIR", "")], true, false), [""; 0]);
    }

    #[test]
    fn this_is_no_secure_execution() {
        assert!(!is_secure_execution());
    }
}
