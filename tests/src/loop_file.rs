// SPDX-License-Identifier: MIT OR Apache-2.0
//! A loop device on a sparse file, ours alone, made and looked at with util-linux.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::await_condition::eventually;
use crate::block_servers::detach_served_beneath;
use crate::ioctl;
use crate::scratch::{Scratch, keep};
use crate::shell;

/// A sparse file in a folder of its own, and a loop device on it.
#[derive(Debug)]
pub struct LoopFile {
    device: PathBuf,
    image: PathBuf,
    folder: Scratch,
}

impl LoopFile {
    /// Makes both; `size` in bytes. Needs root.
    ///
    /// # Errors
    /// What `losetup` said.
    pub fn new(size: u64) -> Result<Self> {
        let folder = Scratch::new("loop")?;
        let image = folder.path().join("image");
        let file = std::fs::File::create_new(&image)?;
        file.set_len(size).context("cannot size a sparse file")?;
        let device = attach(&image)?;
        Ok(Self {
            device,
            image,
            folder,
        })
    }

    /// `/dev/loopN`.
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// The file beneath it.
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// The folder that the file is in; there is room for mountpoints.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for LoopFile {
    fn drop(&mut self) {
        if !keep() {
            detach_beneath(self.folder.path());
        }
    }
}

/// Two tests may be given the same free device and one of them loses it: that one asks again.
fn attach(image: &Path) -> Result<PathBuf> {
    let mut device = String::new();
    let mut last = None;
    let done = eventually(|| {
        match shell::stdout_of(
            "losetup",
            &[Path::new("--find"), Path::new("--show"), image],
        ) {
            Ok(text) => text.trim().clone_into(&mut device),
            Err(error) => last = Some(error),
        }
        !device.is_empty()
    });
    ensure!(
        done,
        "no loop device: {}",
        last.map(|e| e.to_string()).unwrap_or_default()
    );
    Ok(PathBuf::from(device))
}

/// The loop devices on files at or beneath a path, deleted files included, by sysfs.
pub fn loop_devices_beneath(path: &Path) -> Vec<PathBuf> {
    let mut devices = Vec::new();
    for entry in std::fs::read_dir("/sys/block")
        .into_iter()
        .flatten()
        .flatten()
    {
        let device = Path::new("/dev").join(entry.file_name());
        if backing_file(&device).is_some_and(|file| file.starts_with(path)) {
            devices.push(device);
        }
    }
    devices
}

fn backing_file(device: &Path) -> Option<PathBuf> {
    let name = device.file_name()?;
    let file = Path::new("/sys/block").join(name).join("loop/backing_file");
    let text = std::fs::read_to_string(file).ok()?;
    Some(PathBuf::from(text.trim_end_matches('\n')))
}

/// Detaches them. A device that goes by itself may be given to another process at any time, so
/// each is opened first, which keeps its file bound, and then asked again.
pub(crate) fn detach_beneath(path: &Path) {
    detach_served_beneath(path);
    for device in loop_devices_beneath(path) {
        let Ok(handle) = std::fs::File::open(&device) else {
            continue;
        };
        if backing_file(&device).is_some_and(|file| file.starts_with(path)) {
            // Another holder delays it; what stays is seen by the next test.
            let _ = ioctl::clear(&handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requires_root;

    #[test]
    fn root_a_loop_file_is_found_and_leaves_nothing() {
        if !requires_root() {
            return;
        }
        let file = LoopFile::new(1 << 20).unwrap();
        let (device, image) = (file.device().to_owned(), file.image().to_owned());
        assert_eq!(loop_devices_beneath(file.folder()), [device]);
        drop(file);
        assert!(eventually(|| loop_devices_beneath(&image).is_empty()));
        assert!(!image.exists());
    }
}
