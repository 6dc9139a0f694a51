// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the keeper holds for as long as a disk is attached, whatever becomes of its workers.

use std::fs::File;
use std::os::unix::fs::FileExt;

use mosaic_core::ErrorKind;
use mosaic_core::loopdev::Release;
use mosaic_ploop::attachment::How;
use mosaic_ploop::format::check::Repair;
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::pages::{PAGE, Pages};
use mosaic_ploop::format::units::DiskOffset;
use mosaic_ploop::lock_file::{LOCK_FILE, LockFile, Purpose};
use mosaic_ploop::locks::{Hold, ImageLock};
use mosaic_tests::{eventually, requires_program, requires_root, run};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use crate::at_work::threads;
use crate::online::requires_resend;
use crate::site::{HOW, MIB, Site};

pub fn signal(process: u32, signal: Signal) {
    let process = Pid::from_raw(process.cast_signed()).unwrap();
    kill_process(process, signal).unwrap();
}

/// Keeper and worker. One that is just being started is not always seen.
pub fn both(site: &Site) -> [u32; 2] {
    let mut found = [0; 2];
    let are_two = || {
        let two = <[u32; 2]>::try_from(site.servers());
        two.map(|two| found = two).is_ok()
    };
    assert!(eventually(are_two), "{:?}", site.servers());
    found
}

/// A process that is stopped until this is dropped.
pub struct Stopped(u32);

impl Stopped {
    pub fn new(process: u32) -> Self {
        signal(process, Signal::STOP);
        Self(process)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal(self.0, Signal::CONT);
    }
}

/// Whether a worker has ended, with all of its threads, of which its keeper, which is stopped, does not ask
/// how.
pub fn has_ended(worker: u32) -> bool {
    let [stat] = &threads(worker, "stat")[..] else {
        return false;
    };
    stat.contains(") Z ")
}

/// Stops the keeper and kills its worker; another one follows when this is dropped.
pub fn without_worker(site: &Site) -> Stopped {
    let [keeper, worker] = both(site);
    let stopped = Stopped::new(keeper);
    signal(worker, Signal::KILL);
    assert!(eventually(|| has_ended(worker)));
    stopped
}

pub fn open(device: &std::path::Path) -> File {
    let file = File::options().read(true).write(true).open(device);
    file.unwrap()
}

/// Kills the worker; whether another one has followed it.
pub fn kill_worker(site: &Site) -> bool {
    let [_, worker] = both(site);
    run("kill", &["-KILL", &worker.to_string()]).unwrap();
    let followed = || site.servers().get(1).is_some_and(|next| *next != worker);
    // On a kernel that sends no request again the keeper ends.
    assert!(eventually(|| followed() || site.servers().is_empty()));
    !site.servers().is_empty()
}

/// Past the page cache.
pub fn direct(device: &std::path::Path) -> File {
    let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    rustix::fs::open(device, flags, Mode::empty())
        .unwrap()
        .into()
}

/// The lock of libploop up to 7, which knows no other.
#[test]
fn root_libploops_lock_is_held_as_long_as_the_disk_is_attached() {
    if !requires_root() || !requires_program("flock") {
        return;
    }
    let site = Site::new("flock", 64);
    let lock = site.volume().join(LOCK_FILE);
    let is_free = || {
        let lock = lock.to_str().unwrap();
        run("flock", &["--nonblock", lock, "true"]).is_ok()
    };
    site.attach();
    assert!(!is_free());
    for _ in 0..3 {
        if !kill_worker(&site) {
            break;
        }
        assert!(!is_free());
    }
    if let [keeper, _] = site.servers()[..] {
        run("kill", &["-KILL", &keeper.to_string()]).unwrap();
        assert!(eventually(|| site.servers().len() == 1));
        assert!(!is_free());
    }
    site.detach();
    assert!(is_free());
    std::fs::remove_file(&lock).unwrap();
    let how = How {
        read_only: true,
        ..HOW
    };
    site.attach_how(&how);
    assert!(!is_free());
    site.detach();
    assert!(is_free());
    let held = LockFile::take(site.place().folder, Purpose::Look, || Ok(())).unwrap();
    site.assert_ours();
    drop(held);
    site.attach();
}

/// Between two workers the images are as locked as they were.
#[test]
fn root_images_stay_locked_while_one_worker_follows_another() {
    if !requires_root() || !requires_resend() {
        return;
    }
    let site = Site::new("between", 64);
    let device = site.attach();
    let file = open(&device);
    let attached = site.find().unwrap();
    for round in 1..4 {
        file.write_all_at(&[round; 4096], MIB).unwrap();
        file.sync_all().unwrap();
        attached
            .freeze(&site.host, &site.place(), Guid::from_random([round; 16]))
            .unwrap();
        let disk = site.disk();
        let descriptor = disk.descriptor();
        let images = descriptor.chain(descriptor.top());
        let images = images
            .into_iter()
            .map(|shot| descriptor.file(shot).unwrap());
        let images: Vec<_> = images.collect();
        assert_eq!(images.len(), usize::from(round) + 1);
        for _ in 0..2 {
            let without = without_worker(&site);
            for image in &images {
                let take = |hold| {
                    let file = File::open(site.volume().join(image)).unwrap();
                    ImageLock::take(file.into(), image, hold).map(drop)
                };
                let refused = take(&Hold::WRITE).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::Busy);
                // A clone can have what is beneath the top.
                assert_eq!(take(&Hold::READ).is_ok(), images.last() != Some(image));
            }
            drop(without);
            let mut found = [0; 4096];
            file.read_exact_at(&mut found, MIB).unwrap();
            assert_eq!(found, [round; 4096]);
            assert!(eventually(|| site.servers().len() == 2));
        }
    }
    drop(file);
    site.detach();
    site.assert_nothing_left();
    site.disk().write().unwrap().close().unwrap();
}

/// A program that knows no lock repairs the image between two workers: what it drops was
/// acknowledged, so an error is due and not old data.
#[test]
fn root_what_was_written_is_not_dropped_silently() {
    if !requires_root() || !requires_resend() {
        return;
    }
    let site = Site::new("overtaken", 64);
    let device = site.attach();
    // Past the page cache and without a flush: the server's note is the only one of it.
    let mut data = Pages::new(PAGE);
    data.bytes_mut().fill(7);
    let file = direct(&device);
    file.write_all_at(data.bytes(), 9 * MIB).unwrap();
    let without = without_worker(&site);
    let mut disk = site.disk();
    assert!(disk.check(Some(Repair::Safe)).unwrap().is_clean());
    drop(without);
    let read = file.read_exact_at(data.bytes_mut(), 9 * MIB);
    drop(file);
    assert_eq!(read.unwrap_err().raw_os_error(), Some(5));
    assert!(eventually(|| site.servers().is_empty()));
    site.detach();
    site.assert_nothing_left();
}

/// The device has gone and the worker has not yet written what it had noted: the next one does.
#[test]
fn root_a_disk_is_closed_though_its_worker_is_killed_over_it() {
    if !requires_root() || !requires_resend() {
        return;
    }
    let site = Site::new("closing", 64);
    let device = site.attach();
    let file = direct(&device);
    let mut data = Pages::new(PAGE);
    data.bytes_mut().fill(7);
    file.write_all_at(data.bytes(), 9 * MIB).unwrap();
    drop(file);
    let [_, worker] = site.servers()[..] else {
        panic!("{:?}", site.servers());
    };
    signal(worker, Signal::STOP);
    let device = site.find().unwrap().open_same(OFlags::EXCL).unwrap();
    assert_eq!(device.unwrap().release().unwrap(), Release::Gone);
    signal(worker, Signal::KILL);
    site.assert_nothing_left();
    let disk = site.disk();
    let chain = disk.read(disk.descriptor().top()).unwrap();
    let mut found = [0; 4096];
    chain.read(&mut found, DiskOffset(9 * MIB)).unwrap();
    assert_eq!(found, [7; 4096]);
    disk.write().unwrap().close().unwrap();
}

/// What keeps a worker from being started may pass, as a lack of memory does.
#[test]
fn root_a_worker_that_cannot_be_started_is_tried_again() {
    if !requires_root() || !requires_resend() {
        return;
    }
    let site = Site::new("again", 64);
    let device = site.attach();
    let file = open(&device);
    file.write_all_at(&[8; 4096], MIB).unwrap();
    file.sync_all().unwrap();
    let [keeper, worker] = site.servers()[..] else {
        panic!("{:?}", site.servers());
    };
    let pid = Pid::from_raw(keeper.cast_signed());
    let none = Rlimit {
        current: Some(0),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    let before = prlimit(pid, Resource::Nofile, none).unwrap();
    signal(worker, Signal::KILL);
    let waits = || {
        let at = std::fs::read_to_string(format!("/proc/{keeper}/wchan"));
        at.is_ok_and(|at| at.contains("nanosleep"))
    };
    assert!(eventually(waits));
    prlimit(pid, Resource::Nofile, before).unwrap();
    let mut found = Pages::new(PAGE);
    let read = direct(&device).read_exact_at(found.bytes_mut(), MIB);
    read.unwrap();
    assert!(found.bytes().iter().all(|byte| *byte == 8));
    drop(file);
    site.detach();
    site.assert_nothing_left();
}

/// As it may have them from a service with `LimitFSIZE=`.
#[test]
fn root_a_limit_of_file_sizes_is_want_of_space_and_ends_no_server() {
    if !requires_root() {
        return;
    }
    let site = Site::new("limited", 64);
    let device = site.attach();
    let file = open(&device);
    file.write_all_at(&[8; 4096], MIB).unwrap();
    file.sync_all().unwrap();
    let servers = site.servers();
    let limit = |current| {
        for server in &servers {
            let pid = Pid::from_raw(server.cast_signed()).unwrap();
            let maximum = getrlimit(Resource::Fsize).maximum;
            let limit = Rlimit { current, maximum };
            prlimit(Some(pid), Resource::Fsize, limit).unwrap();
        }
    };
    limit(Some(MIB));
    let mut page = Pages::new(PAGE);
    page.bytes_mut().fill(9);
    let refused = direct(&device).write_all_at(page.bytes(), 32 * MIB);
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull, "{refused}");
    assert_eq!(site.servers(), servers);
    limit(None);
    file.write_all_at(&[9; 4096], 32 * MIB).unwrap();
    file.sync_all().unwrap();
    drop(file);
    site.detach();
    site.assert_nothing_left();
}
