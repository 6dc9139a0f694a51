// SPDX-License-Identifier: MIT OR Apache-2.0
//! A location under test, and what is on its disks.

use std::fmt::Debug;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mosaic_core::finding::{Finding, Repair};
use mosaic_core::volume::{CloneOptions, NewKind, NewVolume, Volume};
use mosaic_core::{
    Bytes, Driver, ErrorKind, Host, Result, ScratchName, Settings, VolumeName, label,
};
use mosaic_ploop::Ploop;
use mosaic_ploop::files::DiskFolder;
use mosaic_ploop::format::disk::Disk;
use mosaic_ploop::format::units::DiskOffset;
use mosaic_tests::{Said, Scratch};

pub const MIB: u64 = 1 << 20;

/// The driver on a directory.
pub struct Disks {
    pub driver: Ploop,
    pub path: PathBuf,
    pub said: Arc<Said>,
}

impl Disks {
    pub fn open(path: &Path, options: &[(&str, &str)]) -> Self {
        let mut settings = Settings::new(path);
        settings.layout_fs = Some("meta".into());
        for (key, value) in options {
            settings.set(*key, *value);
        }
        let said = Arc::new(Said::default());
        Self {
            driver: Ploop::open(Host::new(said.clone()), &settings).unwrap(),
            path: path.to_owned(),
            said,
        }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn create_disk(&self, name: &str, size: u64) -> Result<()> {
        self.create(name, NewKind::Disk, size)
    }

    pub fn create_fs(&self, name: &str, fs: &str, size: u64) -> Result<()> {
        self.create(name, NewKind::Fs(Some(fs.into())), size)
    }

    pub fn create(&self, name: &str, kind: NewKind, size: u64) -> Result<()> {
        let new = NewVolume {
            kind,
            size: Bytes(size),
            scratch: scratch(),
        };
        self.driver.create(&volume(name), &new)
    }

    pub fn clone(&self, from: &str, to: &str, size: Option<u64>) -> Result<()> {
        let how = CloneOptions {
            size: size.map(Bytes),
            scratch: scratch(),
        };
        self.driver.clone_volume(&volume(from), &volume(to), &how)
    }

    pub fn drop(&self, name: &str) -> Result<()> {
        self.driver.drop_volume(&volume(name), &scratch())?;
        std::fs::remove_dir_all(self.file(".mosaic/trash").join(scratch().as_str())).unwrap();
        Ok(())
    }

    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.driver.rename(&volume(from), &volume(to))
    }

    pub fn resize(&self, name: &str, size: u64) -> Result<()> {
        self.driver.resize(&volume(name), Bytes(size))
    }

    pub fn find(&self, name: &str) -> Option<Volume> {
        self.driver.find(&volume(name)).unwrap()
    }

    pub fn size(&self, name: &str) -> u64 {
        self.find(name).unwrap().size.unwrap().0
    }

    pub fn fact(&self, name: &str, fact: &str) -> String {
        let facts = self.find(name).unwrap().facts;
        let found = facts.into_iter().find(|(name, _)| name == fact);
        found.unwrap_or_else(|| panic!("no {fact}")).1
    }

    pub fn check(&self, repair: &Repair) -> Vec<Finding> {
        self.driver.check(repair).unwrap()
    }

    pub fn names(&self) -> Vec<String> {
        let volumes = self.driver.list().unwrap();
        let mut names: Vec<_> = volumes.into_iter().map(|volume| volume.stored).collect();
        names.sort();
        names
    }

    /// That was said, since somebody asked last.
    #[track_caller]
    pub fn assert_warned(&self, words: &str) {
        let said = self.said.take();
        assert!(said.iter().any(|line| line.contains(words)), "{said:?}");
    }

    /// What is in `.mosaic`, but for its folders.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let places = ["tmp", "trash"].map(|place| self.file(".mosaic").join(place));
        let read = places
            .iter()
            .filter_map(|place| std::fs::read_dir(place).ok());
        read.flatten().map(|entry| entry.unwrap().path()).collect()
    }

    pub fn disk(&self, name: &str) -> Disk<DiskFolder> {
        Disk::open(DiskFolder::open(&self.file(name)).unwrap()).unwrap()
    }

    pub fn write(&self, name: &str, at: u64, data: &[u8]) {
        let mut chain = self.disk(name).write().unwrap();
        chain.write(data, DiskOffset(at)).unwrap();
        chain.close().unwrap();
    }

    pub fn read(&self, name: &str, at: u64, bytes: usize) -> Vec<u8> {
        let disk = self.disk(name);
        let chain = disk.read(disk.descriptor().top()).unwrap();
        let mut buffer = vec![0xee; bytes];
        chain.read(&mut buffer, DiskOffset(at)).unwrap();
        buffer
    }

    /// Calls an unlabelled disk a disk.
    pub fn label(&self, name: &str) {
        let dir = File::open(self.file(name)).unwrap();
        label::set_kind(dir, &NewKind::Disk).unwrap();
    }
}

/// A location of its own, on the file system of the temporary folder.
pub fn disks(label: &str, options: &[(&str, &str)]) -> (Scratch, Disks) {
    let scratch = Scratch::new(label).unwrap();
    let path = scratch.folder("vz").unwrap();
    let disks = Disks::open(&path, options);
    (scratch, disks)
}

/// It was refused for this reason; all that was said.
#[track_caller]
pub fn assert_refused<T: Debug>(done: Result<T>, kind: ErrorKind, reason: &str) -> String {
    let error = done.unwrap_err();
    let why = error.chain();
    assert_eq!(error.kind(), kind, "{why}");
    assert!(why.contains(reason), "{why}");
    why
}

pub fn volume(name: &str) -> VolumeName {
    VolumeName::parse(name).unwrap()
}

pub fn scratch() -> ScratchName {
    ScratchName::from_random(1)
}
