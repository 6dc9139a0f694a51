// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk in use is left without a server for good: where the kernel sends no request again that is what
//! the kill of a worker does (ask the virtual machine's kernel).

use std::fs::{self, File};
use std::io::{Error, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use mosaic_core::ErrorKind;
use mosaic_tests::{eventually, requires_vm, run};

use crate::at_work::kill_at_work;
use crate::online::resends;
use crate::site::Site;

/// Appends blocks, each of them synced, until one fails.
fn write_until_failure(path: &Path, synced: &AtomicU64) -> Error {
    let written = || -> Result<(), Error> {
        let mut file = File::create(path)?;
        for number in 0_u64.. {
            file.write_all(&[number.to_le_bytes(); 512].concat())?;
            file.sync_data()?;
            synced.store(number + 1, Ordering::SeqCst);
        }
        Ok(())
    };
    written().unwrap_err()
}

/// How many of these blocks are there, one after the other.
fn blocks(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    let blocks = bytes.chunks_exact(4096).zip(0_u64..);
    let whole =
        blocks.take_while(|(block, number)| **block == [number.to_le_bytes(); 512].concat());
    whole.count() as u64
}

#[test]
fn root_a_file_system_without_a_server_fails_at_once_and_is_whole_at_the_next_attach() {
    if !requires_vm() {
        return;
    }
    let site = Site::new("no-server", 64);
    let device = site.attach();
    let at = site.volume().with_file_name("mounted");
    fs::create_dir(&at).unwrap();
    let [node, mountpoint] = [&device, &at].map(|path| path.to_str().unwrap());
    run("mkfs.ext4", &["-q", node]).unwrap();
    run("mount", &[node, mountpoint]).unwrap();
    let synced = AtomicU64::new(0);
    let path = at.join("log");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_until_failure(&path, &synced));
        assert!(eventually(|| synced.load(Ordering::SeqCst) > 8));
        match resends() {
            true => site.kill_servers(),
            false => kill_at_work(*site.servers().last().unwrap()),
        }
        assert!(eventually(|| writer.is_finished()), "it waits for ever");
        let error = writer.join().unwrap();
        // The second: ext4 has given up by then.
        assert!(
            [Some(5), Some(30)].contains(&error.raw_os_error()),
            "{error}"
        );
    });
    assert!(
        eventually(|| site.servers().is_empty()),
        "a keeper keeps nothing"
    );
    let attached = site.find().unwrap();
    let refused = attached.detach(&site.host, &site.place()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy, "{refused}");
    run("umount", &[mountpoint]).unwrap();
    // It says what became of it, or that it cannot know.
    let _ = attached.detach(&site.host, &site.place());
    site.assert_nothing_left();
    assert_eq!(site.disk().write().unwrap_err().kind(), ErrorKind::Busy);
    let device = site.attach();
    let node = device.to_str().unwrap();
    run("mount", &[node, mountpoint]).unwrap();
    let found = blocks(&path);
    run("umount", &[mountpoint]).unwrap();
    assert!(
        found >= synced.load(Ordering::SeqCst),
        "{found} of {synced:?}"
    );
    run("e2fsck", &["-fn", node]).unwrap();
    site.detach();
    site.assert_nothing_left();
    assert!(site.disk().check(None).unwrap().is_clean());
}
