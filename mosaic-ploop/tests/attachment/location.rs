// SPDX-License-Identifier: MIT OR Apache-2.0
//! Workers that are killed while the location fails: one that follows knows what was lost, and needs
//! no space to follow.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use mosaic_ploop::attachment::How;
use mosaic_ploop::format::disk::Kind;
use mosaic_ploop::format::header::Version;
use mosaic_ploop::format::pages::{PAGE, Pages};
use mosaic_ploop::format::units::DiskOffset;
use mosaic_tests::{
    MountedFs, Scratch, eventually, requires_program, requires_root, requires_time, run,
};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use crate::keeper::{direct, kill_worker, without_worker};
use crate::online::requires_resend;
use crate::site::{HOW, MIB, Site};

const V2: Kind = Kind::Expanded(Version::V2);

/// A file system on storage that can be told to fail: memory, which can be sealed.
struct Failing {
    folder: Scratch,
    storage: OwnedFd,
}

impl Failing {
    fn new() -> Self {
        let folder = Scratch::new("failing").unwrap();
        let storage = memfd_create("storage", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
        let storage = storage.unwrap();
        ftruncate(&storage, 128 * MIB).unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), storage.as_raw_fd());
        // A journal that fails would take the file system with it.
        run("mkfs.ext4", &["-q", "-F", "-O", "^has_journal", &path]).unwrap();
        let mounted = folder.path().to_str().unwrap();
        // Its loop device goes with it, and with the folder.
        run(
            "mount",
            &["-t", "ext4", "-o", "loop,lazytime", &path, mounted],
        )
        .unwrap();
        Self { folder, storage }
    }

    /// Lets all fail from now on that is to be written there.
    fn fail(&self) {
        // What the file system has of its own is not to fail later.
        rustix::fs::syncfs(File::open(self.folder.path()).unwrap()).unwrap();
        let sealed = || fcntl_add_seals(self.storage.as_fd(), SealFlags::WRITE).is_ok();
        // Not while something is under way.
        assert!(eventually(sealed));
    }
}

/// Has the kernel try to write a page of a file, and tell somebody else that it could not. What is in
/// the file stays.
fn lose_a_page(path: &Path) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut page = [0; PAGE];
    file.read_exact_at(&mut page, 0).unwrap();
    file.write_all_at(&page, 0).unwrap();
    assert!(file.sync_data().is_err(), "it is durable");
    // What is wrong in the file system itself is told too.
    assert!(eventually(|| file.sync_data().is_ok()));
}

/// What one worker was told that could tell nobody, no other one is told by the kernel.
#[test]
fn root_what_is_lost_between_two_workers_is_told() {
    if !requires_root() || !requires_resend() || !requires_program("mkfs.ext4") {
        return;
    }
    for kind in [V2, Kind::Raw] {
        let location = Failing::new();
        let site = Site::at(location.folder.path(), 64, kind, 2048);
        // All of a raw disk needs no server.
        site.partition();
        let how = How {
            partition: Some(MIB),
            ..HOW
        };
        let file = direct(&site.attach_how(&how).path());
        let mut page = Pages::new(PAGE);
        page.bytes_mut().fill(7);
        file.write_all_at(page.bytes(), 9 * MIB).unwrap();
        file.sync_all().unwrap();
        let without = without_worker(&site);
        location.fail();
        lose_a_page(&site.volume().join("root.hds"));
        drop(without);
        for turn in 0..3 {
            assert!(file.sync_all().is_err(), "{kind:?}, turn {turn}");
            let read = file.read_exact_at(page.bytes_mut(), 9 * MIB);
            read.unwrap();
            assert_eq!(page.bytes(), [7; PAGE]);
            assert!(kill_worker(&site));
        }
        drop(file);
        // It says what was lost, which the next one goes beyond.
        let gone = || {
            let _ = site.find().map(|it| it.detach(&site.host, &site.place()));
            site.find().is_none()
        };
        assert!(eventually(gone));
    }
}

/// Takes all there is.
fn fill(path: &Path) -> File {
    let filler = File::create(path.join("filler")).unwrap();
    fill_again(&filler);
    filler
}

/// Takes what the file system has given back meanwhile: some do that late.
fn fill_again(filler: &File) {
    let mut end = filler.metadata().unwrap().len();
    for bytes in [1 << 20, 4096] {
        let block = vec![1; bytes];
        while filler.write_all_at(&block, end).is_ok() && filler.sync_data().is_ok() {
            end += bytes as u64;
        }
    }
}

/// Where all that is written takes new blocks there is none for what the last one had noted.
#[test]
fn root_a_worker_that_is_killed_in_a_full_location_is_followed() {
    if !requires_time() || !requires_root() || !requires_resend() {
        return;
    }
    if !requires_program("mkfs.btrfs") {
        return;
    }
    let location = MountedFs::with_size("btrfs", 256 * MIB).unwrap();
    let site = Site::at(location.path(), 64, V2, 2048);
    let file = direct(&site.attach());
    let mut page = Pages::new(PAGE);
    let mut write = |byte, at| {
        page.bytes_mut().fill(byte);
        file.write_all_at(page.bytes(), at)
    };
    let mut page = Pages::new(PAGE);
    let mut read = |at| {
        file.read_exact_at(page.bytes_mut(), at).unwrap();
        page.bytes()[0]
    };
    write(1, 8 * MIB).unwrap();
    file.sync_all().unwrap();
    // The notes are all that knows of it.
    write(2, 16 * MIB).unwrap();
    let filler = fill(location.path());
    for _ in 0..2 {
        assert!(kill_worker(&site));
        assert_eq!([8, 16, 32].map(|at| read(at * MIB)), [1, 2, 0]);
        fill_again(&filler);
        assert!(write(3, 32 * MIB).is_err(), "there is space");
        fill_again(&filler);
        assert!(file.sync_all().is_err(), "there is space");
    }
    filler.set_len(0).unwrap();
    filler.sync_all().unwrap();
    assert!(eventually(|| file.sync_all().is_ok()));
    write(3, 32 * MIB).unwrap();
    drop(file);
    site.detach();
    site.assert_nothing_left();
    let chain = site.disk().write().unwrap();
    let left = [8, 16, 32].map(|at| {
        let mut found = [0; 4096];
        chain.read(&mut found, DiskOffset(at * MIB)).unwrap();
        found[0]
    });
    assert_eq!(left, [1, 2, 3]);
    chain.close().unwrap();
}
