// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a mosaic's name to its config file, and the list of those that are there.
//!
//! A bare name is never looked for in the current folder: a tool that root runs in somebody's
//! folder must not take that somebody's config. `./web.mos` says that it is meant.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::suggest;
use crate::error::{Context, Error, ErrorKind, Result};

/// What a config file's name ends with.
const SUFFIX: &str = ".mos";

/// A mosaic's config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// The mosaic's name: the file's name without `.mos`.
    pub name: String,
    /// Where the file is.
    pub path: PathBuf,
}

impl ConfigFile {
    /// The file at a path, whether it is there or not.
    ///
    /// # Errors
    /// `Invalid` if the path ends in no file name.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let Some(name) = path.file_name() else {
            let why = format!("{path:?} names no config file");
            return Err(Error::new(ErrorKind::Invalid, why));
        };
        let name = name.to_string_lossy();
        let name = match name.strip_suffix(SUFFIX) {
            Some(stem) if !stem.is_empty() => stem.to_owned(),
            _ => name.into_owned(),
        };
        Ok(Self { name, path })
    }
}

/// Finds the config file of a mosaic.
///
/// With a `/` or a leading `.`, `name` is the file's path; else the file is `NAME.mos` in
/// `config_dir`, whether the suffix is given or not.
///
/// # Errors
/// `NotFound` if there is no such file: it says where it looked and which names are near.
/// `Invalid` for an empty name. What is there and is no config file is for [`super::load`] to say.
pub fn find(config_dir: &Path, name: &OsStr) -> Result<ConfigFile> {
    if name.is_empty() {
        let why = "the name of the mosaic is empty";
        return Err(Error::new(ErrorKind::Invalid, why));
    }
    let bytes = name.as_bytes();
    let is_path = bytes.contains(&b'/') || bytes.starts_with(b".");
    let file = if is_path {
        ConfigFile::at(name)?
    } else {
        let mut file_name = name.to_owned();
        if !bytes.ends_with(SUFFIX.as_bytes()) {
            file_name.push(SUFFIX);
        }
        ConfigFile::at(config_dir.join(file_name))?
    };
    match file.path.metadata() {
        Ok(_) => Ok(file),
        Err(e) if is_absent(&e) => Err(not_found(config_dir, name, &file, is_path)),
        Err(e) => Err(Error::io(
            e,
            format!("cannot open config file {:?}", file.path),
        )),
    }
}

/// The config files in `config_dir`, sorted by name. A folder that is not there has none.
///
/// # Errors
/// The kernel's, if the folder cannot be read.
pub fn list(config_dir: &Path) -> Result<Vec<ConfigFile>> {
    let failed = || format!("cannot list config folder {config_dir:?}");
    let entries = match config_dir.read_dir() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.context(failed)?;
        let name = entry.file_name();
        let hidden = name.as_bytes().starts_with(b".");
        let suffixed = name.as_bytes().ends_with(SUFFIX.as_bytes());
        if !hidden && suffixed && !entry.path().is_dir() {
            files.push(ConfigFile::at(entry.path())?);
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// No file can be at this path, or none is.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::NotFound | Kind::NotADirectory | Kind::InvalidFilename | Kind::InvalidInput
    )
}

fn not_found(config_dir: &Path, name: &OsStr, file: &ConfigFile, is_path: bool) -> Error {
    let hint = if is_path {
        let mut suffixed = name.to_owned();
        suffixed.push(SUFFIX);
        Path::new(&suffixed).is_file().then_some(suffixed)
    } else {
        near_names(config_dir, &file.name).or_else(|| in_current_folder(file))
    };
    let hint = hint
        .map(|hint| format!(" (did you mean {}?)", hint.to_string_lossy().escape_debug()))
        .unwrap_or_default();
    Error::new(
        ErrorKind::NotFound,
        format!("no mosaic {name:?}: there is no file {:?}{hint}", file.path),
    )
}

/// The mosaic whose name is nearest to a wrong one.
fn near_names(config_dir: &Path, name: &str) -> Option<std::ffi::OsString> {
    let files = list(config_dir).ok()?;
    let names = files.iter().map(|file| file.name.as_str());
    suggest::nearest(name, names).map(Into::into)
}

/// `./NAME.mos`, if somebody forgot the `./`.
fn in_current_folder(file: &ConfigFile) -> Option<std::ffi::OsString> {
    let here = Path::new(".").join(file.path.file_name()?);
    here.is_file().then(|| here.into_os_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            std::fs::write(dir.path().join(file), "type: plain\n").unwrap();
        }
        dir
    }

    #[test]
    fn a_bare_name_is_a_file_of_the_config_folder() {
        let dir = folder(&["web.mos"]);
        for name in ["web", "web.mos"] {
            let file = find(dir.path(), OsStr::new(name)).unwrap();
            assert_eq!(file.name, "web");
            assert_eq!(file.path, dir.path().join("web.mos"));
        }
    }

    #[test]
    fn a_slash_or_a_leading_dot_makes_it_a_path() {
        let dir = folder(&["a.conf", "web.mos"]);
        let path = dir.path().join("a.conf");
        let file = find(Path::new("/nonexistent"), path.as_os_str()).unwrap();
        assert_eq!((file.name.as_str(), &file.path), ("a.conf", &path));
        let error = find(dir.path(), OsStr::new(".web.mos")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(
            error.to_string().contains("no file \".web.mos\""),
            "{error}"
        );
        assert_eq!(
            find(dir.path(), OsStr::new("a/..")).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }

    #[test]
    fn an_absent_mosaic_says_where_it_was_looked_for_and_what_is_near() {
        let dir = folder(&["prod.mos", "test.mos"]);
        let error = find(dir.path(), OsStr::new("prdo")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let expected = format!(
            "no mosaic \"prdo\": there is no file {:?} (did you mean prod?)",
            dir.path().join("prdo.mos")
        );
        assert_eq!(error.to_string(), expected);
        let without = dir.path().join("test");
        let error = find(dir.path(), without.as_os_str()).unwrap_err();
        assert!(error.to_string().contains("/test.mos?)"), "{error}");
    }

    #[test]
    fn names_that_no_file_can_have_are_not_found() {
        let dir = folder(&[]);
        let long = "x".repeat(300);
        for name in ["a\0b", &long, "a\nb", "web.mos/x/y"] {
            let error = find(dir.path(), OsStr::new(name)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{name:?}");
            assert!(!error.to_string().contains('\n'));
        }
        let odd = OsStr::from_bytes(b"\xff\xfe");
        assert!(find(dir.path(), odd).is_err());
        let error = find(dir.path(), OsStr::new("")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn lists_config_files_and_nothing_else() {
        let dir = folder(&["b.mos", "a.mos", ".hidden.mos", "notes.txt", "a.mos~"]);
        std::fs::create_dir(dir.path().join("folder.mos")).unwrap();
        let names: Vec<_> = list(dir.path()).unwrap();
        let names: Vec<_> = names.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(list(&dir.path().join("absent")).unwrap().is_empty());
    }
}
