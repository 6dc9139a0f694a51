// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver without its host, for tests of a driver's crate: what the host would say, they say.
//!
//! Before each change the driver recovers, as it does under the host's lock. Names are not checked
//! and nothing is swept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mosaic_core::mounts::{self, MountOptions};
use mosaic_core::volume::{
    Attachment, CloneOptions, Kind, MountSource, NewKind, NewVolume, Volume,
};
use mosaic_core::{Bytes, Driver, Host, Result, ScratchName, Settings, VolumeName};
use rustix::mount::UnmountFlags;

use crate::said::Said;

/// The driver, and what it said.
#[derive(Debug)]
pub struct Unhosted<D> {
    /// For what is not asked for by the methods.
    pub driver: D,
    /// What its user was told.
    pub said: Arc<Said>,
}

#[expect(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    reason = "errors are the driver's; what cannot fail in a test panics"
)]
impl<D: Driver> Unhosted<D> {
    /// The driver on the location of these settings.
    pub fn open(settings: &Settings) -> Result<Self> {
        let said = Arc::new(Said::default());
        Ok(Self {
            driver: D::open(Host::new(said.clone()), settings)?,
            said,
        })
    }

    /// A host for what takes one, which says to the same user.
    pub fn host(&self) -> Host {
        Host::new(self.said.clone())
    }

    /// `new fs NAME SIZE` with a file system of the volume's own.
    pub fn create_fs(&self, name: &str, fs: &str, size: u64) -> Result<()> {
        self.create(name, NewKind::Fs(Some(fs.into())), size)
    }

    /// `new disk NAME SIZE`.
    pub fn create_disk(&self, name: &str, size: u64) -> Result<()> {
        self.create(name, NewKind::Disk, size)
    }

    /// `new KIND NAME SIZE`, in bytes.
    pub fn create(&self, name: &str, kind: NewKind, size: u64) -> Result<()> {
        let new = NewVolume {
            kind,
            size: Bytes(size),
            scratch: scratch(),
        };
        self.driver.recover()?;
        self.driver.create(&volume(name), &new)
    }

    /// `clone FROM TO [--size SIZE]`, in bytes.
    pub fn clone_volume(&self, from: &str, to: &str, size: Option<u64>) -> Result<()> {
        let how = CloneOptions {
            size: size.map(Bytes),
            scratch: scratch(),
        };
        self.driver.recover()?;
        self.driver.clone_volume(&volume(from), &volume(to), &how)
    }

    /// The driver's part of `drop NAME`, up to its commit.
    pub fn drop_volume(&self, name: &str) -> Result<()> {
        self.driver.recover()?;
        self.driver.drop_volume(&volume(name), &scratch()).map(drop)
    }

    /// `resize NAME SIZE`, in bytes, without the file system on it.
    pub fn resize(&self, name: &str, size: u64) -> Result<()> {
        self.driver.recover()?;
        self.driver.resize(&volume(name), Bytes(size))
    }

    /// `attach NAME`, without a check of what has it already.
    pub fn attach(&self, name: &str) -> Result<Attachment> {
        self.driver.attach(&volume(name), false)
    }

    /// `detach NAME`.
    pub fn detach(&self, name: &str) -> Result<()> {
        self.driver.detach(&volume(name))
    }

    /// What `mount NAME` would mount.
    pub fn mount_source(&self, name: &str) -> Result<MountSource> {
        self.driver.mount_source(Some(&volume(name)), false)
    }

    /// What there is by this name.
    pub fn find(&self, name: &str) -> Option<Volume> {
        self.driver.find(&volume(name)).unwrap()
    }

    /// How the volume, which is there, is shown as a device.
    pub fn attachment(&self, name: &str) -> Option<Attachment> {
        self.find(name).unwrap().attachment
    }

    /// The stored names of all volumes, sorted.
    pub fn names(&self) -> Vec<String> {
        let volumes = self.driver.list().unwrap();
        let mut names: Vec<String> = volumes.into_iter().map(|volume| volume.stored).collect();
        names.sort();
        names
    }

    /// `mount NAME AT -o OPTIONS` of a volume with a device; the folder is made.
    pub fn mount(&self, name: &str, at: &Path, options: &str) -> Result<MountedVolume> {
        std::fs::create_dir_all(at).unwrap();
        let options = MountOptions::parse(options)?;
        let read_only = options.is_read_only();
        let found = self.find(name).unwrap();
        let Kind::Fs { fs: Some(fs), .. } = found.kind else {
            panic!("{name} cannot be mounted");
        };
        let source = self.driver.mount_source(Some(&volume(name)), read_only)?;
        let MountSource::Device { path, handle } = source else {
            panic!("{name} is a directory");
        };
        let target = mounts::open_target(at)?;
        let fresh = read_only && found.attachment.is_none();
        mounts::mount_device(&self.host(), &fs, &path, &target, &options, fresh)?;
        drop(handle);
        Ok(MountedVolume {
            at: at.to_owned(),
            device: path,
        })
    }
}

/// A mount that goes also when the test panics.
#[derive(Debug)]
pub struct MountedVolume {
    /// The mountpoint.
    pub at: PathBuf,
    /// What is mounted there.
    pub device: PathBuf,
}

impl MountedVolume {
    /// Takes it away.
    ///
    /// # Panics
    /// It is busy.
    pub fn umount(self) {
        mounts::umount(&self.at).expect("nobody is in it");
    }

    /// A path in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }
}

impl Drop for MountedVolume {
    fn drop(&mut self) {
        // After `umount` there is none.
        let _ = rustix::mount::unmount(&self.at, UnmountFlags::DETACH);
    }
}

/// A volume's name as it is without a map.
///
/// # Panics
/// It is none.
#[track_caller]
pub fn volume(name: &str) -> VolumeName {
    VolumeName::parse(name).expect("it is a name")
}

/// A name for what is half made, which no other test process gives.
pub fn scratch() -> ScratchName {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    ScratchName::from_random((u64::from(std::process::id()) << 32) + next)
}
