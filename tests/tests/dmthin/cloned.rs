// SPDX-License-Identifier: MIT OR Apache-2.0
//! A clone has its origin as it was at one instant, whatever is written to that then and later.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use mosaic_tests::{Scratch, Site, eventually, is_quick, left_out, requires_program, run, word};

use crate::{MIB, assert_sound, site, with_fs};

/// Bytes of a record, and records of a ring.
const RECORD: usize = 4096;
const RING: u64 = 1024;
/// Records that are written before others have their turn.
const BATCH: u64 = 64;

/// A file that is written round and round, one numbered record after the other, and never flushed:
/// what reaches the disk when is for the kernel to say, so only a file system at rest has them all.
#[derive(Default)]
struct Ring {
    /// The last record that was begun.
    begun: AtomicU64,
    /// The last record that was written.
    written: AtomicU64,
    stop: AtomicBool,
}

impl Ring {
    fn write(&self, path: &Path) {
        let file = File::create(path).unwrap();
        for number in 1.. {
            self.begun.store(number, Ordering::SeqCst);
            file.write_all_at(&record(number), number % RING * RECORD as u64)
                .unwrap();
            self.written.store(number, Ordering::SeqCst);
            if number % BATCH == 0 {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Waits until each place was written over.
    fn await_round(&self) {
        let since = self.begun.load(Ordering::SeqCst);
        let done = || self.written.load(Ordering::SeqCst) > since + RING;
        assert!(eventually(done), "the writer is stuck");
    }
}

/// A record that tells its number in each word.
fn record(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(RECORD / 8)
}

/// The last record of a ring of one instant; each place has the last one that belongs there.
fn last_record(bytes: &[u8]) -> u64 {
    assert_eq!(bytes.len() as u64, RING * RECORD as u64);
    let number = |place: &[u8]| u64::from_le_bytes(place[..8].try_into().unwrap());
    let last = bytes.chunks(RECORD).map(number).max().unwrap();
    for number in last - RING + 1..=last {
        let at = usize::try_from(number % RING).unwrap() * RECORD;
        assert!(
            bytes[at..at + RECORD] == record(number),
            "record {number} of {last} is not whole"
        );
    }
    last
}

/// Takes a clone while the ring is written, and looks at it while that goes on.
fn clone_and_look(site: &Site, ring: &Ring, to: &str, scratch: &Path) {
    ring.await_round();
    let written = ring.written.load(Ordering::SeqCst);
    site.ok(&["clone", "origin", to]);
    let begun = ring.begun.load(Ordering::SeqCst);
    let look = || {
        let at = scratch.join("at");
        site.ok(&["mount", to, word(&at), "-o", "ro"]);
        let bytes = fs::read(at.join("ring")).unwrap();
        // With its last mount the device goes, and what the kernel has kept of it.
        site.ok(&["umount", to, word(&at)]);
        bytes
    };
    let first = look();
    let last = last_record(&first);
    assert!(
        written <= last && last <= begun,
        "{written} were written, {last} are there, {begun} were begun"
    );
    ring.await_round();
    assert!(first == look(), "the clone has changed");
}

/// The same of all bytes of the clone.
fn clone_and_compare(site: &Site, ring: &Ring, to: &str, scratch: &Path) {
    site.ok(&["clone", "origin", to]);
    let device = site.json(&["attach", "--ro", to])["attachment"]["device"].clone();
    let device = device.as_str().unwrap();
    let copy = scratch.join("copy");
    let (from, copied) = (format!("if={device}"), format!("of={}", word(&copy)));
    run(
        "dd",
        &[&from, &copied, "bs=1M", "conv=sparse", "status=none"],
    )
    .unwrap();
    ring.await_round();
    run("blockdev", &["--flushbufs", device]).unwrap();
    run("cmp", &[device, word(&copy)]).unwrap();
    site.ok(&["detach", to]);
}

#[test]
fn root_a_clone_stays_the_same_while_its_origin_is_written_over() {
    for fs in ["ext4", "xfs"] {
        if fs == "xfs" && is_quick() {
            left_out("a clone of an xfs that is written");
            continue;
        }
        if !requires_program(&format!("mkfs.{fs}")) {
            continue;
        }
        let (more, size) = with_fs(fs);
        let Some(site) = site(512 * MIB, 4 * MIB, &more) else {
            return;
        };
        let scratch = Scratch::new("clone").unwrap();
        fs::create_dir(scratch.path().join("at")).unwrap();
        let at = site.mountpoint("origin");
        site.ok(&["new", "fs", "origin", size]);
        site.ok(&["mount", "origin", word(&at)]);
        let ring = Ring::default();
        thread::scope(|scope| {
            let writer = scope.spawn(|| ring.write(&at.join("ring")));
            let looked = scope.spawn(|| {
                clone_and_look(&site, &ring, "one", scratch.path());
                if fs == "ext4" {
                    clone_and_compare(&site, &ring, "two", scratch.path());
                }
            });
            let looked = looked.join();
            ring.stop.store(true, Ordering::Relaxed);
            writer.join().unwrap();
            looked.unwrap();
        });
        site.ok(&["umount", "origin", word(&at)]);
        site.ok(&["drop", "origin"]);
        assert_sound(&site);
    }
}
