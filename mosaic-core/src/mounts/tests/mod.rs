// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real mounts, in folders of the tests' own.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

use mosaic_tests::{
    Action, LoopFile, MountedFs, Outcome, Scratch, Tracee, is_mountpoint, mountpoints_beneath,
    requires_program, requires_root, run,
};

use super::*;
use crate::busy::tests::{Running, a_new_namespace, no_new_namespaces};
use crate::error::{ErrorKind, Result};
use crate::host_services::{Host, Silent};

mod device;
mod directory;
mod path;

fn options(text: &str) -> MountOptions {
    MountOptions::parse(text).unwrap()
}

fn host() -> Host {
    Host::new(std::sync::Arc::new(Silent))
}

/// A folder with a volume `v`, in it `file`, and a mountpoint `at`.
fn scratch() -> Scratch {
    let scratch = Scratch::new("mounts").unwrap();
    let volume = scratch.folder("v").unwrap();
    fs::write(volume.join("file"), "content").unwrap();
    scratch.folder("at").unwrap();
    scratch
}

fn mount_volume(folder: &Path, words: &str) -> Result<()> {
    let volume = File::open(folder.join("v")).unwrap();
    let target = open_target(&folder.join("at"))?;
    mount_directory(volume.as_fd(), &target, &options(words))
}

fn entry(path: &Path) -> MountEntry {
    let table = MountTable::read().unwrap();
    let found = table.entries().iter().rfind(|e| e.mountpoint == path);
    found.cloned().expect("it is mounted")
}

fn words_of(path: &Path) -> Vec<String> {
    let entry = entry(path);
    let words = entry.options.to_str().unwrap();
    words.split(',').map(str::to_owned).collect()
}

fn paths(paths: &[&Path]) -> Vec<std::path::PathBuf> {
    paths.iter().map(|path| path.to_path_buf()).collect()
}
