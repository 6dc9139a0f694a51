// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks that `ploop` itself has made, as they are in `tests/data`.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mosaic_core::Driver;
use mosaic_core::finding::Repair;
use mosaic_core::volume::MountSource;
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::units::DiskOffset;
use mosaic_tests::{
    MountedFs, block_servers_beneath, eventually, requires_program, requires_root, run,
};

use super::common::{Disks, MIB, disks, volume};

/// Archives, deltas, and whether the file `top` is there.
const ARCHIVES: [(&str, &str, bool); 4] = [
    ("version-1", "3", true),
    ("version-2", "3", true),
    ("raw", "1", false),
    ("upon-raw", "2", true),
];
/// The volume, called as OpenVZ would.
const NAME: &str = "101/root.hdd";

/// Puts the disk of an archive into a location.
fn unpack(disks: &Disks, archive: &str) {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let archive = data.join(format!("{archive}.tar.gz"));
    let to = disks.file("101");
    fs::create_dir_all(&to).unwrap();
    let words = [archive.to_str().unwrap(), "-C", to.to_str().unwrap()];
    run("tar", &[&["-xzf"], &words[..]].concat()).unwrap();
}

/// Calls the images by their paths, as old programs did.
fn use_paths(disks: &Disks) {
    let folder = disks.file(NAME).canonicalize().unwrap();
    let descriptor = folder.join("DiskDescriptor.xml");
    let text = fs::read_to_string(&descriptor).unwrap();
    let paths = format!("<File>{}/", folder.display());
    fs::write(&descriptor, text.replace("<File>", &paths)).unwrap();
}

/// Whether a sector begins with it, as files and partition tables do.
fn holds(data: &[u8], text: &str) -> bool {
    let mut sectors = data.chunks(512);
    sectors.any(|sector| sector.starts_with(text.as_bytes()))
}

#[test]
fn disks_of_ploop_are_what_they_were() {
    if !requires_program("tar") || !requires_program("gzip") {
        return;
    }
    for (archive, deltas, has_top) in ARCHIVES {
        let (_scratch, disks) = disks("real", &[]);
        unpack(&disks, archive);
        assert_eq!(disks.names(), [NAME]);
        assert_eq!(disks.size(NAME), 16 * MIB);
        assert_eq!(disks.fact(NAME, "deltas"), deltas);
        assert_eq!(disks.check(&Repair::Nothing), [], "{archive}");
        let now = disks.read(NAME, 0, 16 << 20);
        assert!(holds(&now, "EFI PART") && holds(&now, "in the base\n"));
        assert_eq!(holds(&now, "in the top\n"), has_top, "{archive}");
        // As it was when the snapshot was made, and as a whole file system.
        let disk = disks.disk(NAME);
        let base = disk.descriptor().chain(Guid::TOP)[0];
        let mut then = vec![0; 16 << 20];
        let chain = disk.read(base).unwrap();
        chain.read(&mut then, DiskOffset(0)).unwrap();
        drop(chain);
        assert!(holds(&then, "in the base\n") && !holds(&then, "in the top\n"));
        if requires_program("e2fsck") {
            for state in [&now, &then] {
                let image = disks.file("state");
                fs::write(&image, &state[1 << 20..15 << 20]).unwrap();
                run("e2fsck", &["-fn", image.to_str().unwrap()]).unwrap();
                fs::remove_file(image).unwrap();
            }
        }
        // Whatever is done to it.
        disks.label(NAME);
        disks.clone(NAME, "b", Some(32 * MIB)).unwrap();
        disks.write(NAME, 5 * MIB, b"new");
        let clone = disks.read("b", 0, 16 << 20);
        assert!(clone == now, "{archive}");
        disks.rename(NAME, "c").unwrap();
        assert_eq!(disks.read("c", 5 * MIB, 3), b"new");
        assert_eq!(disks.check(&Repair::Nothing), [], "{archive}");
    }
}

#[test]
fn root_disks_of_ploop_are_attached_and_mounted() {
    let programs = ["tar", "gzip", "mkfs.ext4", "mount", "umount", "e2fsck"];
    if !requires_root() || !programs.into_iter().all(requires_program) {
        return;
    }
    let location = MountedFs::new("ext4").unwrap();
    let disks = Disks::open(location.path(), &[]);
    for (archive, _, has_top) in ARCHIVES {
        for by_path in [false, true] {
            unpack(&disks, archive);
            if by_path {
                use_paths(&disks);
            }
            let attached = disks.driver.attach(&volume(NAME), false).unwrap();
            // A volume of no known kind is taken for a file system: its partition is shown.
            let device = attached.device.to_str().unwrap();
            run("e2fsck", &["-fn", device]).unwrap();
            let detached = || disks.driver.detach(&volume(NAME)).is_ok();
            assert!(eventually(detached), "{archive}");
            let source = disks.driver.mount_source(Some(&volume(NAME)), false);
            let MountSource::Device { path, handle } = source.unwrap() else {
                panic!("a disk is mounted by a device");
            };
            let point = tempfile::tempdir().unwrap();
            let words = [path.to_str().unwrap(), point.path().to_str().unwrap()];
            run("mount", &words).unwrap();
            drop(handle);
            let read = |name: &str| fs::read_to_string(point.path().join(name)).ok();
            let (base, top) = (read("base"), read("top"));
            let written = fs::write(point.path().join("new"), "of ours");
            run("umount", &words[1..]).unwrap();
            written.unwrap();
            assert_eq!(base.as_deref(), Some("in the base\n"), "{archive}");
            let expected = has_top.then_some("in the top\n");
            assert_eq!(top.as_deref(), expected, "{archive}");
            let gone = || disks.find(NAME).unwrap().attachment.is_none();
            assert!(eventually(gone), "{archive}");
            assert!(eventually(|| block_servers_beneath(&disks.path).is_empty()));
            assert!(
                holds(&disks.read(NAME, 0, 16 << 20), "of ours"),
                "{archive}"
            );
            assert_eq!(disks.check(&Repair::Nothing), [], "{archive}");
            if requires_program("ploop") {
                // For one that takes it back: nothing is left of us that it would not know.
                disks.check(&Repair::classes(&["holes".to_owned()]).unwrap());
                let descriptor = disks.file(NAME).join("DiskDescriptor.xml");
                run("ploop", &["check", descriptor.to_str().unwrap()]).unwrap();
                let delta = disks
                    .disk(NAME)
                    .descriptor()
                    .file(Guid::TOP)
                    .unwrap()
                    .to_owned();
                if archive != "raw" {
                    let delta = disks.file(NAME).join(delta);
                    let check = ["check", "-f", "-c", delta.to_str().unwrap()];
                    run("ploop", &check).unwrap();
                }
            }
            disks.drop(NAME).unwrap();
        }
    }
}

/// What `ploop` does to a disk, without the disk.
const COMMANDS: [&[&str]; 5] = [
    &["snapshot"],
    &["snapshot-merge"],
    &["snapshot-delete", "-u", SHOT],
    &["snapshot-switch", "-u", SHOT],
    &["check"],
];
/// A snapshot of the archives' disks.
const SHOT: &str = "{11111111-1111-4111-8111-111111111111}";

/// `ploop` at work on a disk.
struct Tool(Child);

impl Tool {
    fn start(command: &[&str], descriptor: &Path) -> Self {
        let mut tool = Command::new("ploop");
        tool.args(command).arg(descriptor).stdin(Stdio::null());
        let tool = tool.stdout(Stdio::null()).stderr(Stdio::null());
        Self(tool.spawn().unwrap())
    }

    /// Whether it waits for a lock of a file.
    ///
    /// Documentation/filesystems/locks.rst, fs/locks.c (Linux 6.18): `4: -> FLOCK ADVISORY WRITE
    /// PID MAJOR:MINOR:INODE 0 EOF` is somebody who waits for lock 4.
    fn waits_for(&self, file: &Path) -> bool {
        let pid = self.0.id().to_string();
        let inode = format!(":{}", fs::metadata(file).unwrap().ino());
        let locks = fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            words.get(1..3) == Some(&["->", "FLOCK"])
                && words[3..].contains(&pid.as_str())
                && words.iter().any(|word| word.ends_with(&inode))
        })
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits for its end; whether that was a good one.
    fn end(mut self) -> bool {
        assert!(eventually(|| !self.is_running()), "it does not end");
        self.0.wait().unwrap().success()
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn root_ploop_keeps_away_from_an_attached_disk() {
    let programs = ["tar", "gzip", "mkfs.ext4", "ploop"];
    if !requires_root() || !programs.into_iter().all(requires_program) {
        return;
    }
    let location = MountedFs::new("ext4").unwrap();
    let disks = Disks::open(location.path(), &[]);
    let descriptor = disks.file(NAME).join("DiskDescriptor.xml");
    let archives = ["version-1", "version-2"].into_iter();
    for (archive, command) in archives.flat_map(|archive| COMMANDS.map(|words| (archive, words))) {
        let place = format!("{command:?} of {archive}");
        unpack(&disks, archive);
        // On its own it waits for nobody. New images of version 2 it makes only where the kernel has
        // a ploop driver.
        let can = Tool::start(command, &descriptor).end();
        let makes_image = matches!(command[0], "snapshot" | "snapshot-switch");
        assert!(can || archive == "version-2" && makes_image, "{place}");
        disks.drop(NAME).unwrap();
        unpack(&disks, archive);
        let attached = disks.driver.attach(&volume(NAME), false).unwrap();
        let device = fs::File::options().write(true).open(attached.device);
        // Space that the file system does not use.
        device.unwrap().write_all_at(&[7; 4096], 13 << 20).unwrap();
        let stored = fs::read(&descriptor).unwrap();
        let top = disks
            .disk(NAME)
            .descriptor()
            .file(Guid::TOP)
            .unwrap()
            .to_owned();
        let mark = || fs::read(disks.file(NAME).join(&top)).unwrap()[44..48].to_owned();
        assert_eq!(mark(), b"Ynot");
        let mut tool = Tool::start(command, &descriptor);
        let lock = descriptor.with_extension("xml.lck");
        let met = || tool.waits_for(&lock) || !tool.is_running();
        assert!(eventually(met), "{place}");
        assert!(tool.is_running() && tool.waits_for(&lock), "{place}");
        assert_eq!(fs::read(&descriptor).unwrap(), stored, "{place}");
        assert_eq!(mark(), b"Ynot", "{place}");
        assert!(eventually(|| disks.driver.detach(&volume(NAME)).is_ok()));
        // It has what it waited for, and finds all that was written.
        assert_eq!(tool.end(), can, "{place}");
        let is_changed = fs::read(&descriptor).unwrap() != stored;
        assert_eq!(is_changed, can && command != ["check"], "{place}");
        if !is_changed || !command.contains(&"snapshot-switch") {
            assert_eq!(disks.read(NAME, 14 * MIB, 4096), [7; 4096], "{place}");
        }
        assert_eq!(disks.check(&Repair::Nothing), [], "{place}");
        disks.drop(NAME).unwrap();
    }
    assert!(eventually(|| block_servers_beneath(&disks.path).is_empty()));
}
