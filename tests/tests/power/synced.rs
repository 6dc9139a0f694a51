// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs have synced on ploop disks that are attached or mounted when the power is cut.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use mosaic_tests::{
    Site, block_servers_beneath, did, eventually, is_in_vm, is_mountpoint, requires_program, run,
    run_status,
};

use super::{FILE_SYSTEMS, ready};

const MIB: usize = 1 << 20;
/// Bytes of a disk.
pub(super) const SIZE: usize = 16 * MIB;
pub(super) const CLUSTER: usize = 64 << 10;
pub(super) const BLOCK: usize = 4096;

/// A disk that is attached, and all that was synced to it.
pub(super) struct Written {
    name: &'static str,
    pub(super) device: PathBuf,
    synced: Vec<u8>,
}

impl Written {
    pub(super) fn attach(site: &Site, name: &'static str, synced: Vec<u8>) -> Self {
        let said = site.json(&["attach", name]);
        let device = said["attachment"]["device"].as_str().unwrap().into();
        Self {
            name,
            device,
            synced,
        }
    }

    /// As a program does that has to be sure.
    pub(super) fn write(&mut self, at: usize, byte: u8, bytes: usize) {
        self.try_write(at, byte, bytes).unwrap();
        self.synced[at..at + bytes].fill(byte);
    }

    /// The same where it may fail.
    pub(super) fn try_write(&self, at: usize, byte: u8, bytes: usize) -> io::Result<()> {
        let file = File::options().write(true).open(&self.device)?;
        file.write_all_at(&vec![byte; bytes], at as u64)?;
        file.sync_all()
    }

    /// Compares with what is there now. What was on its way and not synced, one block for each of
    /// these places, is there or not.
    pub(super) fn assert_there(&mut self, not_synced: &[(usize, u8)]) {
        let now = fs::read(&self.device).unwrap();
        for (at, byte) in not_synced {
            let block = *at..*at + BLOCK;
            if now[block.clone()].iter().all(|b| b == byte) {
                self.synced[block].fill(*byte);
            }
        }
        if now != self.synced {
            let differs = (0..now.len()).find(|at| now[*at] != self.synced[*at]);
            panic!("{} differs at {differs:?} of {}", self.name, now.len());
        }
    }
}

/// Cuts the power under all that is attached and mounted: from here on nothing becomes durable, and
/// no server comes to close its disk.
fn cut(site: &Site, mounts: &[&Path], disks: &[Written]) {
    let fs = site.fs().unwrap();
    let path = fs.path().to_str().unwrap();
    run("xfs_io", &["-x", "-c", "shutdown", path]).unwrap();
    let servers = block_servers_beneath(site.location());
    assert_eq!(servers.len(), 2 * (mounts.len() + disks.len()));
    let words = servers.iter().map(u32::to_string);
    let words: Vec<String> = ["-KILL".to_owned()].into_iter().chain(words).collect();
    run("kill", &words).unwrap();
    for at in mounts {
        run("umount", &[at]).unwrap();
    }
    for disk in disks {
        run("losetup", &["-d".as_ref(), disk.device.as_path()]).unwrap();
    }
    assert!(eventually(
        || block_servers_beneath(site.location()).is_empty()
    ));
    // A process that is gone is not seen in /proc a moment before all of its files are closed.
    assert!(eventually(
        || fs.umount().is_ok() || !is_mountpoint(fs.path())
    ));
    fs.mount().unwrap();
}

/// The images of a volume, and whether each is marked as open for writing.
fn images(site: &Site, name: &str) -> Vec<(PathBuf, bool)> {
    let files = fs::read_dir(site.location().join(name)).unwrap().flatten();
    let images = files.filter(|file| file.file_name().as_encoded_bytes().starts_with(b"root.hds"));
    let marked = |path: &Path| {
        let mut mark = [0; 4];
        File::open(path)
            .unwrap()
            .read_exact_at(&mut mark, 44)
            .unwrap();
        &mark == b"Ynot"
    };
    images
        .map(|file| (file.path(), marked(&file.path())))
        .collect()
}

/// Whether QEMU can be asked, which a virtual machine has not.
fn has_qemu() -> bool {
    !is_in_vm() && requires_program("qemu-img")
}

/// All images of a volume are closed, and have nothing wrong with them in QEMU's eyes.
pub(super) fn assert_closed(site: &Site, name: &str, qemu: bool) {
    for (image, is_marked) in images(site, name) {
        assert!(!is_marked, "{image:?}");
        if qemu {
            let words = ["check", "-f", "parallels", image.to_str().unwrap()];
            assert_eq!(
                run_status("qemu-img", &words).unwrap(),
                Some(0),
                "{image:?}"
            );
        }
    }
}

pub(super) fn marked(site: &Site, name: &str) -> usize {
    let images = images(site, name);
    images.iter().filter(|(_, is_marked)| *is_marked).count()
}

#[test]
fn root_what_was_synced_to_attached_ploop_disks_survives() {
    if !ready() {
        return;
    }
    let qemu = has_qemu();
    for name in FILE_SYSTEMS {
        let site = Site::on(name, "ploop", "cluster_size: 64K\n").unwrap();
        site.ok(&["new", "disk", "a", "16M"]);
        let mut a = Written::attach(&site, "a", vec![0; SIZE]);
        a.write(0, 1, 4 * CLUSTER);
        site.ok(&["clone", "a", "b"]);
        let b = Written::attach(&site, "b", a.synced.clone());
        let mut disks = [a, b];
        for round in 0..3 {
            let byte = |number: u8| 16 * (round + 1) + number;
            for (disk, own) in disks.iter_mut().zip([1, 2]) {
                let at = usize::from(round) * CLUSTER;
                // Part of a cluster that a delta below has, once more the same, and then a new one.
                disk.write(at + BLOCK, byte(own), BLOCK);
                disk.write(at + 3 * BLOCK, byte(own), 512);
                disk.write(8 * MIB + at + 5 * BLOCK, byte(own), BLOCK);
            }
            let under_way = 12 * MIB + usize::from(round) * CLUSTER;
            let not_synced = [(under_way, byte(3))];
            let data = vec![byte(3); BLOCK];
            for disk in &disks {
                let file = File::options().write(true).open(&disk.device).unwrap();
                file.write_all_at(&data, under_way as u64).unwrap();
            }
            cut(&site, &[], &disks);
            for disk in &mut disks {
                // Its server did not come to close it.
                assert_eq!(marked(&site, disk.name), 1, "{name}");
                let now = Written::attach(&site, disk.name, Vec::new());
                disk.device = now.device;
                disk.assert_there(&not_synced);
                site.ok(&["detach", disk.name]);
            }
            for disk in &mut disks {
                assert_closed(&site, disk.name, qemu);
                site.ok(&["check", disk.name]);
                disk.device = Written::attach(&site, disk.name, Vec::new()).device;
            }
        }
        for disk in disks {
            site.ok(&["detach", disk.name]);
        }
        site.assert_idle();
        assert!(site.leftovers().is_empty(), "{:?}", site.leftovers());
        site.ok(&["check"]);
        did(&format!("3 cuts of {name}"));
    }
}

#[test]
fn root_what_was_synced_to_mounted_ploop_volumes_survives() {
    if !ready() {
        return;
    }
    let qemu = has_qemu();
    for name in FILE_SYSTEMS {
        let config = "default_fs: ext4\ncluster_size: 64K\n";
        let site = Site::on(name, "ploop", config).unwrap();
        site.ok(&["new", "fs", "a", "32M"]);
        let points = ["a", "b"].map(|volume| site.mountpoint(volume));
        let [at_a, at_b] = points.each_ref().map(PathBuf::as_path);
        let mount = |volume: &str, at: &Path| site.ok(&["mount", volume, at.to_str().unwrap()]);
        mount("a", at_a);
        let old = vec![1; MIB];
        write_synced(&at_a.join("old"), 0, &old);
        site.ok(&["clone", "a", "b"]);
        mount("b", at_b);
        for (at, byte) in [(at_a, 2), (at_b, 3)] {
            write_synced(&at.join("old"), CLUSTER as u64, &[byte; BLOCK]);
            write_synced(&at.join("new"), 0, &[byte; 3 * CLUSTER]);
        }
        cut(&site, &[at_a, at_b], &[]);
        for (volume, at, byte) in [("a", at_a, 2), ("b", at_b, 3)] {
            assert_eq!(marked(&site, volume), 1, "{name}");
            mount(volume, at);
            let mut expected = old.clone();
            expected[CLUSTER..CLUSTER + BLOCK].fill(byte);
            assert!(fs::read(at.join("old")).unwrap() == expected, "{name}");
            assert!(fs::read(at.join("new")).unwrap() == [byte; 3 * CLUSTER]);
            site.ok(&["umount", volume, at.to_str().unwrap()]);
        }
        site.assert_idle();
        assert!(eventually(
            || block_servers_beneath(site.location()).is_empty()
        ));
        for volume in ["a", "b"] {
            assert_closed(&site, volume, qemu);
            let device = Written::attach(&site, volume, Vec::new()).device;
            run("e2fsck", &["-fn".as_ref(), device.as_path()]).unwrap();
            site.ok(&["detach", volume]);
        }
        assert!(site.leftovers().is_empty(), "{:?}", site.leftovers());
        site.ok(&["check"]);
    }
}

/// Writes to a file, new or not, and syncs it and its folder.
fn write_synced(path: &Path, at: u64, data: &[u8]) {
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(false).open(path);
    let file = file.unwrap();
    file.write_all_at(data, at).unwrap();
    file.sync_all().unwrap();
    File::open(path.parent().unwrap())
        .unwrap()
        .sync_all()
        .unwrap();
}
