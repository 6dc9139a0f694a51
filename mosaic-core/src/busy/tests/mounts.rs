// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts in our own and in other mount namespaces.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::linux::fs::MetadataExt;
use std::path::Path;

use mosaic_tests::{LoopFile, MountedFs, Scratch, requires_program, requires_root, run};

use super::{Running, a_new_namespace, mounted_in};
use crate::busy::{Use, mounts_of_device, mounts_of_directory, openers_of_device};
use crate::mounts::device::MountDevices;
use crate::mounts::{MountTable, is_mount_of_device};

fn can_run() -> bool {
    requires_root() && requires_program("unshare")
}

fn uses_of(volume: &Path) -> Vec<Use> {
    let volume = File::open(volume).unwrap();
    let found = mounts_of_directory(volume.as_fd()).unwrap();
    assert_eq!(found.unseen, 0);
    found.uses
}

fn here(at: &Path) -> Use {
    Use::Mount {
        at: at.to_owned(),
        pid: None,
        command: None,
    }
}

#[test]
fn root_a_bind_mount_in_another_namespace_is_named_with_its_process() {
    if !can_run() {
        return;
    }
    let scratch = Scratch::new("busy").unwrap();
    let folder = scratch.path().display();
    let volume = scratch.folder("a").unwrap();
    let at = scratch.folder("at here").unwrap();
    assert_eq!(uses_of(&volume), []);
    let process = Running::in_namespace(
        scratch.path(),
        &format!("mount --bind {folder}/a '{folder}/at here'"),
    );
    assert_eq!(uses_of(&volume), [mounted_in(&process, &at)]);
    drop(process);
    assert!(mosaic_tests::eventually(|| uses_of(&volume).is_empty()));
}

#[test]
fn root_neighbours_parents_and_the_whole_location_do_not_count() {
    if !can_run() {
        return;
    }
    let scratch = Scratch::new("busy").unwrap();
    let folder = scratch.path().display();
    for name in ["a", "ab", "a b", "at", "at2"] {
        scratch.folder(name).unwrap();
    }
    let process = Running::in_namespace(
        scratch.path(),
        &format!("mount --bind {folder}/ab {folder}/at; mount --bind {folder} {folder}/at2"),
    );
    assert_eq!(uses_of(&scratch.path().join("a")), []);
    assert_eq!(uses_of(&scratch.path().join("a b")), []);
    let expected = [mounted_in(&process, scratch.path().join("at"))];
    assert_eq!(uses_of(&scratch.path().join("ab")), expected);
}

#[test]
fn root_what_is_mounted_on_or_in_a_volume_counts_in_any_namespace() {
    if !can_run() {
        return;
    }
    let scratch = Scratch::new("busy").unwrap();
    let volume = scratch.folder("a").unwrap();
    let inner = volume.join("x/y");
    fs::create_dir_all(&inner).unwrap();
    run("mount", &["-t", "tmpfs", "none", inner.to_str().unwrap()]).unwrap();
    // Another test's namespace may have a copy for a moment.
    let expected = [here(&inner)];
    let is = || uses_of(&volume) == expected;
    assert!(mosaic_tests::eventually(is), "{:?}", uses_of(&volume));
    run("umount", &[&inner]).unwrap();
    let process = Running::in_namespace(
        scratch.path(),
        &format!("mount -t tmpfs none {}", inner.display()),
    );
    assert_eq!(uses_of(&volume), [mounted_in(&process, &inner)]);
    drop(process);
    // On top of the volume itself, seen from a place that the mount does not hide.
    let process = Running::in_namespace(
        scratch.path(),
        &format!("mount -t tmpfs none {}", volume.display()),
    );
    assert_eq!(uses_of(&volume), [mounted_in(&process, &volume)]);
}

#[test]
fn root_a_part_of_a_volume_as_the_root_of_a_container_counts() {
    if !can_run() || !requires_program("pivot_root") {
        return;
    }
    let scratch = Scratch::new("busy").unwrap();
    let location = scratch.folder("location").unwrap();
    run(
        "mount",
        &["-t", "tmpfs", "none", location.to_str().unwrap()],
    )
    .unwrap();
    let tree = location.join("ct/rootfs");
    fs::create_dir_all(tree.join("bin")).unwrap();
    // The root has nothing but a shell and what it needs; afterwards nothing else is mounted.
    let process = Running::in_namespace(
        scratch.path(),
        &format!(
            "cd {tree}; mkdir usr lib lib64 old proc; mount --bind {tree} {tree}; cd {tree}
         for d in usr bin lib lib64; do mount --bind -o ro /$d $d; done
         pivot_root . old; cd /; mount -t proc none /proc; umount -l /old",
            tree = tree.display()
        ),
    );
    let uses = uses_of(&location.join("ct"));
    assert!(uses.contains(&mounted_in(&process, "/")), "{uses:?}");
    assert!(uses.contains(&mounted_in(&process, "/usr")), "{uses:?}");
}

#[test]
fn root_a_namespace_without_processes_counts() {
    if !can_run() {
        return;
    }
    let scratch = Scratch::new("busy").unwrap();
    let (volume, at) = (scratch.folder("a").unwrap(), scratch.folder("at").unwrap());
    let pins = scratch.folder("pins").unwrap();
    run("mount", &["-t", "tmpfs", "none", pins.to_str().unwrap()]).unwrap();
    run("mount", &["--make-private", pins.to_str().unwrap()]).unwrap();
    let pin = pins.join("pin");
    File::create_new(&pin).unwrap();
    let script = format!("mount --bind {} {}", volume.display(), at.display());
    let mount = format!("--mount={}", pin.display());
    let _alone = a_new_namespace();
    run("unshare", &[&mount, "sh", "-c", &script]).unwrap();
    let namespace = fs::metadata(&pin).unwrap().st_ino();
    assert_eq!(uses_of(&volume), [Use::DistantMount { at, namespace }]);
    // A process that another test is just starting may have a descriptor of ours for a moment.
    assert!(mosaic_tests::eventually(|| run("umount", &[&pin]).is_ok()));
    assert!(mosaic_tests::eventually(|| uses_of(&volume).is_empty()));
}

#[test]
fn root_a_namespace_that_only_a_descriptor_keeps_counts() {
    if !can_run() {
        return;
    }
    let scratch = Scratch::new("busy").unwrap();
    let (volume, at) = (scratch.folder("a").unwrap(), scratch.folder("at").unwrap());
    let process = Running::in_namespace(
        scratch.path(),
        &format!("mount --bind {0} {1}", volume.display(), at.display()),
    );
    let namespace = File::open(format!("/proc/{}/ns/mnt", process.pid())).unwrap();
    drop(process);
    let uses = uses_of(&volume);
    assert!(matches!(uses[..], [Use::DistantMount { .. }]), "{uses:?}");
    drop(namespace);
    // Another test may be looking at it, or starting a process with our descriptors.
    assert!(mosaic_tests::eventually(|| uses_of(&volume).is_empty()));
}

#[test]
fn root_subvolumes_of_btrfs_are_told_apart_by_their_path() {
    if !can_run() || !requires_program("mkfs.btrfs") {
        return;
    }
    let mounted = MountedFs::new("btrfs").unwrap();
    let (one, two) = (mounted.path().join("one"), mounted.path().join("two"));
    for subvolume in [&one, &two] {
        run(
            "btrfs",
            &["subvolume", "create", subvolume.to_str().unwrap()],
        )
        .unwrap();
    }
    let at = mounted.folder_beside("at").unwrap();
    // By the subvolume's name, as a container manager or fstab would.
    let process = Running::in_namespace(
        at.parent().unwrap(),
        &format!(
            "mount -t btrfs -o subvol=one {} {}",
            mounted.device().display(),
            at.display()
        ),
    );
    assert_eq!(uses_of(&one), [mounted_in(&process, &at)]);
    assert_eq!(uses_of(&two), []);
}

#[test]
fn root_all_devices_of_a_btrfs_are_known_though_its_source_is_one() {
    if !can_run() || !requires_program("mkfs.btrfs") {
        return;
    }
    let devices = [
        LoopFile::new(256 << 20).unwrap(),
        LoopFile::new(256 << 20).unwrap(),
    ];
    let paths = devices.each_ref().map(|d| d.device().to_str().unwrap());
    run("mkfs.btrfs", &["-q", paths[0], paths[1]]).unwrap();
    let scratch = Scratch::new("btrfs").unwrap();
    let at = scratch.folder("at").unwrap();
    run("mount", &[paths[0], at.to_str().unwrap()]).unwrap();
    for device in &devices {
        let uses = mounts_of_device(device.device()).unwrap().uses;
        assert!(uses.contains(&here(&at)), "{uses:?}");
        assert!(is_mount_of_device(&at, device.device()).unwrap());
    }
    // From where the source's path means nothing, the file system is asked.
    let entries = MountTable::read().unwrap();
    let entry = entries
        .entries()
        .iter()
        .rfind(|e| e.mountpoint == at)
        .unwrap();
    let known = MountDevices::default().of(entry, Some(Path::new("/")));
    let mut astray = entry.clone();
    astray.source = "/dev/nonesuch".into();
    let mut asked = MountDevices::default().of(&astray, Some(Path::new("/")));
    asked.sort_unstable();
    assert_eq!(known.len(), 2);
    assert!(known.iter().all(|device| asked.contains(device)));
    assert!(mosaic_tests::eventually(|| run("umount", &[&at]).is_ok()));
}

#[test]
fn root_mounts_of_a_device_are_found_in_all_namespaces() {
    for fs in ["ext4", "xfs", "btrfs"] {
        if !can_run() || !requires_program(&format!("mkfs.{fs}")) {
            return;
        }
        let mounted = MountedFs::new(fs).unwrap();
        let at = mounted.folder_beside("at").unwrap();
        let other = LoopFile::new(1 << 20).unwrap();
        let process = Running::in_namespace(
            at.parent().unwrap(),
            &format!(
                "umount {}; mount {} {}",
                mounted.path().display(),
                mounted.device().display(),
                at.display()
            ),
        );
        // Another test's namespace may have a copy for a moment, its losetup look at the device.
        let found = || openers_of_device(mounted.device()).unwrap().uses;
        let only = |expected: &[Use]| mosaic_tests::eventually(|| found() == expected);
        let expected = [here(mounted.path()), mounted_in(&process, &at)];
        assert!(only(&expected), "{fs}: {:?}", found());
        assert!(mounts_of_device(other.device()).unwrap().is_empty());
        mounted.umount().unwrap();
        assert!(only(&[mounted_in(&process, &at)]), "{fs}: {:?}", found());
        drop(process);
        assert!(only(&[]), "{fs}: {:?}", found());
    }
}

#[test]
fn root_a_file_system_in_memory_that_names_a_device_is_no_mount_of_it() {
    if !can_run() {
        return;
    }
    let device = LoopFile::new(1 << 20).unwrap();
    let at = device.folder().join("at");
    fs::create_dir(&at).unwrap();
    let (source, at) = (device.device().to_str().unwrap(), at.to_str().unwrap());
    run("mount", &["-t", "tmpfs", source, at]).unwrap();
    let uses = mounts_of_device(device.device()).unwrap().uses;
    let table = MountTable::read().unwrap();
    let seen = table.of_device(device.device()).unwrap();
    run("umount", &[at]).unwrap();
    assert_eq!((uses, seen), (vec![], vec![]));
}
