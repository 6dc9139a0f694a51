// SPDX-License-Identifier: MIT OR Apache-2.0
//! A fixture: a file system on a loop device, to be mounted, copied and resized.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use mosaic_tests::{LoopFile, eventually, run};

use super::*;

pub(super) struct Volume {
    file: LoopFile,
    pub fs: FsType,
}

impl Volume {
    /// A loop device with nothing on it.
    pub fn blank(name: &str, size: u64) -> Self {
        Self {
            file: LoopFile::new(size).unwrap(),
            fs: fs(name),
        }
    }

    pub fn new(name: &str, size: u64) -> Self {
        let volume = Self::blank(name, size);
        volume.fs.make(&host(), volume.device()).unwrap();
        volume
    }

    pub fn device(&self) -> &Path {
        self.file.device()
    }

    pub fn open(&self) -> OwnedFd {
        open(self.device()).unwrap()
    }

    pub fn image(&self) -> File {
        let mut options = File::options();
        options
            .read(true)
            .write(true)
            .open(self.file.image())
            .unwrap()
    }

    pub fn size(&self) -> u64 {
        self.fs.size(self.open().as_fd()).unwrap().0
    }

    pub fn uuid(&self) -> [u8; 16] {
        self.fs.uuid(self.open().as_fd()).unwrap()
    }

    pub fn mount(&self) -> PathBuf {
        let at = self.file.folder().join("at");
        let _ = std::fs::create_dir(&at);
        let name = Path::new(self.fs.name());
        run("mount", &[Path::new("-t"), name, self.device(), &at]).unwrap();
        at
    }

    /// Unmounts it and waits until the device is free. A child that another test just forks holds
    /// our descriptors for a moment, its new mount namespace a copy of the mount.
    pub fn umount(&self) {
        let at = self.file.folder().join("at");
        assert!(eventually(|| run("umount", &[&at]).is_ok()));
        assert!(eventually(|| refuse_claimed(self.device()).is_ok()));
    }

    /// Mounts it, writes `length` bytes that no compression makes less, unmounts it.
    pub fn fill(&self, length: u64) {
        let at = self.mount();
        write_noise(&at.join("noise"), length);
        self.umount();
    }

    /// Asserts that it is clean, and what [`Self::fill`] wrote is there.
    pub fn assert_intact(&self, length: u64) {
        let found = self.fs.check(&host(), self.device(), false).unwrap();
        assert_eq!(found, None, "{}", self.fs);
        let at = self.mount();
        assert_noise(&at.join("noise"), length);
        self.umount();
    }

    /// Gives image and device another size.
    pub fn resize_device(&self, size: u64) {
        self.image().set_len(size).unwrap();
        run("losetup", &[Path::new("--set-capacity"), self.device()]).unwrap();
    }

    /// A copy of all bytes on another loop device.
    pub fn copy(&self) -> Self {
        let from = self.image();
        let size = from.metadata().unwrap().len();
        let copy = Self::blank(self.fs.name(), size);
        let to = copy.image();
        for_each_chunk(&from, |at, chunk| to.write_all_at(chunk, at).unwrap());
        copy
    }

    /// Distinguishes contents.
    pub fn fingerprint(&self) -> u64 {
        use std::hash::Hasher;
        let mut hasher = std::hash::DefaultHasher::new();
        for_each_chunk(&self.image(), |at, chunk| {
            hasher.write_u64(at);
            hasher.write(chunk);
        });
        hasher.finish()
    }
}

/// Chunks of the image that are not all zeroes, with their offset.
fn for_each_chunk(image: &File, mut with: impl FnMut(u64, &[u8])) {
    let zeroes = vec![0; 1 << 18];
    let mut buffer = zeroes.clone();
    for at in (0..image.metadata().unwrap().len()).step_by(buffer.len()) {
        image.read_exact_at(&mut buffer, at).unwrap();
        if buffer != zeroes {
            with(at, &buffer);
        }
    }
}

/// The same on every call, and no two blocks alike (xorshift).
fn noise() -> impl Iterator<Item = [u8; 4096]> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    std::iter::from_fn(move || {
        let mut block = [0; 4096];
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        Some(block)
    })
}

pub(super) fn write_noise(path: &Path, length: u64) {
    use std::io::Write;
    let mut file = std::io::BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    let blocks = usize::try_from(length / 4096).unwrap();
    for block in noise().take(blocks) {
        file.write_all(&block).unwrap();
    }
    file.into_inner().unwrap().sync_all().unwrap();
}

pub(super) fn assert_noise(path: &Path, length: u64) {
    let file = File::open(path).unwrap();
    assert_eq!(file.metadata().unwrap().len(), length);
    for (at, block) in (0..length).step_by(4096).zip(noise()) {
        let mut found = [0; 4096];
        file.read_exact_at(&mut found, at).unwrap();
        assert!(found == block, "{path:?} differs at {at}");
    }
}
