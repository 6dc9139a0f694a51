// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ploop disks that are attached while their location fails to make durable what was written.

use std::fs;
use std::process::{Child, Command, Stdio};

use mosaic_tests::{Site, block_servers_beneath, eventually, is_mountpoint, requires_program, run};

use super::ready;
use super::synced::{BLOCK, CLUSTER, SIZE, Written, assert_closed, marked};

/// Has each flush of a process fail, as long as it is there.
struct NoFlush(Child);

impl NoFlush {
    fn of(process: u32) -> Self {
        let words = [
            "-f",
            "-qq",
            "-e",
            "trace=fsync,fdatasync",
            "-e",
            "inject=fsync,fdatasync:error=EIO",
            "-p",
        ];
        let mut strace = Command::new("strace");
        strace.args(words).arg(process.to_string());
        let started = strace.stderr(Stdio::null()).spawn();
        let this = Self(started.unwrap());
        assert!(eventually(|| is_traced(process)));
        this
    }

    /// Lets go of the process, and leaves it as it is.
    fn end(mut self) {
        run("kill", &["-TERM".to_owned(), self.0.id().to_string()]).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for NoFlush {
    fn drop(&mut self) {
        // Nothing to be done about it, and often it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether each thread of a process has a tracer.
fn is_traced(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap();
        !status.contains("TracerPid:\t0\n")
    })
}

/// A disk that is attached, with something in it that is durable.
fn attached(site: &Site) -> Written {
    site.ok(&["new", "disk", "a", "16M"]);
    let mut disk = Written::attach(site, "a", vec![0; SIZE]);
    disk.write(0, 1, 4 * CLUSTER);
    disk
}

/// What was durable is there after another attach, and the disk is closed again.
fn assert_repaired(site: &Site, disk: &mut Written, not_synced: (usize, u8)) {
    // Its mark tells the next one to repair it.
    assert_eq!(marked(site, "a"), 1);
    disk.device = Written::attach(site, "a", Vec::new()).device;
    disk.assert_there(&[not_synced]);
    disk.write(2 * CLUSTER, 4, 2 * CLUSTER);
    site.ok(&["detach", "a"]);
    assert_closed(site, "a", false);
    site.ok(&["check", "a"]);
}

#[test]
fn root_a_disk_that_cannot_be_made_durable_any_more_is_detached_with_a_word_about_it() {
    if !ready() || !requires_program("strace") {
        return;
    }
    let site = Site::on("ext4", "ploop", "cluster_size: 64K\n").unwrap();
    let mut disk = attached(&site);
    let servers = block_servers_beneath(site.location());
    let [_keeper, worker] = servers[..] else {
        panic!("{servers:?}");
    };
    let failing = NoFlush::of(worker);
    let under_way = (12 << 20, 3);
    disk.try_write(under_way.0, under_way.1, BLOCK).unwrap_err();
    failing.end();
    // The location is well again, but nobody knows what the image holds.
    disk.try_write(under_way.0, under_way.1, BLOCK).unwrap_err();
    let said = site.run(&["detach", "a"]);
    let why = said.stderr;
    assert_eq!(said.status, 1, "{why}");
    for word in [
        "it is detached",
        "may be lost",
        "the next attach repairs it",
    ] {
        assert_eq!(why.matches(word).count(), 1, "{why}");
    }
    site.assert_idle();
    assert!(block_servers_beneath(site.location()).is_empty());
    assert_repaired(&site, &mut disk, under_way);
}

#[test]
fn root_a_disk_whose_location_died_is_repaired_when_that_is_back() {
    if !ready() {
        return;
    }
    let site = Site::on("xfs", "ploop", "cluster_size: 64K\n").unwrap();
    let mut disk = attached(&site);
    let fs = site.fs().unwrap();
    run(
        "xfs_io",
        &["-x", "-c", "shutdown", fs.path().to_str().unwrap()],
    )
    .unwrap();
    let under_way = (12 << 20, 3);
    disk.try_write(under_way.0, under_way.1, BLOCK).unwrap_err();
    // As the manual says: no command can work there.
    let said = site.run(&["detach", "a"]);
    assert_eq!(said.status, 1, "{said:?}");
    run("losetup", &["-d".as_ref(), disk.device.as_path()]).unwrap();
    // The server ends by itself, and lets go of the location.
    assert!(eventually(
        || fs.umount().is_ok() || !is_mountpoint(fs.path())
    ));
    fs.mount().unwrap();
    site.assert_idle();
    assert_repaired(&site, &mut disk, under_way);
}
