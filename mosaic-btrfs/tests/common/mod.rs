// SPDX-License-Identifier: MIT OR Apache-2.0
//! A location on a btrfs of its own, with quotas as asked for.

#![allow(dead_code, reason = "each test program uses its part")]

pub mod changes;

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use linux_raw_sys::btrfs::{
    BTRFS_QGROUP_STATUS_FLAG_INCONSISTENT, BTRFS_QGROUP_STATUS_FLAG_RESCAN, BTRFS_QGROUP_STATUS_KEY,
};
use mosaic_btrfs::search::{self, Key, QUOTA_TREE};
use mosaic_btrfs::{Btrfs, ioctl, items};
use mosaic_core::volume::Volume;
use mosaic_core::{Driver, Host, Result, Settings};
pub use mosaic_tests::volume;
use mosaic_tests::{MountedFs, Said, eventually, requires_program, requires_root, run};

pub mod drops;

pub const MIB: u64 = 1 << 20;

/// What counts and limits usage on the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quotas {
    Off,
    Simple,
    Full,
}

/// All of them, for tests that hold for each.
pub const ALL_QUOTAS: [Quotas; 3] = [Quotas::Off, Quotas::Simple, Quotas::Full];

/// A file system, and in it the location `ct`.
#[derive(Debug)]
pub struct Site {
    // Fields are dropped from the top: the driver's descriptors go before the file system.
    pub driver: Btrfs,
    pub said: Arc<Said>,
    pub path: PathBuf,
    pub fs: MountedFs,
}

/// `None`: the test is skipped, and that was said.
pub fn site(quotas: Quotas) -> Option<Site> {
    site_with(quotas, |_| {})
}

/// The same with settings of the test's own.
pub fn site_with(quotas: Quotas, change: impl FnOnce(&mut Settings)) -> Option<Site> {
    if !requires_root() || !requires_program("mkfs.btrfs") || !requires_program("btrfs") {
        return None;
    }
    let fs = MountedFs::new("btrfs").unwrap();
    enable(&fs, quotas);
    let path = fs.path().join("ct");
    std::fs::create_dir(&path).unwrap();
    Some(Site::over(fs, path, change))
}

/// Switches quotas on; returns when all that is there is counted.
pub fn enable(fs: &MountedFs, quotas: Quotas) {
    let dir = File::open(fs.path()).unwrap();
    match quotas {
        Quotas::Off => return,
        Quotas::Simple => ioctl::enable_quotas(&dir, true).unwrap(),
        Quotas::Full => ioctl::enable_quotas(&dir, false).unwrap(),
    }
    // The kernel puts the first of them there only a moment after the call.
    let counting =
        u64::from(BTRFS_QGROUP_STATUS_FLAG_RESCAN | BTRFS_QGROUP_STATUS_FLAG_INCONSISTENT);
    assert!(eventually(|| {
        let mut flags = counting;
        search::each(
            dir.as_fd(),
            QUOTA_TREE,
            Key::all(0, BTRFS_QGROUP_STATUS_KEY),
            |_, data| flags = items::quota_flags(data).unwrap(),
        )
        .unwrap();
        flags & counting == 0
    }));
}

impl Site {
    /// The location `path` on this file system.
    pub fn over(fs: MountedFs, path: PathBuf, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(&path);
        change(&mut settings);
        let said = Arc::new(Said::default());
        let driver = Btrfs::open(Host::new(said.clone()), &settings).unwrap();
        Self {
            driver,
            said,
            path,
            fs,
        }
    }

    /// Another driver on the same file system: at this path, with settings of the test's own.
    pub fn driver_at(&self, path: &Path, change: impl FnOnce(&mut Settings)) -> Btrfs {
        let mut settings = Settings::new(path);
        change(&mut settings);
        Btrfs::open(Host::new(self.said.clone()), &settings).unwrap()
    }

    /// What the driver finds under this name.
    pub fn find(&self, name: &str) -> Result<Option<Volume>> {
        self.driver.find(&volume(name))
    }

    /// The volume, which is there.
    pub fn found(&self, name: &str) -> Volume {
        self.find(name).unwrap().unwrap()
    }

    /// The directory itself, for ioctls.
    pub fn dir(&self) -> File {
        open(&self.path)
    }

    /// A path in the location.
    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a subvolume without the driver's help; gives its id.
    pub fn subvolume(&self, name: &str) -> u64 {
        self.btrfs(&["subvolume", "create"], name);
        self.id(name)
    }

    /// Makes a snapshot without the driver's help; gives its id.
    pub fn snapshot(&self, from: &str, to: &str, read_only: bool) -> u64 {
        let (from, to) = (self.at(from), self.at(to));
        let mut words = vec!["subvolume", "snapshot"];
        words.extend(read_only.then_some("-r"));
        words.extend([from.to_str().unwrap(), to.to_str().unwrap()]);
        run("btrfs", &words).unwrap();
        ioctl::subvolume_id(open(&to)).unwrap()
    }

    /// Runs `btrfs WORDS... LOCATION/NAME`.
    pub fn btrfs(&self, words: &[&str], name: &str) {
        let at = self.at(name);
        let mut words = words.to_vec();
        words.push(at.to_str().unwrap());
        run("btrfs", &words).unwrap();
    }

    /// The id of the subvolume that a directory is in.
    pub fn id(&self, name: &str) -> u64 {
        ioctl::subvolume_id(open(&self.at(name))).unwrap()
    }

    /// Writes so many bytes to a file, to disk.
    pub fn write(&self, file: &str, bytes: u64) {
        let data: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
        std::fs::write(self.at(file), data).unwrap();
        open(&self.at(file)).sync_all().unwrap();
    }

    /// Returns when all that was changed is on disk.
    pub fn commit(&self) {
        mosaic_btrfs::commit::everything(self.dir().as_fd()).unwrap();
    }
}

pub fn open(path: &Path) -> File {
    File::open(path).unwrap()
}

/// The fact of this name.
pub fn fact<'v>(volume: &'v Volume, name: &str) -> Option<&'v str> {
    let fact = volume.facts.iter().find(|(key, _)| key == name);
    fact.map(|(_, value)| value.as_str())
}
