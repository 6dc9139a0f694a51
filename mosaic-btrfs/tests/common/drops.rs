// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes dropped as the host would have it done.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use mosaic_btrfs::{Btrfs, ioctl};
use mosaic_core::volume::Dropped;
use mosaic_core::{Driver, Host, Place, Result, ScratchName, Settings};
use mosaic_tests::copy_of_own_program;

use super::{Said, Site, open, volume};

/// Names the location to a helper that runs as another user.
const LOCATION: &str = "MOSAIC_TEST_BTRFS_LOCATION";

/// The name in the trash.
pub fn scratch() -> ScratchName {
    ScratchName::from_random(0x5c)
}

/// A driver in a helper that [`Site::as_user`] runs; `None`: nobody does.
pub fn helpers_driver() -> Option<(Btrfs, PathBuf, Arc<Said>)> {
    let path = PathBuf::from(std::env::var_os(LOCATION)?);
    let said = Arc::new(Said::default());
    let driver = Btrfs::open(Host::new(said.clone()), &Settings::new(&path)).unwrap();
    Some((driver, path, said))
}

impl Site {
    /// Gives the location to a user without privilege, who runs a helper of this test program; what
    /// that prints.
    pub fn as_user(&self, helper: &str) -> String {
        const NOBODY: u32 = 65534;
        self.fs.let_others_in().unwrap();
        std::os::unix::fs::chown(&self.path, Some(NOBODY), Some(NOBODY)).unwrap();
        let program = copy_of_own_program(self.fs.path().parent().unwrap());
        let output = Command::new(program)
            .args(["--exact", "--ignored", "--nocapture", helper])
            .env(LOCATION, &self.path)
            .current_dir("/")
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{complained}");
        said
    }

    /// The driver's part of `drop NAME`, up to its commit.
    pub fn take_away(&self, name: &str) -> Result<Dropped> {
        self.driver.drop_volume(&volume(name), &scratch())
    }

    /// What the host does next, and again in a sweep.
    pub fn empty_trash(&self) -> Result<()> {
        self.driver.remove_leftover(Place::Trash, &scratch())
    }

    /// All of `drop NAME`.
    pub fn drop_volume(&self, name: &str) -> Result<Dropped> {
        let dropped = self.take_away(name)?;
        self.empty_trash()?;
        Ok(dropped)
    }

    /// Where a volume is that was renamed to the trash.
    pub fn in_trash(&self) -> PathBuf {
        self.path.join(".mosaic/trash").join(scratch().as_str())
    }

    /// The paths of all subvolumes, as btrfs-progs show them, sorted.
    pub fn subvolumes(&self) -> Vec<String> {
        let found = mosaic_tests::subvolumes(self.fs.path()).unwrap();
        let paths = found.iter().filter(|s| !s.path.starts_with("DELETED"));
        let mut paths: Vec<String> = paths.map(|s| s.path.display().to_string()).collect();
        paths.sort();
        paths
    }

    /// Makes a subvolume right within an open directory.
    pub fn subvolume_in(folder: &File, name: impl AsRef<[u8]>) {
        ioctl::create(folder.as_fd(), name, None).unwrap();
    }

    /// Makes a subvolume that refuses writes, or lets it accept them.
    pub fn set_read_only(&self, name: &str, to: bool) {
        ioctl::set_read_only(open(&self.at(name)), to).unwrap();
    }

    /// No subvolume is left, nothing in the trash, nobody was warned, and the file system is well.
    #[track_caller]
    pub fn ends_clear(self) {
        assert_eq!(self.subvolumes(), [""; 0]);
        let left = std::fs::read_dir(self.at(".mosaic/trash")).map_or(0, Iterator::count);
        assert_eq!(left, 0);
        assert_eq!(self.said.take(), [""; 0]);
        // What has the file system open goes first.
        std::mem::drop(self.driver);
        self.fs.check().unwrap();
    }
}
