// SPDX-License-Identifier: MIT OR Apache-2.0
//! A location under test, and whoever has files of it open.

#![allow(dead_code, reason = "each test program uses its part")]

use std::fs::OpenOptions;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mosaic_core::Settings;
use mosaic_core::volume::{Attachment, Lifetime};
use mosaic_loop::Loop;
use mosaic_tests::{Scratch, Unhosted};

pub const MIB: u64 = 1 << 20;

/// The driver on a directory.
pub struct Images {
    unhosted: Unhosted<Loop>,
    pub path: PathBuf,
}

impl Images {
    pub fn open(path: &Path) -> Self {
        let mut settings = Settings::new(path);
        settings.layout_fs = Some("meta".into());
        Self {
            unhosted: Unhosted::open(&settings).unwrap(),
            path: path.to_owned(),
        }
    }

    pub fn image(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Deref for Images {
    type Target = Unhosted<Loop>;

    fn deref(&self) -> &Self::Target {
        &self.unhosted
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

pub fn is_explicit(attachment: &Option<Attachment>) -> bool {
    attachment
        .as_ref()
        .is_some_and(|a| a.lifetime == Lifetime::Explicit && !a.foreign)
}
