// SPDX-License-Identifier: MIT OR Apache-2.0
//! A clone is killed while its origin is being written, and held up for it.
//!
//! The writer waits for the next command that changes something, which lets the origin go; what it has
//! written is whole, and so is what the clone has of it, if that came to be.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use mosaic_tests::{
    Action, Outcome, Site, SystemCall, ThinPool, ThinPoolDevice, Tracee, did, eventually,
    requires_program, requires_thin_pools, requires_time, run,
};

/// include/uapi/linux/dm-ioctl.h: DM_DEV_SUSPEND, which resumes as well.
const DM_DEV_SUSPEND: u64 = 0xc138_fd06;

/// The numbers from 1 on, a line each, each of them synced.
#[derive(Default)]
struct Log {
    synced: AtomicU64,
    stop: AtomicBool,
}

impl Log {
    fn write(&self, path: &Path) {
        let mut file = File::create(path).unwrap();
        for number in 1.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            file.write_all(format!("{number:015}\n").as_bytes())
                .unwrap();
            file.sync_data().unwrap();
            self.synced.store(number, Ordering::SeqCst);
        }
    }

    fn synced(&self) -> u64 {
        self.synced.load(Ordering::SeqCst)
    }

    fn await_more(&self) {
        let since = self.synced();
        assert!(eventually(|| self.synced() > since), "the writer is stuck");
    }
}

/// How far a log goes. It has no gap and no other bytes.
fn length(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap();
    let mut last = 0;
    for line in text.lines() {
        assert_eq!(line, format!("{:015}", last + 1), "after {last}");
        last += 1;
    }
    last
}

/// Lets the writer end whatever happens: it may be held up, and is waited for.
struct Release<'r>(&'r ThinPool, &'r Log);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.1.stop.store(true, Ordering::SeqCst);
        for device in self.0.look().unwrap_or_default() {
            if !device.works() {
                let _ = run("dmsetup", &["resume", &device.name]);
            }
        }
    }
}

/// Kills a clone so many calls after the one that suspends its origin; gives the call.
fn kill_clone(site: &Site, after_suspend: usize) -> SystemCall {
    let mut since = None;
    let mut last = None;
    let traced = Tracee::new(&site.command(&["clone", "a", "b"])).run(|call| {
        since = match since {
            None if call.is_ioctl(DM_DEV_SUSPEND) => Some(0),
            None => None,
            Some(calls) => Some(calls + 1),
        };
        if since != Some(after_suspend) {
            return Action::Continue;
        }
        last = Some(*call);
        Action::KillAfter
    });
    assert_eq!(traced.unwrap().outcome, Outcome::Killed);
    last.expect("it was killed at one")
}

/// The next command lets the origin go, and another clone has all that was synced before it.
fn verify(site: &Site, log: &Log, at: &Path) {
    let pool = site.pool().unwrap();
    // A look changes nothing.
    assert_eq!(site.names(), ["a"], "the commit comes later");
    site.ok(&["new", "disk", "next", "1M"]);
    let devices = pool.look().unwrap();
    assert!(devices.iter().all(ThinPoolDevice::works), "{devices:?}");
    log.await_more();
    site.ok(&["drop", "next"]);
    let synced = log.synced();
    site.ok(&["clone", "a", "b"]);
    let until = log.synced();
    let path = at.to_str().unwrap();
    site.ok(&["mount", "b", path, "-o", "ro"]);
    let cloned = length(&at.join("log"));
    site.ok(&["umount", "b", path]);
    site.ok(&["drop", "b"]);
    // One may be written and not known to be.
    let is_right = synced <= cloned && cloned <= until + 1;
    assert!(
        is_right,
        "{synced} before, {cloned} in the clone, {until} after"
    );
}

#[test]
fn root_a_writer_goes_on_after_a_killed_clone_of_what_it_writes() {
    // First, so that a quick run has another test of these in the virtual machine.
    if !requires_time() || !requires_thin_pools() || !requires_program("mkfs.ext4") {
        return;
    }
    let pool = ThinPool::new(512 << 20, 4 << 20).unwrap();
    let site = Site::on_pool(pool, "dmthin", "default_fs: ext4\n").unwrap();
    let pool = site.pool().unwrap();
    let [origin, clone] = ["origin", "clone"].map(|name| site.mountpoint(name));
    let path = origin.to_str().unwrap();
    site.ok(&["new", "fs", "a", "64M"]);
    site.ok(&["mount", "a", path]);
    let log = Log::default();
    let mut held = 0;
    thread::scope(|scope| {
        let _release = Release(pool, &log);
        scope.spawn(|| log.write(&origin.join("log")));
        log.await_more();
        for after_suspend in 0.. {
            let call = kill_clone(&site, after_suspend);
            let devices = pool.look().unwrap();
            let is_held = devices.iter().any(|d| d.attributes.contains('s'));
            let resumes = after_suspend > 0 && call.is_ioctl(DM_DEV_SUSPEND);
            assert_eq!(is_held, !resumes, "{call:x?}: {devices:?}");
            held += usize::from(is_held);
            verify(&site, &log, &clone);
            if resumes {
                break;
            }
        }
    });
    did(&format!("{held} kills while the origin was held up"));
    assert!(held >= 2, "the origin is suspended, and shared");
    // The last line may have been written after the writer's last word.
    let synced = log.synced();
    site.ok(&["umount", "a", path]);
    site.ok(&["mount", "a", path]);
    let written = length(&origin.join("log"));
    assert!(
        synced <= written && written <= synced + 1,
        "{synced} {written}"
    );
    site.ok(&["umount", "a", path]);
    site.ok(&["check"]);
    site.ok(&["check", "a"]);
    assert_eq!(pool.entries().len(), 2);
    pool.deactivate().unwrap();
    pool.check().unwrap();
}
