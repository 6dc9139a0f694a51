// SPDX-License-Identifier: MIT OR Apache-2.0
//! What only looks, beside those who work: nobody waits for it without end, and it takes nothing away.

use std::fs::File;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use mosaic_core::finding::Repair;
use mosaic_ploop::attachment::VolumeId;
use mosaic_ploop::server::control::Socket;
use mosaic_tests::{eventually, requires_time};

use super::common::{Disks, MIB, disks};

/// The socket of the server of a volume, as a server makes it.
fn socket(disks: &Disks, name: &str) -> (Socket, std::path::PathBuf) {
    let id = VolumeId::of(File::open(disks.file(name)).unwrap()).unwrap();
    let private = disks.file(".mosaic");
    std::fs::create_dir_all(&private).unwrap();
    let socket = Socket::bind(File::open(&private).unwrap().into(), &id.socket());
    (socket.unwrap(), private.join(id.socket()))
}

/// As while another command is just about to attach the disk: it can stay so for hours.
#[test]
fn a_check_does_not_wait_for_a_server_that_goes_on() {
    let (_scratch, disks) = disks("check-server", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    let (server, file) = socket(&disks, "a");
    let (said, hear) = channel();
    let found = std::thread::scope(|scope| {
        scope.spawn(|| said.send(disks.check(&Repair::Nothing)));
        let found = hear.recv_timeout(Duration::from_secs(60));
        // It hears of no end from a server that goes on.
        drop(server);
        found
    });
    assert_eq!(found.expect("it waits for the server"), []);
    let said = disks.said.take();
    assert!(
        said.iter().any(|line| line.contains("not checked")),
        "{said:?}"
    );
    // Nobody listens any more, and whoever only looks leaves it to others to say that.
    assert_eq!(disks.check(&Repair::Nothing), []);
    assert!(file.exists());
    disks.drop("a").unwrap();
    assert!(!file.exists());
}

/// A check of a large table takes its time, which nobody else should have to wait for, nor fail.
#[test]
fn who_works_on_a_disk_is_not_kept_from_it_by_checks() {
    if !requires_time() {
        return;
    }
    let (_scratch, disks) = disks("checks", &[("cluster_size", "32K")]);
    disks.create_disk("a", 64 << 30).unwrap();
    disks.write("a", 0, b"kept");
    let stop = AtomicBool::new(false);
    let checks = AtomicUsize::new(0);
    let findings = Mutex::new(Vec::new());
    let check = || {
        // Another command, which has descriptors of its own.
        let other = Disks::open(&disks.path, &[]);
        while !stop.load(Ordering::Relaxed) {
            let found = other.check(&Repair::Nothing);
            findings.lock().unwrap().extend(found);
            checks.fetch_add(1, Ordering::Relaxed);
        }
        other.said.take().len()
    };
    let passed_over = std::thread::scope(|scope| {
        let checking = [(); 2].map(|()| scope.spawn(check));
        let is_checking = eventually(|| checks.load(Ordering::Relaxed) > 2);
        let work = || -> mosaic_core::Result<()> {
            for round in 1..6 {
                disks.resize("a", (64 + round) << 30)?;
                disks.rename("a", "b")?;
                disks.clone("b", "a", None)?;
                disks.drop("b")?;
            }
            Ok(())
        };
        let done = work();
        stop.store(true, Ordering::Relaxed);
        let passed_over = checking.map(|thread| thread.join().unwrap());
        assert!(is_checking);
        done.unwrap();
        passed_over
    });
    assert_eq!(findings.into_inner().unwrap(), []);
    // So they did meet.
    assert!(passed_over.iter().sum::<usize>() > 0);
    assert_eq!(disks.check(&Repair::Nothing), []);
    assert_eq!(disks.said.take(), [""; 0]);
    assert_eq!(disks.read("a", 0, 4), b"kept");
}
