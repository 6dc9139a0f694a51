// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attach and detach, and what they leave: the data, and nothing else.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use mosaic_core::ErrorKind;
use mosaic_core::loopdev::{LoopDevice, sysfs};
use mosaic_core::volume::Lifetime;
use mosaic_ploop::attachment::{self, How};
use mosaic_ploop::format::disk::Kind;
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::header::Version;
use mosaic_ploop::format::units::{DiskOffset, Sectors};
use mosaic_ploop::locks::{Hold, ImageLock};
use mosaic_tests::{eventually, requires_program, requires_root, requires_time, run};
use rustix::fs::OFlags;

use crate::site::{HOW, MIB, Site};

#[test]
fn root_what_is_written_to_the_device_is_in_the_disk() {
    if !requires_root() {
        return;
    }
    for (kind, cluster) in [
        (Kind::Expanded(Version::V2), 2048),
        (Kind::Expanded(Version::V1), 64),
        (Kind::Raw, 2048),
    ] {
        let site = Site::with("attach", 64, kind, cluster);
        let device = site.attach();
        assert_eq!(site.servers().len(), if kind == Kind::Raw { 0 } else { 2 });
        let again = attachment::attach(&site.host, &site.place(), &HOW).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Busy);
        assert!(again.chain().contains(device.to_str().unwrap()), "{again}");
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&device);
        let file = file.unwrap();
        let data: Vec<u8> = (0..3 * MIB).map(|n| (n % 251) as u8).collect();
        file.write_all_at(&data, 5 * MIB + 512).unwrap();
        file.sync_all().unwrap();
        drop(file);
        site.detach();
        site.assert_nothing_left();
        let disk = site.disk();
        let chain = disk.read(disk.descriptor().top()).unwrap();
        let mut found = vec![0; data.len()];
        chain.read(&mut found, DiskOffset(5 * MIB + 512)).unwrap();
        assert!(found == data);
        // Not marked in use.
        disk.write().unwrap().close().unwrap();
    }
}

#[test]
fn root_without_its_server_a_device_fails_at_once_and_the_next_attach_repairs() {
    if !requires_root() {
        return;
    }
    let site = Site::new("killed", 64);
    let device = site.attach();
    let attached = site.find().unwrap();
    assert!(attached.is_served(&site.place()).unwrap());
    let file = open(&device);
    file.write_all_at(&[1; 4096], MIB).unwrap();
    file.sync_all().unwrap();
    site.kill_servers();
    let failed = file.write_all_at(&[2; 4096], 9 * MIB);
    let failed = failed.and_then(|()| file.sync_all()).unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(5));
    drop(file);
    assert!(eventually(|| !attached.is_served(&site.place()).unwrap()));
    let refused = attached
        .grow(&site.host, &site.place(), Sectors(1 << 18))
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Io);
    site.detach();
    site.assert_nothing_left();
    let marked = site.disk().write().unwrap_err();
    assert_eq!(marked.kind(), ErrorKind::Busy, "{marked}");
    let device = site.attach();
    let mut found = [0; 4096];
    open(&device).read_exact_at(&mut found, MIB).unwrap();
    assert_eq!(found, [1; 4096]);
    site.detach();
    site.assert_nothing_left();
    site.disk().write().unwrap().close().unwrap();
}

#[test]
fn root_a_device_for_a_mount_goes_with_its_last_opener() {
    if !requires_root() {
        return;
    }
    let site = Site::new("autoclear", 64);
    let how = How {
        lifetime: Lifetime::Mount,
        ..HOW
    };
    let device = site.attach_how(&how);
    let attached = site.find().unwrap();
    assert!(attached.autoclear);
    let refused = attached.detach(&site.host, &site.place()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy);
    drop(device);
    attachment::await_closed(&site.host, &site.place()).unwrap();
    site.assert_nothing_left();
    site.disk().write().unwrap().close().unwrap();
}

#[test]
fn root_a_device_can_show_a_partition_and_refuse_writes() {
    if !requires_root() {
        return;
    }
    let site = Site::new("part", 64);
    let device = site.attach();
    open(&device).write_all_at(&[3; 512], MIB).unwrap();
    site.detach();
    let how = How {
        read_only: true,
        partition: Some(MIB),
        ..HOW
    };
    let refused = attachment::attach(&site.host, &site.place(), &how).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{}", refused.chain());
    site.assert_nothing_left();
    site.partition();
    let before = std::fs::read(site.volume().join("root.hds")).unwrap();
    let device = site.attach_how(&how);
    let attached = site.find().unwrap();
    assert!(attached.read_only);
    assert_eq!(device.size().unwrap(), 62 * MIB);
    let file = File::open(device.path()).unwrap();
    let mut found = [0; 512];
    file.read_exact_at(&mut found, 0).unwrap();
    assert_eq!(found, [3; 512]);
    let written = File::options().write(true).open(device.path());
    let written = written.and_then(|file| file.write_all_at(&found, 0));
    assert!(written.is_err());
    drop((file, device));
    site.detach();
    let after = std::fs::read(site.volume().join("root.hds")).unwrap();
    assert!(before == after);
    site.assert_nothing_left();
}

#[test]
fn root_other_programs_and_a_server_keep_off_each_others_images() {
    if !requires_root() || !requires_program("qemu-img") {
        return;
    }
    let site = Site::new("qemu", 64);
    let image = site.volume().join("root.hds");
    let check = ["check", "-f", "parallels", image.to_str().unwrap()];
    run("qemu-img", &check).unwrap();
    let device = site.attach();
    let refused = run("qemu-img", &check).unwrap_err().to_string();
    assert!(refused.contains("lock"), "{refused}");
    drop(device);
    site.detach();
    let blocked = site.disk();
    let name = blocked
        .descriptor()
        .file(blocked.descriptor().top())
        .unwrap();
    let file = File::options()
        .read(true)
        .write(true)
        .open(site.volume().join(name));
    let held = ImageLock::take(file.unwrap().into(), name, &Hold::WRITE).unwrap();
    site.assert_ours();
    drop(held);
    site.attach();
}

fn open(device: &Path) -> File {
    let file = File::options().read(true).write(true).open(device);
    file.unwrap()
}

/// Kills servers at more and more of the way through attach and detach: each is done or not, and what
/// comes next works.
#[test]
fn root_servers_killed_at_any_moment_of_attach_and_detach_leave_nothing() {
    if !requires_time() || !requires_root() {
        return;
    }
    let site = Site::new("any-moment", 64);
    let (mut attached, mut refused) = (0, 0);
    let before = nameless();
    let start = Instant::now();
    site.attach();
    let whole = start.elapsed();
    site.detach();
    for turn in 0..40 {
        let delay = whole * turn / 32;
        let hunt = |after: Duration| {
            std::thread::sleep(after);
            for pid in site.servers() {
                let _ = run("kill", &["-KILL", &pid.to_string()]);
            }
        };
        let done = std::thread::scope(|scope| {
            scope.spawn(|| hunt(delay));
            attachment::attach(&site.host, &site.place(), &HOW).map(drop)
        });
        match done {
            Ok(()) => {
                attached += 1;
                let attached = site.find().expect("it said so");
                std::thread::scope(|scope| {
                    scope.spawn(|| hunt(delay / 4));
                    // Without a server at its end nobody can say that all is well.
                    if let Err(error) = attached.detach(&site.host, &site.place()) {
                        assert_eq!(error.kind(), ErrorKind::Io, "{}", error.chain());
                    }
                });
            }
            Err(_) => refused += 1,
        }
        site.assert_nothing_left();
        let is_old = |number: &u32| before.contains(number);
        assert!(eventually(|| nameless().iter().all(is_old)));
    }
    assert!(
        attached > 0 && refused > 0,
        "{attached} attached, {refused} refused"
    );
    site.attach();
    site.detach();
    site.disk().write().unwrap().close().unwrap();
}

#[test]
fn root_a_server_is_not_asked_to_stop() {
    if !requires_root() {
        return;
    }
    let site = Site::new("asked", 64);
    let device = site.attach();
    let servers = site.servers();
    for signal in ["-TERM", "-INT", "-HUP"] {
        for pid in &servers {
            run("kill", &[signal, &pid.to_string()]).unwrap();
        }
    }
    let file = open(&device);
    file.write_all_at(&[5; 4096], MIB).unwrap();
    file.sync_all().unwrap();
    assert_eq!(site.servers(), servers);
}

#[test]
fn root_without_its_keeper_a_worker_goes_on_to_its_end() {
    if !requires_root() {
        return;
    }
    let site = Site::new("keeper", 64);
    let device = site.attach();
    let keeper = site.servers()[0];
    run("kill", &["-KILL", &keeper.to_string()]).unwrap();
    assert!(eventually(|| site.servers().len() == 1));
    open(&device).write_all_at(&[4; 4096], MIB).unwrap();
    site.detach();
    site.assert_nothing_left();
    site.disk().write().unwrap().close().unwrap();
}

/// Loop devices of which the kernel cannot say what they show.
fn nameless() -> Vec<u32> {
    let bound = sysfs::bound().unwrap().into_iter();
    let bound = bound.map(|shown| shown.number);
    let is_nameless = |number: &u32| {
        let device = LoopDevice::open(*number, OFlags::RDONLY);
        device.is_ok_and(|device| device.status().is_err())
    };
    bound.filter(is_nameless).collect()
}

#[test]
fn root_a_disk_freezes_and_grows_while_it_is_attached() {
    if !requires_root() {
        return;
    }
    let site = Site::new("grows", 64);
    let device = site.attach();
    let attached = site.find().unwrap();
    let file = open(&device);
    file.write_all_at(&[1; 8192], MIB).unwrap();
    file.sync_all().unwrap();
    let guid = |byte| Guid::from_random([byte; 16]);
    assert_eq!(
        attached.freeze(&site.host, &site.place(), guid(1)).unwrap(),
        guid(1)
    );
    // Nothing was written since: there is no need for another one.
    assert_eq!(
        attached.freeze(&site.host, &site.place(), guid(2)).unwrap(),
        guid(1)
    );
    file.write_all_at(&[2; 4096], MIB).unwrap();
    file.sync_all().unwrap();
    let size = Sectors(100 * MIB / 512);
    attached.grow(&site.host, &site.place(), size).unwrap();
    attached.grow(&site.host, &site.place(), size).unwrap();
    let smaller = attached
        .grow(&site.host, &site.place(), Sectors(MIB / 512))
        .unwrap_err();
    assert_eq!(smaller.kind(), ErrorKind::Invalid);
    file.write_all_at(&[3; 4096], 99 * MIB).unwrap();
    file.sync_all().unwrap();
    drop(file);
    site.detach();
    let disk = site.disk();
    let descriptor = disk.descriptor();
    assert_eq!((descriptor.shots().len(), descriptor.size()), (2, size));
    let read = |shot, at| {
        let mut found = [9; 8192];
        let chain = disk.read(shot).unwrap();
        chain.read(&mut found, DiskOffset(at)).unwrap();
        [found[0], found[4096]]
    };
    assert_eq!(read(guid(1), MIB), [1, 1]);
    assert_eq!(read(descriptor.top(), MIB), [2, 1]);
    assert_eq!(read(descriptor.top(), 99 * MIB), [3, 0]);
    site.assert_nothing_left();
}

/// Clones share what is beneath their tops, and each has a server that is content with that.
#[test]
fn root_disks_with_the_same_base_are_attached_at_once() {
    if !requires_root() {
        return;
    }
    let [one, other] = ["one", "other"].map(|name| Site::new(name, 64));
    let device = one.attach();
    let file = open(&device);
    file.write_all_at(&[1; 4096], MIB).unwrap();
    file.sync_all().unwrap();
    let frozen = one.find().unwrap();
    frozen
        .freeze(&one.host, &one.place(), Guid::from_random([1; 16]))
        .unwrap();
    for file in one.volume().read_dir().unwrap().flatten() {
        let name = file.file_name();
        let to = other.volume().join(&name);
        let _ = std::fs::remove_file(&to);
        match name == "root.hds" {
            true => std::fs::hard_link(file.path(), &to).unwrap(),
            false => drop(std::fs::copy(file.path(), &to).unwrap()),
        }
    }
    let device = other.attach();
    let mut found = [0; 4096];
    open(&device).read_exact_at(&mut found, MIB).unwrap();
    assert_eq!(found, [1; 4096]);
    open(&device).write_all_at(&[2; 4096], MIB).unwrap();
    drop(file);
    one.detach();
    let device = one.attach();
    open(&device).read_exact_at(&mut found, MIB).unwrap();
    assert_eq!(found, [1; 4096]);
}

/// A discard has to hide what is in the snapshot beneath, and is there to save space.
#[test]
fn root_what_is_discarded_reads_as_zeros_and_takes_no_space() {
    if !requires_root() || !requires_program("blkdiscard") {
        return;
    }
    let site = Site::new("discard", 64);
    let device = site.attach();
    let file = open(&device);
    file.write_all_at(&vec![1; 8 << 20], 8 * MIB).unwrap();
    file.sync_all().unwrap();
    drop(file);
    let taken = || {
        let files = site.volume().read_dir().unwrap().flatten();
        let blocks = files.map(|file| file.metadata().unwrap().blocks());
        blocks.sum::<u64>() * 512
    };
    let discard = |at: u64, bytes: u64| {
        let [at, bytes] = [at, bytes].map(|number| number.to_string());
        let device = device.to_str().unwrap();
        run("blkdiscard", &["-o", &at, "-l", &bytes, device]).unwrap();
    };
    let attached = site.find().unwrap();
    attached
        .freeze(&site.host, &site.place(), Guid::from_random([1; 16]))
        .unwrap();
    let before = taken();
    discard(9 * MIB, 4 * MIB);
    let mut found = vec![9; 8 << 20];
    open(&device).read_exact_at(&mut found, 8 * MIB).unwrap();
    let ones = |range: std::ops::Range<usize>| found[range].iter().filter(|b| **b == 1).count();
    assert_eq!(ones(0..8 << 20), 4 << 20);
    assert_eq!(ones(1 << 20..5 << 20), 0);
    open(&device).sync_all().unwrap();
    assert!(taken() < before + MIB, "{} of {before}", taken());
    site.detach();
    let disk = site.disk();
    let frozen = disk.read(Guid::from_random([1; 16])).unwrap();
    frozen.read(&mut found, DiskOffset(8 * MIB)).unwrap();
    assert!(found.iter().all(|byte| *byte == 1));
    assert!(site.disk().check(None).unwrap().is_clean());
}
