// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who could have put code there: root runs none that others can change, be it a driver or a driver's
//! own program.
//!
//! Whoever asks has opened the file once; what is checked here by its descriptor is what is run, by
//! `/proc/self/fd`. So it does not matter whether somebody swaps the name, or a folder above it,
//! in between. The folder is checked too, as who can write it chooses among root's files.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Stat, fstat, stat};
use rustix::process::geteuid;

use crate::error::{Context, Error, ErrorKind, Result};

/// Who, besides root, may write what root runs. By default nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trusted {
    owner: Option<u32>,
    group: Option<u32>,
}

impl Trusted {
    /// Who can write code that runs already: the owner of its file and, if it lets its group write it,
    /// its group. They could as well change that. Nobody, if the file cannot be looked at.
    pub fn writers_of(file: &Path) -> Self {
        let Ok(runs) = stat(file) else {
            return Self::default();
        };
        Self {
            owner: Some(runs.st_uid),
            group: (runs.st_mode & 0o020 != 0).then_some(runs.st_gid),
        }
    }

    /// The user, besides root.
    #[cfg(all(test, feature = "host"))]
    pub(crate) fn owner(self) -> Option<u32> {
        self.owner
    }
}

/// Refuses code that others than root can write, if this process is root. `purpose` says what is not
/// done with it then, as `load a driver`.
///
/// # Errors
/// `Permission`, with the command that mends it.
pub fn check(
    folder: impl AsFd,
    folder_path: &Path,
    file: impl AsFd,
    path: &Path,
    trusted: Trusted,
    purpose: &str,
) -> Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let unknown = |path: &Path| format!("cannot look at {path:?}");
    let folder = fstat(folder).context(|| unknown(folder_path))?;
    let file = fstat(file).context(|| unknown(path))?;
    for (stat, path) in [(&folder, folder_path), (&file, path)] {
        if let Some((fact, remedy)) = fault(stat, trusted) {
            return Err(Error::new(
                ErrorKind::Permission,
                format!(
                    "{path:?} {fact}, so root does not {purpose} by it; mend it by: {remedy} {path:?}"
                ),
            ));
        }
    }
    Ok(())
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
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn stat_of(uid: u32, gid: u32, mode: u32) -> Stat {
        let mut stat = stat("/").unwrap();
        (stat.st_uid, stat.st_gid, stat.st_mode) = (uid, gid, mode);
        stat
    }

    #[test]
    fn only_root_may_write_what_root_runs() {
        let remedy =
            |uid, gid, mode| fault(&stat_of(uid, gid, mode), Trusted::default()).map(|f| f.1);
        assert_eq!(remedy(0, 0, 0o100_755), None);
        assert_eq!(remedy(0, 7, 0o100_755), None);
        assert_eq!(remedy(1000, 0, 0o100_755), Some("chown root"));
        assert_eq!(remedy(0, 0, 0o100_775), Some("chmod go-w"));
        assert_eq!(remedy(0, 0, 0o041_777), Some("chmod go-w"));
    }

    #[test]
    fn who_can_write_what_runs_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("driver");
        std::fs::write(&file, "").unwrap();
        let found = stat(&file).unwrap();
        for (mode, group) in [(0o755, None), (0o775, Some(found.st_gid))] {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let trusted = Trusted::writers_of(&file);
            assert_eq!((trusted.owner, trusted.group), (Some(found.st_uid), group));
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(Trusted::writers_of(&file).owner, None);
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
