// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where drivers are looked for: folders in order, the first that has the file wins.
//!
//! A folder's name carries the ABI's major version, so drivers of two majors can be installed
//! side by side. The folders beside what runs, the program or the library, come last, for what is run
//! from where it was built.

use std::path::{Path, PathBuf};

use rustix::fs::{Stat, stat};

use crate::driver::is_type_name;
use crate::mapped_file::MappedFile;
use crate::ownership::Trusted;

/// The system's library folder; a packager with another one sets `MOSAIC_LIBDIR` while building.
/// Beneath `/usr`, it tells also where libraries are in a tree that is moved.
const LIBRARY_DIR: &str = match option_env!("MOSAIC_LIBDIR") {
    Some(dir) => dir,
    None => MULTIARCH_DIR,
};

const MULTIARCH_DIR: &str = if cfg!(all(target_arch = "x86_64", target_env = "gnu")) {
    "/usr/lib/x86_64-linux-gnu"
} else if cfg!(all(target_arch = "aarch64", target_env = "gnu")) {
    "/usr/lib/aarch64-linux-gnu"
} else if cfg!(all(target_arch = "riscv64", target_env = "gnu")) {
    "/usr/lib/riscv64-linux-gnu"
} else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
    "/usr/lib/powerpc64le-linux-gnu"
} else if cfg!(target_arch = "s390x") {
    "/usr/lib/s390x-linux-gnu"
} else {
    "/usr/lib"
};

/// What runs, beside which drivers are looked for last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beside {
    /// The program: `../lib/mosaic/drivers/1` from its folder, the same where the system has its
    /// libraries elsewhere, such as `../lib64/mosaic/drivers/1`, and that folder.
    Program,
    /// A library: `mosaic/drivers/1` in its folder, and that folder.
    Library(MappedFile),
}

/// The folders in which drivers are looked for, in order.
#[derive(Debug, Clone)]
pub struct SearchPath {
    directories: Vec<PathBuf>,
    pub(super) beside: Beside,
    pub(super) layout_report: Option<fn(&str)>,
}

impl SearchPath {
    /// The folders given by the user, then those of the environment, then the built-in ones:
    /// `/usr/local/lib/mosaic/drivers/1`, the same in the system's library folder, and those beside
    /// what runs.
    ///
    /// Reads no environment variable: `environment` is what the caller made of one.
    pub fn new(explicit: Vec<PathBuf>, environment: Vec<PathBuf>, beside: Beside) -> Self {
        let mut directories = explicit;
        directories.extend(environment);
        directories.push(versioned(Path::new("/usr/local/lib")));
        directories.push(versioned(Path::new(LIBRARY_DIR)));
        directories.extend(beside.folders());
        let mut seen = Vec::new();
        directories.retain(|dir| {
            let new = !dir.as_os_str().is_empty() && !seen.contains(dir);
            seen.push(dir.clone());
            new
        });
        Self {
            directories,
            beside,
            layout_report: None,
        }
    }

    /// Has all differences of a driver that is laid out in another way passed to `report`, hundreds
    /// of lines, besides the one line of the error. For those who work on the ABI.
    #[must_use]
    pub fn with_layout_report(mut self, report: fn(&str)) -> Self {
        self.layout_report = Some(report);
        self
    }

    /// The folders, first to last.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.directories.iter().map(PathBuf::as_path)
    }
}

/// The drivers' folder below a library folder.
fn versioned(library_dir: &Path) -> PathBuf {
    let major = mosaic_abi::VERSION.split('.').next().unwrap_or_default();
    library_dir.join("mosaic/drivers").join(major)
}

/// Where libraries are beneath a prefix: in `lib`, or as beneath `/usr` of the system.
fn library_folders(prefix: &Path) -> Vec<PathBuf> {
    let as_in_usr = Path::new(LIBRARY_DIR).strip_prefix("/usr").ok();
    let names = [Some(Path::new("lib")), as_in_usr];
    names
        .into_iter()
        .flatten()
        .map(|name| prefix.join(name))
        .collect()
}

impl Beside {
    /// The folders, where they can be found out.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let file = match self {
            Self::Program => std::env::current_exe().ok(),
            Self::Library(file) => Some(file.path.clone()),
        };
        let Some(folder) = file.as_deref().and_then(Path::parent) else {
            return Vec::new();
        };
        let libraries = match (self, folder.parent()) {
            (Self::Program, Some(prefix)) => library_folders(prefix),
            (Self::Program, None) => Vec::new(),
            (Self::Library(_), _) => vec![folder.to_owned()],
        };
        let drivers = libraries.iter().map(|libraries| versioned(libraries));
        drivers.chain([folder.to_owned()]).collect()
    }

    /// Whom to trust with a folder: more than root only beside what runs.
    pub(super) fn trusts(&self, folder: &Stat) -> Trusted {
        let is_folder = |path: &PathBuf| {
            stat(path).is_ok_and(|s| (s.st_dev, s.st_ino) == (folder.st_dev, folder.st_ino))
        };
        match self.folders().iter().any(is_folder) {
            true => Trusted::writers_of(self.file()),
            false => Trusted::default(),
        }
    }

    /// The very file that runs, whatever is at its path by now.
    fn file(&self) -> &Path {
        match self {
            Self::Program => Path::new("/proc/self/exe"),
            Self::Library(file) => &file.mapping,
        }
    }
}

/// The file that holds the driver of a type: cargo's own name for a crate `mosaic-TYPE`.
///
/// The type must be checked by [`is_type_name`].
pub(super) fn file_name(type_name: &str) -> String {
    debug_assert!(is_type_name(type_name));
    format!("libmosaic_{}.so", type_name.replace('-', "_"))
}

/// The type that a file is named after, with `_` where the type may have `-`.
pub(super) fn type_of_file(file_name: &str) -> Option<&str> {
    let stem = file_name.strip_prefix("libmosaic_")?.strip_suffix(".so")?;
    is_type_name(stem).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_folders_come_before_those_of_the_system_and_the_program() {
        let environment = vec!["/b".into(), "".into(), "/a".into()];
        let search = SearchPath::new(vec!["/a".into()], environment, Beside::Program);
        let directories: Vec<_> = search.directories().collect();
        let program = std::env::current_exe().unwrap();
        let folder = program.parent().unwrap();
        assert_eq!(directories[0], Path::new("/a"));
        assert_eq!(directories[1], Path::new("/b"));
        assert_eq!(directories[2], Path::new("/usr/local/lib/mosaic/drivers/1"));
        assert!(directories[3].ends_with("mosaic/drivers/1"));
        assert!(directories[3].starts_with("/usr/lib"));
        assert_eq!(
            directories[4],
            folder.parent().unwrap().join("lib/mosaic/drivers/1")
        );
        if LIBRARY_DIR == MULTIARCH_DIR && LIBRARY_DIR != "/usr/lib" {
            let multiarch = Path::new(LIBRARY_DIR).strip_prefix("/usr").unwrap();
            assert_eq!(
                directories[5],
                versioned(&folder.parent().unwrap().join(multiarch))
            );
            assert_eq!(directories.len(), 7);
        }
        assert_eq!(directories.last(), Some(&folder));
    }

    #[test]
    fn a_library_has_folders_of_its_own() {
        let beside = Beside::Library(MappedFile {
            path: "/opt/m/lib/libmosaic.so.1".into(),
            mapping: PathBuf::new(),
        });
        let search = SearchPath::new(Vec::new(), Vec::new(), beside);
        let directories: Vec<_> = search.directories().skip(2).collect();
        assert_eq!(
            directories,
            [
                Path::new("/opt/m/lib/mosaic/drivers/1"),
                Path::new("/opt/m/lib")
            ]
        );
    }

    #[test]
    fn the_owner_of_the_library_is_trusted_beside_it_only() {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("libmosaic.so.1");
        std::fs::write(&library, "").unwrap();
        let beside = Beside::Library(MappedFile {
            path: library.clone(),
            mapping: library.clone(),
        });
        let owner = |path: &Path, beside: &Beside| beside.trusts(&stat(path).unwrap()).owner();
        let us = stat(&library).unwrap().st_uid;
        assert_eq!(owner(dir.path(), &beside), Some(us));
        assert_eq!(owner(dir.path(), &Beside::Program), None);
        assert_eq!(owner(Path::new("/usr"), &beside), None);
        std::fs::remove_file(&library).unwrap();
        assert_eq!(owner(dir.path(), &beside), None);
    }

    #[test]
    fn a_hyphen_of_the_type_is_an_underscore_of_the_file() {
        assert_eq!(file_name("dm-thin"), "libmosaic_dm_thin.so");
        assert_eq!(type_of_file("libmosaic_dm_thin.so"), Some("dm_thin"));
        for other in [
            "libmosaic.so",
            "libmosaic_.so",
            "libmosaic_A.so",
            "libz.so",
            "libmosaic_a.so.1",
        ] {
            assert_eq!(type_of_file(other), None, "{other}");
        }
    }
}
