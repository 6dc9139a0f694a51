// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes in use: shown, cloned and grown meanwhile, and refused to whoever would take them away.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mosaic_core::finding::Repair;
use mosaic_core::volume::{Lifetime, MountSource};
use mosaic_core::{Driver, ErrorKind};
use mosaic_tests::{
    MountedFs, block_servers_beneath, eventually, requires_program, requires_root, run, stdout_of,
};

use super::common::{Disks, MIB, disks, volume};

fn attach(disks: &Disks, name: &str) -> File {
    let attached = disks.driver.attach(&volume(name), false).unwrap();
    assert_eq!(attached.lifetime, Lifetime::Explicit);
    let shown = disks.find(name).unwrap().attachment.unwrap();
    assert_eq!(shown, attached);
    File::options()
        .read(true)
        .write(true)
        .open(attached.device)
        .unwrap()
}

fn detach(disks: &Disks, name: &str) {
    assert!(eventually(|| disks.driver.detach(&volume(name)).is_ok()));
    assert!(disks.find(name).unwrap().attachment.is_none());
}

fn assert_nothing_left(disks: &Disks) {
    assert!(eventually(|| block_servers_beneath(&disks.path).is_empty()));
    assert!(disks.leftovers().is_empty());
}

fn read(device: &File, at: u64, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0xee; bytes];
    device.read_exact_at(&mut buffer, at).unwrap();
    buffer
}

#[test]
fn root_an_attached_disk_is_cloned_and_grown_and_not_taken_away() {
    for fs in ["ext4", "xfs"] {
        if !requires_root() || !requires_program(&format!("mkfs.{fs}")) {
            return;
        }
        let location = MountedFs::new(fs).unwrap();
        let disks = Disks::open(location.path(), &[]);
        disks.create_disk("a", 8 * MIB).unwrap();
        let device = attach(&disks, "a");
        device.write_all_at(&[1; 4096], MIB).unwrap();
        device.sync_all().unwrap();
        disks.clone("a", "b", None).unwrap();
        disks.assert_warned("power cut");
        assert_eq!(disks.read("b", MIB, 4096), [1; 4096]);
        device.write_all_at(&[2; 4096], MIB).unwrap();
        disks.resize("a", 16 * MIB).unwrap();
        device.write_all_at(&[3; 512], 16 * MIB - 512).unwrap();
        device.sync_all().unwrap();
        // Unchanged since: the clone is another disk all the same.
        disks.clone("a", "c", None).unwrap();
        assert_eq!(disks.read("c", MIB, 4096), [2; 4096]);
        assert_eq!(disks.read("b", MIB, 4096), [1; 4096]);
        disks.clone("c", "d", Some(32 * MIB)).unwrap();
        let shown = disks.find("a").unwrap().attachment.unwrap().device;
        for error in [
            disks.drop("a").unwrap_err(),
            disks.rename("a", "x").unwrap_err(),
            disks.resize("a", 4 * MIB).unwrap_err(),
            disks.driver.attach(&volume("a"), false).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Busy, "{}", error.chain());
            assert!(
                error.chain().contains(shown.to_str().unwrap()),
                "{}",
                error.chain()
            );
        }
        assert_eq!(disks.check(&Repair::Usual), []);
        drop(device);
        detach(&disks, "a");
        assert_eq!(disks.read("a", 16 * MIB - 512, 512), [3; 512]);
        assert_eq!(disks.size("a"), 16 * MIB);
        assert_eq!(disks.check(&Repair::Nothing), []);
        for name in ["a", "b", "c", "d"] {
            disks.drop(name).unwrap();
        }
        assert_nothing_left(&disks);
    }
}

#[test]
fn root_a_clone_of_a_disk_in_use_can_be_used_beside_it() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let location = MountedFs::new("ext4").unwrap();
    let disks = Disks::open(location.path(), &[]);
    disks.create_disk("a", 8 * MIB).unwrap();
    let a = attach(&disks, "a");
    a.write_all_at(&[1; 512], 0).unwrap();
    a.sync_all().unwrap();
    disks.clone("a", "b", None).unwrap();
    let b = attach(&disks, "b");
    assert_eq!(read(&b, 0, 512), [1; 512]);
    a.write_all_at(&[2; 512], 0).unwrap();
    b.write_all_at(&[3; 512], 0).unwrap();
    disks.clone("b", "c", None).unwrap();
    a.sync_all().unwrap();
    b.sync_all().unwrap();
    drop((a, b));
    detach(&disks, "a");
    detach(&disks, "b");
    assert_eq!(disks.read("a", 0, 512), [2; 512]);
    assert_eq!(disks.read("b", 0, 512), [3; 512]);
    assert_eq!(disks.check(&Repair::Nothing), []);
    assert_nothing_left(&disks);
}

#[test]
fn root_the_partition_of_ploop_init_is_what_a_file_systems_device_shows() {
    if !requires_root() || !requires_program("mkfs.ext4") || !requires_program("mkfs.xfs") {
        return;
    }
    let location = MountedFs::new("xfs").unwrap();
    let disks = Disks::open(location.path(), &[("partition", "gpt")]);
    disks.create_fs("a", "ext4", 64 * MIB).unwrap();
    for name in ["a", "b"] {
        let source = disks
            .driver
            .mount_source(Some(&volume(name)), false)
            .unwrap();
        let MountSource::Device { path, handle } = source else {
            panic!("a disk is mounted by a device");
        };
        let size = stdout_of("blockdev", &["--getsize64", path.to_str().unwrap()]).unwrap();
        assert_eq!(size.trim(), (62 * MIB).to_string());
        run("e2fsck", &["-fn", path.to_str().unwrap()]).unwrap();
        drop(handle);
        assert!(eventually(|| disks
            .find(name)
            .unwrap()
            .attachment
            .is_none()));
        if name == "a" {
            disks.clone("a", "b", None).unwrap();
        }
    }
    let uuid = |name: &str| disks.read(name, MIB + 1024 + 0x68, 16);
    assert_ne!(uuid("a"), uuid("b"));
    // A disk is shown whole.
    disks.label("b");
    let device = attach(&disks, "b");
    assert_eq!(read(&device, 512, 8), b"EFI PART");
    drop(device);
    detach(&disks, "b");
    assert_nothing_left(&disks);
}

#[test]
fn root_a_disk_that_another_program_has_is_not_attached() {
    if !requires_root() || !requires_program("qemu-io") {
        return;
    }
    let (_scratch, disks) = disks("qemu", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    // And the other way round.
    let device = attach(&disks, "a");
    let image = disks.file("a/root.hds");
    let command = [
        "-f",
        "parallels",
        "-c",
        "write 0 512",
        image.to_str().unwrap(),
    ];
    assert!(stdout_of("qemu-io", &command).is_err());
    drop(device);
    detach(&disks, "a");
    stdout_of("qemu-io", &command).unwrap();
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let mut sleep = std::process::Command::new("sleep");
    let mut holder = sleep.arg("1000").stdin(file).spawn().unwrap();
    let error = disks.driver.attach(&volume("a"), false);
    let word = format!("pid {}", holder.id());
    holder.kill().unwrap();
    holder.wait().unwrap();
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.chain().contains(&word), "{}", error.chain());
    assert!(Path::new(&image).exists());
    assert_nothing_left(&disks);
}

/// What is attached not to be written gets no delta for each clone.
#[test]
fn root_a_disk_that_is_only_read_is_cloned_from_the_snapshot_that_it_has() {
    if !requires_root() {
        return;
    }
    let (_scratch, disks) = disks("read-only", &[]);
    disks.create_disk("a", 8 * MIB).unwrap();
    disks.write("a", 0, b"here");
    disks.clone("a", "b", None).unwrap();
    let before = disks.disk("a").descriptor().clone();
    disks.driver.attach(&volume("a"), true).unwrap();
    for name in ["c", "d"] {
        disks.clone("a", name, None).unwrap();
        assert_eq!(disks.disk("a").descriptor(), &before, "{name}");
        assert_eq!(disks.read(name, 0, 4), b"here", "{name}");
    }
    detach(&disks, "a");
    // One that has something gets one, and the next clone no other.
    disks.write("a", 0, b"more");
    disks.driver.attach(&volume("a"), true).unwrap();
    for name in ["e", "f"] {
        disks.clone("a", name, None).unwrap();
        assert_eq!(disks.disk("a").descriptor().images().len(), 3, "{name}");
        assert_eq!(disks.read(name, 0, 4), b"more", "{name}");
    }
    detach(&disks, "a");
    assert_eq!(disks.check(&Repair::Nothing), []);
    assert_nothing_left(&disks);
}

/// An open of a loop device keeps its owner from releasing it. Other programs on this machine may look
/// at it meanwhile, but not in each of many rounds.
#[test]
fn root_loop_devices_of_others_are_not_opened() {
    use rustix::fs::inotify;
    if !requires_root() {
        return;
    }
    let (_scratch, disks) = disks("others", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    super::foreign_disks::raw(&disks, "raw", &[1; 1 << 20]);
    disks.label("raw");
    let theirs = mosaic_tests::LoopFile::new(4 * MIB).unwrap();
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, theirs.device(), inotify::WatchFlags::OPEN).unwrap();
    let was_opened = || {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&watch, &mut buffer);
        std::iter::from_fn(|| events.next().ok().map(drop)).count() > 0
    };
    drop(File::open(theirs.device()).unwrap());
    assert!(was_opened());
    let round = || {
        for name in ["a", "raw"] {
            attach(&disks, name);
            assert_eq!(disks.names().len(), 2);
            assert!(disks.find("raw").is_some());
            detach(&disks, name);
        }
        !was_opened()
    };
    let is_left_alone = (0..10).any(|_| round());
    assert!(is_left_alone, "{:?} was opened each time", theirs.device());
}

/// udev opens each new device, and each that was written, for a moment.
#[test]
fn root_a_device_that_is_still_looked_at_after_the_last_mount_is_waited_for() {
    if !requires_root() {
        return;
    }
    let (_scratch, disks) = disks("udev", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    let fs = mosaic_core::volume::NewKind::Fs(Some("ext4".into()));
    mosaic_core::label::set_kind(File::open(disks.file("a")).unwrap(), &fs).unwrap();
    let source = disks
        .driver
        .mount_source(Some(&volume("a")), false)
        .unwrap();
    let MountSource::Device { path, handle } = source else {
        panic!("a disk is mounted by a device");
    };
    let mut looks = {
        let mut sleep = std::process::Command::new("sleep");
        sleep.arg("1").stdin(File::open(&path).unwrap());
        sleep.spawn().unwrap()
    };
    drop(handle);
    disks.rename("a", "b").unwrap();
    assert!(looks.wait().unwrap().success());
    assert_nothing_left(&disks);
}

#[test]
fn root_a_disk_is_read_where_nothing_was_ever_written() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let location = MountedFs::new("ext4").unwrap();
    let disks = Disks::open(location.path(), &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    disks.write("a", 0, b"here");
    std::fs::remove_dir_all(disks.file(".mosaic")).unwrap();
    let remount = |how: &str| {
        let path = location.path().to_str().unwrap();
        run("mount", &["-o", &format!("remount,{how}"), path]).unwrap();
    };
    remount("ro");
    let attached = disks.driver.attach(&volume("a"), true);
    let found = attached.map(|attached| read(&File::open(attached.device).unwrap(), 0, 4));
    let detached = disks.driver.detach(&volume("a"));
    let refused = disks.driver.attach(&volume("a"), false);
    remount("rw");
    assert_eq!(found.unwrap(), b"here");
    detached.unwrap();
    assert!(refused.is_err());
    assert!(!disks.file(".mosaic").exists());
}
