// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver on a location, without the host: what the host would give, its tests give.

#![allow(dead_code, reason = "each test program uses its part")]

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;

use mosaic_core::volume::{MountSource, NewKind, NewVolume, Volume};
use mosaic_core::{Bytes, Driver, Host, Place, Result, Settings, VolumeName};
use mosaic_plain::Plain;
use mosaic_tests::{Said, Scratch, copy_of_own_program, scratch, volume};

pub const MIB: u64 = 1 << 20;

/// The driver on a directory.
pub struct Directories {
    pub driver: Plain,
    pub path: PathBuf,
    pub said: Arc<Said>,
    _scratch: Option<Scratch>,
}

impl Directories {
    /// On a new directory in the temporary folder.
    pub fn new() -> Self {
        let scratch = Scratch::new("plain").unwrap();
        let mut opened = Self::open(&scratch.folder("location").unwrap(), 1);
        opened._scratch = Some(scratch);
        opened
    }

    /// On a directory that is there; volumes have `depth` components, metadata is in `meta/fs`.
    pub fn open(path: &Path, depth: u32) -> Self {
        let mut settings = Settings::new(path);
        settings.layout_fs = Some("meta/fs".into());
        settings.depth = depth;
        let said = Arc::new(Said::default());
        Self {
            driver: Plain::open(Host::new(said.clone()), &settings).unwrap(),
            path: path.to_owned(),
            said,
            _scratch: None,
        }
    }

    /// The same location for volumes of another depth.
    pub fn with_depth(mut self, depth: u32) -> Self {
        let again = Self::open(&self.path, depth);
        (self.driver, self.said) = (again.driver, again.said);
        self
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn create(&self, name: &str) -> Result<()> {
        self.create_sized(&volume(name), 64 * MIB)
    }

    pub fn create_sized(&self, name: &VolumeName, size: u64) -> Result<()> {
        let new = NewVolume {
            kind: NewKind::Fs(None),
            size: Bytes(size),
            scratch: scratch(),
        };
        self.driver.create(name, &new)
    }

    /// Drops it as the host does: the trash is emptied afterwards.
    pub fn drop(&self, name: &str) -> Result<()> {
        let scratch = scratch();
        self.driver.drop_volume(&volume(name), &scratch)?;
        self.driver.remove_leftover(Place::Trash, &scratch)
    }

    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.driver.rename(&volume(from), &volume(to))
    }

    pub fn find(&self, name: &str) -> Result<Option<Volume>> {
        self.driver.find(&volume(name))
    }

    pub fn found(&self, name: &str) -> Volume {
        self.find(name).unwrap().unwrap()
    }

    pub fn names(&self) -> Vec<String> {
        let volumes = self.driver.list().unwrap();
        let mut names: Vec<_> = volumes.into_iter().map(|v| v.stored).collect();
        names.sort();
        names
    }

    /// The inode number of what would be mounted.
    pub fn source(&self, name: Option<&str>) -> Result<u64> {
        let name = name.map(volume);
        match self.driver.mount_source(name.as_ref(), false)? {
            MountSource::Directory(dir) => Ok(rustix::fs::fstat(dir.as_fd()).unwrap().st_ino),
            MountSource::Device { path, .. } => panic!("{path:?} is a device"),
        }
    }

    /// What stands in `.mosaic/tmp` and `.mosaic/trash`.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let folders = Place::ALL.map(|place| self.at(".mosaic").join(place.folder()));
        let entries = folders.iter().filter_map(|f| std::fs::read_dir(f).ok());
        entries.flatten().map(|e| e.unwrap().path()).collect()
    }
}

/// Starts this test program again, for one test that finds `what` in its environment.
pub fn start_helper(test: &str, what: &str) -> Child {
    helper(&std::env::current_exe().unwrap(), test, what)
        .spawn()
        .unwrap()
}

/// The same as another user, by a copy of the program in a folder that is open to all.
pub fn start_helper_as(user: u32, folder: &Path, test: &str, what: &str) -> Child {
    use std::os::unix::process::CommandExt;
    let mut helper = helper(&copy_of_own_program(folder), test, what);
    helper.uid(user).gid(user).spawn().unwrap()
}

fn helper(program: &Path, test: &str, what: &str) -> Command {
    let mut helper = Command::new(program);
    helper.args(["--exact", test, "--nocapture"]);
    helper.env("MOSAIC_TEST_HELPER", what).current_dir("/");
    // Its result is no test's: what failed is on stderr.
    helper.stdout(std::process::Stdio::null());
    helper
}

/// What a helper was started for; `None` in an ordinary run of the test.
pub fn helper_task() -> Option<String> {
    std::env::var("MOSAIC_TEST_HELPER").ok()
}
