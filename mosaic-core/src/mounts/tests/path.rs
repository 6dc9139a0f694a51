// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paths to mount on and to unmount, and what is told about them.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn root_a_target_is_an_existing_directory_with_nothing_on_it() {
    if !requires_root() {
        return;
    }
    let scratch = scratch();
    let at = scratch.path().join("at");
    let refusal = |path: &Path| {
        let error = open_target(path).unwrap_err();
        (error.kind(), error.to_string())
    };
    assert_eq!(
        refusal(&scratch.path().join("absent")).0,
        ErrorKind::NotFound
    );
    assert_eq!(
        refusal(&scratch.path().join("v/file")).0,
        ErrorKind::Invalid
    );
    run("mount", &["-t", "tmpfs", "quelle", at.to_str().unwrap()]).unwrap();
    let (kind, text) = refusal(&at);
    assert_eq!(kind, ErrorKind::Busy);
    assert_eq!(
        text,
        format!("{at:?} is a mountpoint already: tmpfs on \"quelle\"")
    );
    assert_eq!(mountpoints_beneath(scratch.path()), [at]);
}

#[test]
fn root_of_two_that_found_the_target_free_one_gets_it() {
    if !requires_root() {
        return;
    }
    let scratch = scratch();
    let at = scratch.path().join("at");
    let volume = File::open(scratch.path().join("v")).unwrap();
    let [one, other] = [open_target(&at).unwrap(), open_target(&at).unwrap()];
    mount_directory(volume.as_fd(), &one, &options("")).unwrap();
    let error = mount_directory(volume.as_fd(), &other, &options("")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert_eq!(mountpoints_beneath(scratch.path()), paths(&[&at]));
    umount(&at).unwrap();
    fs::rename(&at, scratch.path().join("elsewhere")).unwrap();
    fs::create_dir(&at).unwrap();
    let error = mount_directory(volume.as_fd(), &other, &options("")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(mountpoints_beneath(scratch.path()).is_empty());
}

#[test]
fn root_a_mount_of_a_directory_is_told_from_others() {
    if !requires_root() {
        return;
    }
    let scratch = scratch();
    let at = scratch.path().join("at");
    let volume = File::open(scratch.path().join("v")).unwrap();
    let other = File::open(scratch.path()).unwrap();
    let is_mount = |path: &Path| is_mount_of_directory(path, volume.as_fd());
    assert!(!is_mount(&at).unwrap());
    // The directory itself is no mount of itself.
    assert!(!is_mount(&scratch.path().join("v")).unwrap());
    mount_volume(scratch.path(), "").unwrap();
    assert!(is_mount(&at).unwrap());
    assert!(!is_mount_of_directory(&at, other.as_fd()).unwrap());
    let table = MountTable::read().unwrap();
    assert_eq!(table.of_directory(volume.as_fd()).unwrap(), paths(&[&at]));
    assert!(table.of_directory(other.as_fd()).unwrap().is_empty());
    // What lies on top of it is what the path means, and what goes first.
    run("mount", &["-t", "tmpfs", "none", at.to_str().unwrap()]).unwrap();
    assert!(!is_mount(&at).unwrap());
    umount(&at).unwrap();
    assert!(is_mount(&at).unwrap());
    symlink(&at, scratch.path().join("link")).unwrap();
    assert_eq!(
        is_mount(&scratch.path().join("link")).unwrap_err().kind(),
        ErrorKind::Invalid
    );
    umount(&at).unwrap();
    assert_eq!(umount(&at).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(
        umount(&scratch.path().join("none")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn root_a_directory_with_odd_bytes_in_its_name_is_found() {
    if !requires_root() {
        return;
    }
    let scratch = scratch();
    let name = "a b\tc\nd\\e#\u{e4} (deleted)";
    let volume = scratch.folder(name).unwrap();
    let volume = File::open(volume).unwrap();
    let at = scratch.folder("at\n 2").unwrap();
    let target = open_target(&at).unwrap();
    mount_directory(volume.as_fd(), &target, &options("")).unwrap();
    let table = MountTable::read().unwrap();
    assert_eq!(table.of_directory(volume.as_fd()).unwrap(), paths(&[&at]));
    umount(&at).unwrap();
}

#[test]
fn a_removed_directory_has_no_place() {
    let scratch = Scratch::new("removed").unwrap();
    let path = scratch.folder("gone").unwrap();
    let dir = File::open(&path).unwrap();
    fs::remove_dir(&path).unwrap();
    let error = MountTable::read()
        .unwrap()
        .tree_path(dir.as_fd())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn root_busy_names_who_is_in_the_mount() {
    if !requires_root() {
        return;
    }
    let scratch = scratch();
    let at = scratch.path().join("at");
    fs::copy("/bin/sleep", scratch.path().join("v/sleep")).unwrap();
    mount_volume(scratch.path(), "").unwrap();
    let folder = at.to_str().unwrap();
    for (script, expected) in [
        (
            format!("cd {folder}; echo; read x"),
            "working directory of pid PID (sh)".to_owned(),
        ),
        (
            format!("exec 7<{folder}/file; echo; read x"),
            format!("{folder}/file open in pid PID (sh)"),
        ),
        (
            format!("echo; exec {folder}/sleep 1000"),
            "program of pid PID (sleep)".to_owned(),
        ),
    ] {
        let child = Running::start("sh", &["-c", &script]);
        let expected = expected.replace("PID", &child.pid().to_string());
        let named = mosaic_tests::eventually(|| {
            let uses = crate::busy::users_of_mount(entry(&at).id).unwrap();
            uses.describe() == format!("in use: {expected}")
        });
        let error = umount(&at).unwrap_err();
        drop(child);
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(named, "{error}");
        assert_eq!(
            error.to_string(),
            format!("cannot unmount {at:?}: in use: {expected}")
        );
    }
    fs::create_dir(at.join("inner")).unwrap();
    let inner = at.join("inner");
    run("mount", &["-t", "tmpfs", "none", inner.to_str().unwrap()]).unwrap();
    let error = umount(&at).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with(&format!("mounted at {}", inner.display())),
        "{error}"
    );
    umount(&inner).unwrap();
    umount(&at).unwrap();
}

#[test]
fn root_a_table_of_many_mounts_is_asked_fast() {
    if !requires_root() {
        return;
    }
    let mounted = MountedFs::with_size("ext4", 64 << 20).unwrap();
    let beside = mounted.folder_beside("mounts").unwrap();
    let mut volumes = Vec::new();
    for number in 0..40 {
        let volume = mounted.path().join(format!("v{number}"));
        let at = beside.join(format!("{number}"));
        fs::create_dir(&volume).unwrap();
        fs::create_dir(&at).unwrap();
        let volume = File::open(volume).unwrap();
        mount_directory(volume.as_fd(), &open_target(&at).unwrap(), &options("")).unwrap();
        volumes.push((volume, at));
    }
    let table = MountTable::read().unwrap();
    for (volume, at) in &volumes {
        assert_eq!(table.of_directory(volume.as_fd()).unwrap(), paths(&[at]));
    }
    // All of them, and the location's own mount, are on one device.
    assert_eq!(table.of_device(mounted.device()).unwrap().len(), 41);
}

#[test]
fn root_what_was_proven_is_unmounted_though_the_way_to_it_was_turned_elsewhere() {
    if !requires_root() {
        return;
    }
    let scratch = scratch();
    let volume = File::open(scratch.path().join("v")).unwrap();
    let [way, other] = ["way", "other"].map(|name| scratch.path().join(name));
    for folder in [&way, &other] {
        fs::create_dir_all(folder.join("at")).unwrap();
        let target = open_target(&folder.join("at")).unwrap();
        mount_directory(volume.as_fd(), &target, &options("")).unwrap();
    }
    let mountpoint = Mountpoint::open(&way.join("at")).unwrap();
    assert!(mountpoint.is_mount_of_directory(volume.as_fd()).unwrap());
    let moved = scratch.path().join("moved");
    fs::rename(&way, &moved).unwrap();
    symlink(&other, &way).unwrap();
    umount_at(&mountpoint).unwrap();
    assert_eq!(mountpoints_beneath(scratch.path()), [other.join("at")]);
    umount(&other.join("at")).unwrap();
}
