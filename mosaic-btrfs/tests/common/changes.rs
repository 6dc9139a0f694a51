// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes changed by the driver as the host would have it done, and counted commits.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use mosaic_core::volume::{CloneOptions, NewKind, NewVolume};
use mosaic_core::{Bytes, Driver, Place, Result, ScratchName, VolumeName};
use mosaic_tests::eventually;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{MIB, Site, volume};

/// A user without privilege.
const OWNER: u32 = 1000;

impl Site {
    /// `new fs NAME SIZE`.
    pub fn new_volume(&self, name: &str, size: u64) -> Result<()> {
        self.new_named(&volume(name), size)
    }

    pub fn new_named(&self, name: &VolumeName, size: u64) -> Result<()> {
        let new = NewVolume {
            kind: NewKind::Fs(None),
            size: Bytes(size),
            scratch: scratch(),
        };
        self.driver.create(name, &new)
    }

    /// `clone FROM TO [--size SIZE]`.
    pub fn clone_volume(&self, from: &str, to: &str, size: Option<u64>) -> Result<()> {
        self.clone_named(&volume(from), &volume(to), size)
    }

    pub fn clone_named(&self, from: &VolumeName, to: &VolumeName, size: Option<u64>) -> Result<()> {
        let how = CloneOptions {
            size: size.map(Bytes),
            scratch: scratch(),
        };
        self.driver.clone_volume(from, to, &how)
    }

    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.driver.rename(&volume(from), &volume(to))
    }

    pub fn resize(&self, name: &str, size: u64) -> Result<()> {
        self.driver.resize(&volume(name), Bytes(size))
    }

    /// How many times the file system commits during the step, by its own count
    /// (`/sys/fs/btrfs/<fsid>/commit_stats`, Linux 6.1). What was changed before is committed first,
    /// and what the kernel does after a mount awaited.
    pub fn commits(&self, step: impl FnOnce()) -> u64 {
        let info = mosaic_btrfs::ioctl::fs_info(self.dir()).unwrap();
        let fsid = mosaic_btrfs::items::Uuid::new(info.fsid).unwrap();
        let count = || {
            let path = format!("/sys/fs/btrfs/{fsid}/commit_stats");
            let text = std::fs::read_to_string(path).unwrap();
            let commits = text.lines().find_map(|line| line.strip_prefix("commits "));
            commits.unwrap().parse::<u64>().unwrap()
        };
        assert!(eventually(|| {
            let before = count();
            (0..5).for_each(|_| self.commit());
            count() == before
        }));
        let before = count();
        step();
        count() - before
    }

    /// Removes what a refused call could not undo, as the next one does.
    pub fn sweep(&self) {
        self.driver.remove_leftover(Place::Tmp, &scratch()).unwrap();
        assert_eq!(self.leftovers(), [""; 0]);
    }

    /// Gives the location to a user without privilege.
    pub fn give_to_owner(&self) {
        self.fs.let_others_in().unwrap();
        for path in [self.fs.path(), &self.path] {
            std::os::unix::fs::chown(path, Some(OWNER), Some(OWNER)).unwrap();
        }
    }

    /// What is left in `.mosaic/tmp` and `.mosaic/trash`.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for place in ["tmp", "trash"] {
            let entries = std::fs::read_dir(self.at(".mosaic").join(place));
            let entries = entries.into_iter().flatten().flatten();
            found.extend(entries.map(|e| e.file_name().to_string_lossy().into_owned()));
        }
        found
    }

    /// What is in the location besides `.mosaic`.
    pub fn entries(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).unwrap().flatten();
        let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter(|name| name != ".mosaic").collect();
        names.sort();
        names
    }
}

/// Runs a step as the user of [`Site::give_to_owner`].
pub fn as_owner<T: Send>(step: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let run = || {
            let (user, group) = (
                rustix::process::Uid::from_raw(OWNER),
                rustix::process::Gid::from_raw(OWNER),
            );
            rustix::thread::set_thread_res_gid(group, group, group).unwrap();
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            step()
        };
        scope.spawn(run).join().unwrap()
    })
}

/// Tells another thread to stop, also when the test fails: it would be waited for.
pub struct StopAtEnd<'s>(pub &'s AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The name of a user that a volume map leads to the stored one.
pub fn mapped(user: &str, stored: &str) -> VolumeName {
    VolumeName::with_stored(user, stored).unwrap()
}

/// Writes to a file until that is refused; says with what. Data reaches the disk.
pub fn fill(path: &Path, most: u64) -> Option<Errno> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::APPEND;
    let file = match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => file,
        Err(errno) => return Some(errno),
    };
    let block = vec![7; 1 << 20];
    for _ in 0..most / MIB {
        if let Err(errno) = rustix::io::write(&file, &block) {
            return Some(errno);
        }
    }
    rustix::fs::fsync(&file).err()
}

/// Makes folders until not even one more fits in: then nothing does.
pub fn fill_to_the_brim(path: &Path) {
    while fill(&path.join("file"), MIB).is_none() {}
    let is_full = |number: u32| std::fs::create_dir(path.join(number.to_string())).is_err();
    assert!((0..100_000).any(is_full));
}

fn scratch() -> ScratchName {
    ScratchName::from_random(1)
}
