// SPDX-License-Identifier: MIT OR Apache-2.0
//! Servers that do not answer: gone, stopped, or not to be called. Nobody waits for ever, and nothing
//! that is on its way to one is lost.

use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use mosaic_core::{ErrorKind, Host, Level, Services};
use mosaic_ploop::format::pages::{PAGE, Pages};
use mosaic_ploop::format::units::{DiskOffset, Sectors};
use mosaic_tests::{eventually, requires_root};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open};

use crate::keeper::{direct, open, signal};
use crate::site::{MIB, Site};

/// A descriptor of the connection outlives the servers, with whoever got it: whoever waits for an
/// answer would wait for ever.
#[test]
fn root_nobody_waits_for_a_server_that_is_no_more() {
    if !requires_root() {
        return;
    }
    let site = Site::new("held", 64);
    let device = site.attach();
    let keeper = site.servers()[0];
    let held = connection_of(keeper);
    let attached = site.find().unwrap();
    site.kill_servers();
    std::thread::scope(|scope| {
        let file = direct(&device);
        let waits = scope.spawn(move || file.read_exact_at(Pages::new(PAGE).bytes_mut(), 0));
        let under_way = format!("/sys/block/loop{}/inflight", attached.number);
        let is_asked = || {
            let text = std::fs::read_to_string(&under_way).unwrap();
            text.split_whitespace().next() == Some("1")
        };
        let is_asked = eventually(is_asked);
        // The last thread of a killed process may take its time.
        assert!(eventually(|| !attached.is_served(&site.place()).unwrap()));
        // With the last descriptor all is told.
        let free = move || drop(held);
        let detached = in_time(free, || attached.detach(&site.host, &site.place()));
        let read = waits.join().unwrap();
        detached.unwrap();
        assert!(is_asked, "there was nobody who waited");
        assert_eq!(read.unwrap_err().raw_os_error(), Some(5));
    });
    site.assert_nothing_left();
    site.attach();
    site.detach();
    site.disk().write().unwrap().close().unwrap();
}

/// Nobody is taken for dead whose socket was removed: what is on its way to it still gets there.
#[test]
fn root_a_server_that_cannot_be_called_gets_what_was_written() {
    if !requires_root() {
        return;
    }
    let site = Site::new("uncalled", 64);
    let device = site.attach();
    open(&device).write_all_at(&[5; 4096], 9 * MIB).unwrap();
    let kept = open(&device);
    kept.write_all_at(&[6; 4096], 17 * MIB).unwrap();
    site.remove_sockets();
    let attached = site.find().unwrap();
    assert!(attached.is_served(&site.place()).unwrap());
    let size = Sectors(64 * MIB / 512);
    let refused = attached.grow(&site.host, &site.place(), size);
    let refused = refused.unwrap_err();
    assert!(refused.chain().contains("socket"), "{}", refused.chain());
    let busy = attached.detach(&site.host, &site.place()).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    drop(kept);
    attached.detach(&site.host, &site.place()).unwrap();
    // It has closed the disk.
    assert!(site.disk().check(None).unwrap().is_clean());
    site.assert_nothing_left();
    let disk = site.disk();
    let chain = disk.read(disk.descriptor().top()).unwrap();
    for (at, byte) in [(9, 5), (17, 6)] {
        let mut found = [0; 4096];
        chain.read(&mut found, DiskOffset(at * MIB)).unwrap();
        assert!(found == [byte; 4096], "{byte}");
    }
    disk.write().unwrap().close().unwrap();
}

/// What `work` does, which does not hang; if it does, `free` ends that.
fn in_time<T>(free: impl FnOnce() + Send, work: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let watch = scope.spawn(move || {
            let in_time = is_done.recv_timeout(Duration::from_secs(20)).is_ok();
            free();
            in_time
        });
        let worked = work();
        let _ = done.send(());
        assert!(watch.join().unwrap(), "it hung");
        worked
    })
}

/// A user who loses patience after a while.
#[derive(Debug, Default)]
struct Impatient(AtomicU32);

impl Services for Impatient {
    fn log(&self, _: Level, _: &str) {}

    fn progress(&self, _: u64, _: u64, _: &str) {}

    fn cancelled(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) > 5
    }
}

/// Nor has anybody to wait for one that is stopped.
#[test]
fn root_who_waits_for_a_server_can_stop_waiting() {
    if !requires_root() {
        return;
    }
    let site = Site::new("stopped", 64);
    let device = site.attach();
    open(&device).write_all_at(&[6; 4096], MIB).unwrap();
    let attached = site.find().unwrap();
    let worker = site.servers()[1];
    let host = Host::new(Arc::new(Impatient::default()));
    signal(worker, Signal::STOP);
    let has_stopped = || {
        let threads = std::fs::read_dir(format!("/proc/{worker}/task")).unwrap();
        let mut threads = threads.flatten().map(|thread| thread.path().join("stat"));
        threads.all(|stat| std::fs::read_to_string(stat).unwrap().contains(") T "))
    };
    assert!(eventually(has_stopped));
    let go_on = || signal(worker, Signal::CONT);
    let detached = in_time(go_on, || attached.detach(&host, &site.place()));
    assert_eq!(detached.unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(site.find().as_ref(), Some(&attached));
    site.detach();
    site.assert_nothing_left();
    site.disk().write().unwrap().close().unwrap();
}

/// A duplicate of the descriptor by which a process is asked for what is on the disk.
fn connection_of(process: u32) -> OwnedFd {
    let folder = std::path::PathBuf::from(format!("/proc/{process}/fd"));
    let mut names = folder.read_dir().unwrap().flatten();
    let is_connection = |name: &std::fs::DirEntry| {
        std::fs::read_link(name.path()).is_ok_and(|to| to == std::path::Path::new("/dev/fuse"))
    };
    let name = names.find(is_connection).unwrap().file_name();
    let number = name.to_str().unwrap().parse().unwrap();
    let process = Pid::from_raw(process.cast_signed()).unwrap();
    let process = pidfd_open(process, PidfdFlags::empty()).unwrap();
    pidfd_getfd(process, number, PidfdGetfdFlags::empty()).unwrap()
}
