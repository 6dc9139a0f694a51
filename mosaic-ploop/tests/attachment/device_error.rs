// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device beneath the location fails while a disk is attached: whoever flushes is told, also where the
//! worker is killed just as the kernel tells it and nobody else.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mosaic_core::ErrorKind;
use mosaic_ploop::attachment::How;
use mosaic_ploop::format::disk::Kind;
use mosaic_ploop::format::header::Version;
use mosaic_ploop::format::pages::{PAGE, Pages};
use mosaic_tests::{eventually, requires_program, requires_root, requires_vm};
use nix::libc;
use rustix::process::Signal;

use crate::at_work::threads;
use crate::failing_storage::FailingStorage;
use crate::keeper::{Stopped, both, direct, has_ended, open, signal};
use crate::online::{requires_resend, resends};
use crate::site::{HOW, MIB, Site};

const EIO: Option<i32> = Some(5);

fn requires_storage() -> bool {
    let programs = ["mkfs.ext4", "mkfs.btrfs", "btrfs", "fsfreeze"];
    requires_root() && programs.into_iter().all(requires_program)
}

fn write(file: &File, byte: u8, at: u64) -> io::Result<()> {
    file.write_all_at(&[byte; 4096], at)?;
    file.sync_all()
}

fn read(device: &Path, at: u64) -> u8 {
    let mut found = [0; 4096];
    open(device).read_exact_at(&mut found, at).unwrap();
    assert!(found.iter().all(|byte| *byte == found[0]));
    found[0]
}

/// Writes a sector, past the page cache of the device and without a flush. It is in that of the location
/// then, whose device has larger ones: what the kernel cannot write from there it tells each open file once.
/// (An ext4 without a journal tells of its own metadata only who flushes first.)
fn write_unsynced(device: &Path, byte: u8, at: u64) {
    let mut page = Pages::new(PAGE);
    page.bytes_mut().fill(byte);
    let sector = &page.bytes()[..512];
    direct(device).write_all_at(sector, at).unwrap();
}

/// Whether a thread waits for the storage in a flush.
fn is_flushing(worker: u32) -> bool {
    let call = format!("{} ", libc::SYS_fdatasync);
    let calls = threads(worker, "syscall");
    calls.iter().any(|text| text.starts_with(&call))
}

/// Lets a flush of what was written fail, and has the worker be killed when it is just told that. The
/// device is well again before anybody follows, who thus finds nothing wrong with it.
fn killed_as_a_flush_fails(storage: &FailingStorage, site: &Site, (file, device): (&File, &Path)) {
    let [keeper, worker] = both(site);
    storage.fail();
    let held = storage.hold();
    // Now, so that it is this flush that is told, not what the kernel or others write back before.
    write_unsynced(device, 2, 5 * MIB);
    let error = std::thread::scope(|scope| {
        let flushed = scope.spawn(|| file.sync_all());
        assert!(eventually(|| is_flushing(worker)));
        let stopped = Stopped::new(keeper);
        // It dies on its way back from the kernel.
        signal(worker, Signal::KILL);
        drop(held);
        assert!(eventually(|| has_ended(worker)));
        storage.mend();
        drop(stopped);
        flushed.join().unwrap().unwrap_err()
    });
    assert_eq!(error.raw_os_error(), EIO);
    assert!(eventually(|| !site.servers().contains(&worker)));
}

/// The disk was only read; it is detached with that word, and well again with its device.
fn assert_lost(storage: &FailingStorage, site: &Site) {
    let attached = site.find().unwrap();
    let refused = attached.detach(&site.host, &site.place()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Io);
    let said = refused.chain();
    assert!(
        said.contains("is detached") && said.contains("may be lost"),
        "{said}"
    );
    site.assert_nothing_left();
    storage.mend();
    assert_goes_on(site);
}

/// What was durable is there, and the disk takes more.
fn assert_goes_on(site: &Site) {
    let device = site.attach();
    assert_eq!(read(&device, 0), 1);
    write(&open(&device), 3, 9 * MIB).unwrap();
    site.detach();
    site.assert_nothing_left();
    assert!(site.disk().check(None).unwrap().is_clean());
    let device = site.attach();
    assert_eq!(read(&device, 9 * MIB), 3);
    site.detach();
}

fn delta(storage: &FailingStorage) -> Site {
    Site::at(storage.path(), 64, Kind::Expanded(Version::V2), 2048)
}

/// The device, with something in two clusters: what is written to these later needs no space.
fn open_written(device: &Path) -> File {
    let file = open(device);
    write(&file, 1, 0).unwrap();
    write(&file, 4, 5 * MIB).unwrap();
    file
}

#[test]
fn root_a_flush_that_the_device_fails_is_an_error_and_detach_says_what_is_lost() {
    if !requires_storage() {
        return;
    }
    let storage = FailingStorage::new();
    let site = delta(&storage);
    let device = site.attach();
    let file = open_written(&device);
    storage.fail();
    write_unsynced(&device, 2, 5 * MIB);
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), EIO);
    // Nobody knows what is lost, so nothing is written any more.
    assert_eq!(write(&file, 2, 0).unwrap_err().raw_os_error(), EIO);
    drop(file);
    assert_lost(&storage, &site);
}

#[test]
fn root_a_loss_is_not_forgotten_with_the_worker_that_was_told_of_it() {
    if !requires_storage() || !requires_resend() {
        return;
    }
    let storage = FailingStorage::new();
    let site = delta(&storage);
    let device = site.attach();
    let file = open_written(&device);
    killed_as_a_flush_fails(&storage, &site, (&file, &device));
    assert!(eventually(|| site.servers().len() == 2));
    assert_eq!(write(&file, 2, 0).unwrap_err().raw_os_error(), EIO);
    drop(file);
    assert_lost(&storage, &site);
}

/// A raw image has no table that could be wrong: it is written on, once that was told.
#[test]
fn root_a_loss_in_a_raw_image_is_told_once_whichever_worker_knows_of_it() {
    if !requires_storage() || !requires_resend() {
        return;
    }
    for is_killed in [false, true] {
        let storage = FailingStorage::new();
        let site = Site::at(storage.path(), 64, Kind::Raw, 2048);
        let partition = Some(site.partition());
        let how = How { partition, ..HOW };
        let device = site.attach_how(&how).path();
        let file = open_written(&device);
        if is_killed {
            killed_as_a_flush_fails(&storage, &site, (&file, &device));
            assert!(eventually(|| site.servers().len() == 2));
        } else {
            storage.fail();
            write_unsynced(&device, 2, 5 * MIB);
            assert_eq!(file.sync_all().unwrap_err().raw_os_error(), EIO);
            storage.mend();
        }
        write(&file, 3, 9 * MIB).unwrap();
        drop(file);
        site.detach();
        site.assert_nothing_left();
        let device = site.attach_how(&how).path();
        assert_eq!([0, 9 * MIB].map(|at| read(&device, at)), [1, 3]);
        site.detach();
    }
}

/// Nobody follows a worker there, so nobody has to know.
#[test]
fn root_where_no_request_is_sent_again_the_loss_is_an_error_too() {
    if !requires_vm() || !requires_storage() {
        return;
    }
    assert!(!resends(), "this kernel can do better: see the other tests");
    let storage = FailingStorage::new();
    let site = delta(&storage);
    let device = site.attach();
    let file = open_written(&device);
    killed_as_a_flush_fails(&storage, &site, (&file, &device));
    assert!(eventually(|| site.servers().is_empty()));
    assert_eq!(write(&file, 2, 0).unwrap_err().raw_os_error(), EIO);
    drop(file);
    site.detach();
    site.assert_nothing_left();
    assert_goes_on(&site);
}
