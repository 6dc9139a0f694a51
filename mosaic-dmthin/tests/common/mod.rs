// SPDX-License-Identifier: MIT OR Apache-2.0
//! A pool under test, and its volumes mounted as the host mounts them.

#![allow(dead_code, reason = "each test program uses its part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mosaic_core::mounts::{self, MountOptions};
use mosaic_core::volume::{
    Attachment, CloneOptions, InitOptions, Kind, MountSource, NewKind, NewVolume, Volume,
};
use mosaic_core::{Bytes, Driver, Host, Result, ScratchName, Settings, VolumeName};
use mosaic_dmthin::DmThin;
use mosaic_tests::{Said, Scratch, ThinPool};

pub const MIB: u64 = 1 << 20;
/// The same of bytes in memory.
pub const LEN: usize = 1 << 20;

/// The driver on a pool of its own.
pub struct Thins {
    pub driver: DmThin,
    pub settings: Settings,
    pub said: Arc<Said>,
    pub scratch: Scratch,
    // Dropped last: it takes the devices away.
    pub pool: ThinPool,
}

impl Thins {
    /// A pool of half a GiB, made by `init`.
    pub fn new() -> Self {
        Self::with(512 * MIB, 4 * MIB, &[])
    }

    pub fn with(data: u64, metadata: u64, more: &[(&str, &str)]) -> Self {
        Self::on(ThinPool::new(data, metadata).unwrap(), more)
    }

    pub fn on(pool: ThinPool, more: &[(&str, &str)]) -> Self {
        let mut settings = settings(&pool);
        for (key, value) in more {
            settings.set(*key, *value);
        }
        let said = Arc::new(Said::default());
        let host = Host::new(said.clone());
        DmThin::init(&host, &settings, &InitOptions::default()).unwrap();
        Self {
            driver: DmThin::open(host, &settings).unwrap(),
            settings,
            said,
            scratch: Scratch::new("thin").unwrap(),
            pool,
        }
    }

    /// The driver anew, as another command would have it.
    pub fn again(&self) -> DmThin {
        DmThin::open(Host::new(self.said.clone()), &self.settings).unwrap()
    }

    pub fn create_fs(&self, name: &str, fs: &str, size: u64) -> Result<()> {
        self.create(name, NewKind::Fs(Some(fs.into())), size)
    }

    pub fn create_disk(&self, name: &str, size: u64) -> Result<()> {
        self.create(name, NewKind::Disk, size)
    }

    pub fn create(&self, name: &str, kind: NewKind, size: u64) -> Result<()> {
        let new = NewVolume {
            kind,
            size: Bytes(size),
            scratch: scratch(),
        };
        self.driver.recover()?;
        self.driver.create(&volume(name), &new)
    }

    pub fn clone(&self, from: &str, to: &str, size: Option<u64>) -> Result<()> {
        let how = CloneOptions {
            size: size.map(Bytes),
            scratch: scratch(),
        };
        self.driver.recover()?;
        self.driver.clone_volume(&volume(from), &volume(to), &how)
    }

    pub fn drop_volume(&self, name: &str) -> Result<()> {
        self.driver.recover()?;
        self.driver.drop_volume(&volume(name), &scratch()).map(drop)
    }

    pub fn find(&self, name: &str) -> Option<Volume> {
        self.driver.find(&volume(name)).unwrap()
    }

    pub fn attachment(&self, name: &str) -> Option<Attachment> {
        self.find(name).unwrap().attachment
    }

    pub fn attach(&self, name: &str) -> Result<Attachment> {
        self.driver.attach(&volume(name), false)
    }

    pub fn detach(&self, name: &str) -> Result<()> {
        self.driver.detach(&volume(name))
    }

    pub fn mount_source(&self, name: &str) -> Result<MountSource> {
        self.driver.mount_source(Some(&volume(name)), false)
    }

    pub fn resize(&self, name: &str, size: u64) -> Result<()> {
        self.driver.recover()?;
        self.driver.resize(&volume(name), Bytes(size))
    }

    pub fn names(&self) -> Vec<String> {
        let volumes = self.driver.list().unwrap();
        let mut names: Vec<String> = volumes.into_iter().map(|volume| volume.stored).collect();
        names.sort();
        names
    }

    /// Mounts a volume as the host does, at a folder of that name.
    pub fn mount(&self, name: &str, options: &str) -> Result<Mounted> {
        let at = self.scratch.path().join(format!("mnt-{name}"));
        std::fs::create_dir_all(&at).unwrap();
        let options = MountOptions::parse(options)?;
        let read_only = options.is_read_only();
        let before = self.attachment(name);
        let Kind::Fs { fs: Some(fs), .. } = self.find(name).unwrap().kind else {
            panic!("{name} cannot be mounted");
        };
        let source = self.driver.mount_source(Some(&volume(name)), read_only)?;
        let MountSource::Device { path, handle } = source else {
            panic!("a thin device is mounted by a device");
        };
        let target = mounts::open_target(&at)?;
        let host = Host::new(self.said.clone());
        let fresh = read_only && before.is_none();
        mounts::mount_device(&host, &fs, &path, &target, &options, fresh)?;
        drop(handle);
        Ok(Mounted { at, device: path })
    }
}

/// The settings of a config with the pool's devices.
pub fn settings(pool: &ThinPool) -> Settings {
    let mut settings = Settings::new(format!("/etc/mosaic/{}", pool.name()));
    settings.set("location", pool.name());
    settings.set("pool.data", pool.data().device().to_str().unwrap());
    settings.set("pool.metadata", pool.metadata_device().to_str().unwrap());
    settings.set("metadata_size", (64 * MIB).to_string());
    settings
}

/// A mount that goes also when the test panics.
#[derive(Debug)]
pub struct Mounted {
    pub at: PathBuf,
    pub device: PathBuf,
}

impl Mounted {
    pub fn umount(self) {
        mounts::umount(&self.at).unwrap();
    }

    pub fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.at).join(name)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::DETACH);
    }
}

pub fn volume(name: &str) -> VolumeName {
    VolumeName::parse(name).unwrap()
}

pub fn scratch() -> ScratchName {
    ScratchName::from_random(1)
}
