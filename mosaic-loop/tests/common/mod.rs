// SPDX-License-Identifier: MIT OR Apache-2.0
//! A location under test, and its volumes mounted as the host mounts them.

#![allow(dead_code, reason = "each test program uses its part")]

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use mosaic_core::mounts::{self, MountOptions};
use mosaic_core::volume::{
    Attachment, CloneOptions, Lifetime, MountSource, NewKind, NewVolume, Volume,
};
use mosaic_core::{Bytes, Driver, Host, Result, ScratchName, Settings, VolumeName};
use mosaic_loop::Loop;
use mosaic_tests::{Said, Scratch};

pub const MIB: u64 = 1 << 20;

/// The driver on a directory.
pub struct Images {
    pub driver: Loop,
    pub path: PathBuf,
    pub said: Arc<Said>,
}

impl Images {
    pub fn open(path: &Path) -> Self {
        let mut settings = Settings::new(path);
        settings.layout_fs = Some("meta".into());
        let said = Arc::new(Said::default());
        Self {
            driver: Loop::open(Host::new(said.clone()), &settings).unwrap(),
            path: path.to_owned(),
            said,
        }
    }

    pub fn image(&self, name: &str) -> PathBuf {
        self.path.join(name)
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

    pub fn resize(&self, name: &str, size: u64) -> Result<()> {
        self.driver.resize(&volume(name), Bytes(size))
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.driver.list().unwrap();
        names.sort_by(|a, b| a.stored.cmp(&b.stored));
        names.into_iter().map(|volume| volume.stored).collect()
    }

    /// Mounts a volume as the host does; the folder is made.
    pub fn mount(&self, name: &str, at: &Path, options: &str) -> Result<Mounted> {
        std::fs::create_dir_all(at).unwrap();
        let options = MountOptions::parse(options)?;
        let read_only = options.is_read_only();
        let before = self.attachment(name);
        let fs = self.fs_of(name);
        let source = self.driver.mount_source(Some(&volume(name)), read_only)?;
        let MountSource::Device { path, handle } = source else {
            panic!("an image is mounted by a device");
        };
        let target = mounts::open_target(at)?;
        let host = Host::new(self.said.clone());
        let fresh = read_only && before.is_none();
        mounts::mount_device(&host, &fs, &path, &target, &options, fresh)?;
        drop(handle);
        Ok(Mounted {
            at: at.to_owned(),
            device: path,
        })
    }

    fn fs_of(&self, name: &str) -> String {
        match self.find(name).unwrap().kind {
            mosaic_core::volume::Kind::Fs { fs: Some(fs), .. } => fs,
            other => panic!("{other:?} cannot be mounted"),
        }
    }
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
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::DETACH);
    }
}

/// A process that has a file open until it is dropped.
pub struct Opener(Child);

impl Opener {
    pub fn new(path: &Path, write: bool) -> Self {
        let file = OpenOptions::new().read(true).write(write).open(path);
        let child = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::from(file.unwrap()))
            .spawn();
        Self(child.unwrap())
    }

    pub fn word(&self) -> String {
        format!("pid {}", self.0.id())
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A location of its own, on the file system of the temporary folder.
pub fn images(label: &str) -> (Scratch, Images) {
    let scratch = Scratch::new(label).unwrap();
    let path = scratch.folder("img").unwrap();
    let images = Images::open(&path);
    (scratch, images)
}

pub fn volume(name: &str) -> VolumeName {
    VolumeName::parse(name).unwrap()
}

pub fn scratch() -> ScratchName {
    ScratchName::from_random(1)
}

pub fn is_explicit(attachment: &Option<Attachment>) -> bool {
    attachment
        .as_ref()
        .is_some_and(|a| a.lifetime == Lifetime::Explicit && !a.foreign)
}
