// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file system on a device that can be made to fail, or to hold what it is to write.
//!
//! The device is a loop device on a file of a btrfs. At the limit of a quota each write to that is refused
//! by EDQUOT, which block devices do not know: `errno_to_blk_status` in block/blk-core.c makes an I/O error
//! of it. While the btrfs is frozen, no write comes to an end. Device mapper would do both, but here a
//! kernel with it is only in the virtual machine, and that one sends no request of FUSE again.

use std::fs::File;
use std::path::{Path, PathBuf};

use mosaic_tests::{MountedFs, eventually, run, stdout_of, word};

use crate::site::MIB;

/// The quota group of the first one: `BTRFS_FIRST_FREE_OBJECTID` in linux/btrfs_tree.h.
const FIRST_SUBVOLUME: &str = "0/256";

pub struct FailingStorage {
    location: PathBuf,
    device: String,
    beneath: MountedFs,
}

impl FailingStorage {
    pub fn new() -> Self {
        let beneath = MountedFs::new("btrfs+full").unwrap();
        let subvolume = beneath.path().join("of-the-device");
        run("btrfs", &["subvolume", "create", word(&subvolume)]).unwrap();
        let image = subvolume.join("image");
        let file = File::create_new(&image).unwrap();
        file.set_len(256 * MIB).unwrap();
        let location = beneath.folder_beside("location").unwrap();
        // With large sectors, so that a small one of a disk has to go through the page cache.
        let words = ["--find", "--show", "--sector-size", "4096", word(&image)];
        let device = stdout_of("losetup", &words).unwrap().trim().to_owned();
        let storage = Self {
            location,
            device,
            beneath,
        };
        // Without a journal, or it would give up with the first error and not go on with the next write.
        let words = "-q -O ^has_journal -N 128 -E lazy_itable_init=0,nodiscard";
        let words: Vec<&str> = words.split(' ').chain([&*storage.device]).collect();
        run("mkfs.ext4", &words).unwrap();
        run("mount", &[&storage.device, word(&storage.location)]).unwrap();
        storage
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.location
    }

    /// Each write to the device fails from now on.
    pub fn fail(&self) {
        assert!(self.limit("1"));
    }

    /// It works again.
    pub fn mend(&self) {
        assert!(self.limit("none"));
    }

    fn limit(&self, limit: &str) -> bool {
        // By way of the top, which has no limit: even to lift one takes some space.
        let at = word(self.beneath.path());
        run("btrfs", &["qgroup", "limit", limit, FIRST_SUBVOLUME, at]).is_ok()
    }

    /// No write comes to an end until this is dropped.
    pub fn hold(&self) -> Held<'_> {
        run("fsfreeze", &["--freeze", word(self.beneath.path())]).unwrap();
        Held(self.beneath.path())
    }
}

/// A device that does nothing.
pub struct Held<'a>(&'a Path);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let _ = run("fsfreeze", &["--unfreeze", word(self.0)]);
    }
}

impl Drop for FailingStorage {
    fn drop(&mut self) {
        // Or what is in memory would stay there.
        self.limit("none");
        let location = word(&self.location);
        let is_free = eventually(|| run("umount", &[location]).is_ok());
        let _ = run("losetup", &["--detach", &self.device]);
        assert!(is_free || std::thread::panicking());
    }
}
