// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who could have put a driver there: root runs no code that others can change.
//!
//! The file is opened once; what is checked here by its descriptor is what is loaded, by
//! `/proc/self/fd`. So it does not matter whether somebody swaps the name, or a folder above it,
//! in between. The folder is checked too, as who can write it chooses among root's files.
//!
//! Beside what runs, the program or the library, its owner and, if it lets its group write it, its
//! group are trusted as root is: they could as well change what runs.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Stat, fstat, stat};
use rustix::process::geteuid;

use super::search_path::Beside;
use crate::error::{Context, Error, ErrorKind, Result};

/// Who, besides root, may write a driver.
#[derive(Debug, Clone, Copy, Default)]
struct Trusted {
    owner: Option<u32>,
    group: Option<u32>,
}

/// Refuses a driver that others than root can write, if this process is root.
///
/// # Errors
/// `Permission`, with the command that mends it.
pub(super) fn check(
    folder: impl AsFd,
    folder_path: &Path,
    file: &File,
    path: &Path,
    beside: &Beside,
) -> Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let unknown = |path: &Path| format!("cannot look at {path:?}");
    let folder = fstat(folder).context(|| unknown(folder_path))?;
    let file = fstat(file).context(|| unknown(path))?;
    let trusted = trusted(&folder, beside);
    for (stat, path) in [(&folder, folder_path), (&file, path)] {
        if let Some((fact, remedy)) = fault(stat, trusted) {
            return Err(Error::new(
                ErrorKind::Permission,
                format!(
                    "{path:?} {fact}, so root does not load a driver by it; mend it by: {remedy} {path:?}"
                ),
            ));
        }
    }
    Ok(())
}

/// Whom to trust with a folder: more than root only beside what runs.
fn trusted(folder: &Stat, beside: &Beside) -> Trusted {
    let is_folder = |path: &Path| {
        stat(path).is_ok_and(|s| (s.st_dev, s.st_ino) == (folder.st_dev, folder.st_ino))
    };
    if !beside.folders().iter().any(|path| is_folder(path)) {
        return Trusted::default();
    }
    let Ok(runs) = stat(beside.file()) else {
        return Trusted::default();
    };
    Trusted {
        owner: Some(runs.st_uid),
        group: (runs.st_mode & 0o020 != 0).then_some(runs.st_gid),
    }
}

/// What is wrong with the owner and mode of a file or folder, and the command that mends it.
fn fault(stat: &Stat, trusted: Trusted) -> Option<(String, &'static str)> {
    if stat.st_uid != 0 && trusted.owner != Some(stat.st_uid) {
        return Some((format!("belongs to uid {}", stat.st_uid), "chown root"));
    }
    if stat.st_mode & 0o002 != 0 {
        return Some(("can be written by everybody".into(), "chmod go-w"));
    }
    if stat.st_mode & 0o020 != 0 && trusted.group != Some(stat.st_gid) {
        let fact = format!("can be written by group {}", stat.st_gid);
        return Some((fact, "chmod go-w"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapped_file::MappedFile;

    fn stat_of(uid: u32, gid: u32, mode: u32) -> Stat {
        let mut stat = stat("/").unwrap();
        (stat.st_uid, stat.st_gid, stat.st_mode) = (uid, gid, mode);
        stat
    }

    #[test]
    fn only_root_may_write_a_driver_of_root() {
        let remedy =
            |uid, gid, mode| fault(&stat_of(uid, gid, mode), Trusted::default()).map(|f| f.1);
        assert_eq!(remedy(0, 0, 0o100_755), None);
        assert_eq!(remedy(0, 7, 0o100_755), None);
        assert_eq!(remedy(1000, 0, 0o100_755), Some("chown root"));
        assert_eq!(remedy(0, 0, 0o100_775), Some("chmod go-w"));
        assert_eq!(remedy(0, 0, 0o041_777), Some("chmod go-w"));
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
        let owner = |path: &Path, beside: &Beside| trusted(&stat(path).unwrap(), beside).owner;
        let us = stat(&library).unwrap().st_uid;
        assert_eq!(owner(dir.path(), &beside), Some(us));
        assert_eq!(owner(dir.path(), &Beside::Program), None);
        assert_eq!(owner(Path::new("/usr"), &beside), None);
        std::fs::remove_file(&library).unwrap();
        assert_eq!(owner(dir.path(), &beside), None);
    }

    #[test]
    fn beside_what_runs_its_writers_are_trusted_and_nobody_else() {
        let trusted = Trusted {
            owner: Some(1000),
            group: Some(100),
        };
        let remedy = |uid, gid, mode| fault(&stat_of(uid, gid, mode), trusted).map(|f| f.1);
        assert_eq!(remedy(1000, 100, 0o100_775), None);
        assert_eq!(remedy(0, 0, 0o100_755), None);
        assert_eq!(remedy(1000, 101, 0o100_775), Some("chmod go-w"));
        assert_eq!(remedy(1001, 100, 0o100_755), Some("chown root"));
        assert_eq!(remedy(1000, 100, 0o100_777), Some("chmod go-w"));
    }
}
