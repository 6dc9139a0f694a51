// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes of a thin pool, by the driver alone.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{LEN, MIB, Thins};
use mosaic_core::volume::{Kind, Lifetime, MountSource};
use mosaic_core::{Driver, ErrorKind, VolumeName};
use mosaic_tests::{eventually, requires_program, requires_thin_pools, scratch, volume};

#[test]
fn root_a_volume_is_made_used_cloned_and_dropped() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_fs("a", "ext4", 64 * MIB).unwrap();
    let found = thins.find("a").unwrap();
    assert_eq!(found.size.unwrap().0, 64 * MIB);
    assert!(matches!(&found.kind, Kind::Fs { fs: Some(fs), .. } if fs == "ext4"));
    assert_eq!(found.attachment, None);
    let mounted = thins.mount("a", "").unwrap();
    std::fs::write(mounted.file("file"), "kept").unwrap();
    let attachment = thins.attachment("a").unwrap();
    assert_eq!(attachment.lifetime, Lifetime::Mount);
    assert_eq!(attachment.device, mounted.device);
    // Written, not synced: the clone has it all the same.
    thins.clone_volume("a", "b", Some(96 * MIB)).unwrap();
    assert_eq!(thins.find("b").unwrap().origin.as_deref(), Some("a"));
    let error = thins.drop_volume("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(
        error.chain().contains(mounted.at.to_str().unwrap()),
        "{}",
        error.chain()
    );
    mounted.umount();
    thins.drop_volume("a").unwrap();
    assert_eq!(thins.names(), ["b"]);
    let mounted = thins.mount("b", "").unwrap();
    assert_eq!(
        std::fs::read_to_string(mounted.file("file")).unwrap(),
        "kept"
    );
    let size = rustix::fs::statvfs(&mounted.at).unwrap();
    let size = size.f_blocks * size.f_frsize;
    assert!(size > 80 * MIB, "{size}");
    mounted.umount();
    assert!(eventually(|| thins.attachment("b").is_none()));
    thins.drop_volume("b").unwrap();
    assert_eq!(thins.names(), [""; 0]);
    let catalog = format!("{}-mosaic-catalog", thins.pool.name());
    assert_eq!(thins.pool.devices().unwrap(), [catalog]);
    thins.pool.deactivate().unwrap();
    thins.pool.check().unwrap();
}

#[test]
fn root_a_disk_keeps_what_is_written_to_it_and_a_clone_its_own() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", 8 * MIB).unwrap();
    let found = thins.find("a").unwrap();
    assert_eq!(found.kind, Kind::Disk);
    assert_eq!(found.used.unwrap().0, 0);
    let device = thins.attach("a").unwrap().device;
    std::fs::write(&device, vec![1; LEN]).unwrap();
    thins.clone_volume("a", "b", None).unwrap();
    assert!(
        thins
            .said
            .lines()
            .iter()
            .any(|line| line.contains("power cut"))
    );
    std::fs::write(&device, vec![2; LEN]).unwrap();
    thins.detach("a").unwrap();
    let clone = thins.attach("b").unwrap().device;
    let bytes = std::fs::read(&clone).unwrap();
    assert_eq!(bytes.len() as u64, 8 * MIB);
    // Attached, not mounted: nobody could be asked to flush. What there is, is of one instant.
    assert!(bytes[..LEN].iter().all(|byte| *byte <= 1));
    assert!(bytes[LEN..].iter().all(|byte| *byte == 0));
    thins.detach("b").unwrap();
    thins.drop_volume("a").unwrap();
    assert_eq!(thins.find("b").unwrap().origin, None);
    let error = thins.mount_source("b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn root_sizes_change_in_use_and_shrink_only_at_rest() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", 8 * MIB).unwrap();
    let device = thins.attach("a").unwrap().device;
    std::fs::write(&device, vec![1; 8 * LEN]).unwrap();
    let size = || std::fs::read(&device).unwrap().len() as u64;
    thins.resize("a", 16 * MIB).unwrap();
    assert_eq!(size(), 16 * MIB);
    let error = thins.resize("a", 4 * MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    thins.detach("a").unwrap();
    let used = || thins.find("a").unwrap().used.unwrap().0;
    assert_eq!(used(), 8 * MIB);
    thins.resize("a", 4 * MIB).unwrap();
    // The tail is given back, so that it reads as zeroes when the volume grows again.
    assert_eq!(used(), 4 * MIB);
    thins.resize("a", 8 * MIB).unwrap();
    thins.attach("a").unwrap();
    let bytes = std::fs::read(&device).unwrap();
    assert_eq!(bytes.len() as u64, 8 * MIB);
    assert!(bytes[..4 * LEN].iter().all(|byte| *byte == 1));
    assert!(bytes[4 * LEN..].iter().all(|byte| *byte == 0));
    thins.detach("a").unwrap();
}

#[test]
fn root_a_name_is_given_once_and_a_volume_in_use_can_have_another() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a/b", MIB).unwrap();
    for name in ["a", "a/b", "a/b/c"] {
        let error = thins.create_disk(name, MIB).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists, "{name}");
        assert!(error.chain().contains("a/b"), "{}", error.chain());
    }
    let device = thins.attach("a/b").unwrap().device;
    let driver = &thins.driver;
    let (from, to) = (
        volume("a/b"),
        VolumeName::with_stored("web", "w/web").unwrap(),
    );
    driver.recover().unwrap();
    driver.rename(&from, &to).unwrap();
    let found = thins.find("w/web").unwrap();
    assert_eq!(found.user.as_deref(), Some("web"));
    assert_eq!(found.attachment.unwrap().device, device);
    thins.create_disk("a", MIB).unwrap();
    assert_eq!(
        driver.rename(&volume("a"), &to).unwrap_err().kind(),
        ErrorKind::Exists
    );
    thins.detach("w/web").unwrap();
    assert_eq!(thins.names(), ["a", "w/web"]);
    let missing = driver.drop_volume(&volume("x"), &scratch());
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn root_every_file_system_is_made_cloned_in_use_and_grown() {
    if !requires_thin_pools() {
        return;
    }
    for fs in ["ext4", "xfs", "btrfs"] {
        if !requires_program(&format!("mkfs.{fs}")) {
            continue;
        }
        // xfs makes none below 300 MiB; blocks are taken for what is written only.
        let thins = Thins::new();
        thins.create_fs("a", fs, 320 * MIB).unwrap();
        let one = thins.mount("a", "").unwrap();
        std::fs::write(one.file("file"), fs).unwrap();
        thins.clone_volume("a", "b", Some(480 * MIB)).unwrap();
        // Both at once: the clone's file system has a UUID of its own.
        let two = thins.mount("b", "").unwrap();
        assert_eq!(std::fs::read_to_string(two.file("file")).unwrap(), fs);
        std::fs::write(two.file("file"), "other").unwrap();
        assert_eq!(std::fs::read_to_string(one.file("file")).unwrap(), fs);
        let stat = rustix::fs::statvfs(&two.at).unwrap();
        assert!(stat.f_blocks * stat.f_frsize > 400 * MIB, "{fs}");
        two.umount();
        one.umount();
    }
}

#[test]
fn root_a_clone_of_what_is_being_written_is_of_one_instant() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_fs("a", "ext4", 64 * MIB).unwrap();
    let mounted = thins.mount("a", "").unwrap();
    let files = ["first", "second"].map(|name| File::create(mounted.file(name)).unwrap());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The second is never ahead of the first.
        scope.spawn(|| {
            for count in 1_u64.. {
                for file in &files {
                    file.write_all_at(&count.to_le_bytes(), 0).unwrap();
                    file.sync_all().unwrap();
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let cloned: Vec<_> = (0..5)
            .map(|n| thins.clone_volume("a", &format!("c{n}"), None))
            .collect();
        stop.store(true, Ordering::Relaxed);
        cloned.into_iter().for_each(Result::unwrap);
    });
    drop(files);
    mounted.umount();
    for n in 0..5 {
        let mounted = thins.mount(&format!("c{n}"), "ro").unwrap();
        let read = |name: &str| {
            let bytes = std::fs::read(mounted.file(name)).unwrap();
            bytes.try_into().map_or(0, u64::from_le_bytes)
        };
        let (first, second) = (read("first"), read("second"));
        assert!(first == second || first == second + 1, "{first}, {second}");
        mounted.umount();
    }
}

#[test]
fn root_the_metadata_are_a_file_system_of_their_own() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    let metadata = thins.driver.metadata().unwrap();
    assert_eq!(metadata.size.unwrap().0, 64 * MIB);
    assert_eq!(metadata.attachment, None);
    let source = thins.driver.mount_source(None, false).unwrap();
    let MountSource::Device { path, handle } = source else {
        panic!("metadata of a pool are mounted by a device");
    };
    assert_eq!(
        thins.driver.metadata().unwrap().attachment.unwrap().device,
        path
    );
    assert_eq!(thins.names(), [""; 0]);
    drop(handle);
    assert!(eventually(|| thins
        .driver
        .metadata()
        .unwrap()
        .attachment
        .is_none()));
}

#[test]
fn root_a_volume_says_what_it_takes() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", 8 * MIB).unwrap();
    let device = thins.attach("a").unwrap().device;
    std::fs::write(&device, vec![1; 2 * LEN]).unwrap();
    File::open(&device).unwrap().sync_all().unwrap();
    thins.detach("a").unwrap();
    thins.clone_volume("a", "b", None).unwrap();
    for volume in thins.driver.list().unwrap() {
        assert_eq!(volume.used.unwrap().0, 2 * MIB, "{volume:?}");
        assert_eq!(volume.size.unwrap().0, 8 * MIB);
        let fact = |name: &str| volume.facts.iter().any(|(fact, _)| fact == name);
        assert!(fact("thin id") && fact("created"), "{volume:?}");
    }
    let space = thins.driver.space().unwrap();
    let classes: Vec<&str> = space.iter().map(|space| space.class.as_str()).collect();
    assert_eq!(classes, ["data", "metadata"]);
    assert!(
        space
            .iter()
            .all(|s| s.used.0 > 0 && s.free.0 < s.total.0 - s.used.0)
    );
    let about = thins.driver.about().unwrap();
    let fact = |name: &str| {
        let found = about.facts.iter().find(|(fact, _)| fact == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    assert_eq!(fact("pool"), thins.pool.name());
    assert_eq!(fact("mode"), "rw");
    assert_eq!(fact("needs check"), "no");
    assert_eq!(fact("data block"), "64 KiB");
    assert_eq!(
        fact("data device"),
        thins.pool.data().device().to_str().unwrap()
    );
    assert_eq!(about.notes, [""; 0]);
}
