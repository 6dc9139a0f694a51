// SPDX-License-Identifier: MIT OR Apache-2.0
//! udev, which most containers lack: the distribution's is not installed, only unpacked. In the machine
//! it is started by a test that wants it ([`Udev`](crate::Udev)).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::kernel::package;
use super::say;
use crate::requires::find_program;

/// Rules about block devices; the last four are device mapper's own.
const RULES: [&str; 8] = [
    "50-udev-default.rules",
    "60-block.rules",
    "60-persistent-storage.rules",
    "64-btrfs.rules",
    "55-dm.rules",
    "60-persistent-storage-dm.rules",
    "64-btrfs-dm.rules",
    "95-dm-notify.rules",
];
const PROGRAM: &str = "udevadm";
/// When a download that failed is tried again.
const RETRY: Duration = Duration::from_secs(15 * 60);
/// The daemon is the same program by another name.
pub const DAEMON: &str = "/usr/lib/systemd/systemd-udevd";

/// Where its program is, and its rules.
#[derive(Debug)]
pub(super) struct Udev {
    /// `udevadm`.
    pub program: PathBuf,
    /// The rules' files.
    pub rules: Vec<PathBuf>,
}

impl Udev {
    /// The installed one, or an unpacked one that is kept in a folder; `None`: there is none yet, which
    /// was said.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub(super) fn obtain(vm: &Path) -> Result<Option<Self>> {
        if let Some(program) = find_program(PROGRAM) {
            return Ok(Some(Self::of(program, Path::new("/"))));
        }
        let folder = vm.join("udev");
        if !folder.exists() {
            // Each process of a test run would wait for a network that is not there.
            let failed = vm.join("udev-failed");
            if is_younger_than(&failed, RETRY) {
                return Ok(None);
            }
            let unpacked = super::own_folder("udev")?;
            if let Err(error) = package::unpack_newest(&["udev".to_owned()], unpacked.path()) {
                say(&format!("there will be no udev in it for now: {error:#}"));
                fs::write(failed, "")?;
                return Ok(None);
            }
            fs::rename(unpacked.keep(), &folder)?;
        }
        let programs = ["usr/bin", "bin"].map(|bin| folder.join(bin).join(PROGRAM));
        let program = programs.into_iter().find(|path| path.exists());
        Ok(program.map(|program| Self::of(program, &folder)))
    }

    fn of(program: PathBuf, root: &Path) -> Self {
        let places = [root, Path::new("/")]
            .into_iter()
            .flat_map(|root| ["usr/lib", "lib"].map(|lib| root.join(lib).join("udev/rules.d")));
        let places: Vec<PathBuf> = places.collect();
        let rule = |name: &&str| {
            let mut paths = places.iter().map(|place| place.join(name));
            paths.find(|path| path.exists())
        };
        Self {
            program,
            rules: RULES.iter().filter_map(rule).collect(),
        }
    }

    /// All its files.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let rules = self.rules.iter().map(PathBuf::as_path);
        rules.chain([self.program.as_path()])
    }

    /// Where a rule belongs.
    ///
    /// # Errors
    /// It has no name.
    pub(super) fn rule_at(rule: &Path) -> Result<PathBuf> {
        let name = rule.file_name().context("a rule has a name")?;
        Ok(Path::new("/usr/lib/udev/rules.d").join(name))
    }
}

fn is_younger_than(file: &Path, age: Duration) -> bool {
    let changed = fs::metadata(file).and_then(|meta| meta.modified());
    changed.is_ok_and(|time| time.elapsed().is_ok_and(|passed| passed < age))
}
