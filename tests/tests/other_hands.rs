// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes that other programs have mounted or attached, or that another user asks for.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mosaic_tests::{
    Moctl, Site, eventually, mounted_size, requires_program, requires_root, run, stdout_of, word,
};

const NOBODY: u32 = 65534;
const MIB: u64 = 1 << 20;

fn size_of(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

/// A loop device that another program set up; detached also when the test panics.
struct Foreign(String);

impl Foreign {
    fn new(image: &Path) -> Self {
        let device = stdout_of("losetup", &["--find", "--show", word(image)]).unwrap();
        Self(device.trim().to_owned())
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = run("losetup", &["--detach", &self.0]);
    }
}

#[test]
fn root_resize_of_what_another_program_has_mounted_changes_nothing() {
    if !requires_root() || !requires_program("mkfs.xfs") {
        return;
    }
    let site = Site::in_folder("loop", "default_fs: xfs\n").unwrap();
    site.ok(&["new", "fs", "v", "320M"]);
    let image = site.location().join("v");
    let at = site.mountpoint("at");
    let device = Foreign::new(&image);
    run("mount", &[&device.0, word(&at)]).unwrap();
    let refused = site.run(&["resize", "v", "400M"]);
    run("umount", &[&at]).unwrap();
    assert_eq!(refused.status, 5, "{}", refused.stdout);
    assert!(refused.stderr.contains(&device.0), "{}", refused.stderr);
    assert_eq!(size_of(&image), 320 * MIB);
    drop(device);
    site.assert_idle();
}

#[test]
fn root_resize_grows_no_other_file_system_that_hides_the_volumes_mount() {
    if !requires_root() || !requires_program("mkfs.xfs") {
        return;
    }
    let site = Site::in_folder("loop", "default_fs: xfs\n").unwrap();
    site.ok(&["new", "fs", "v", "320M"]);
    site.ok(&["new", "fs", "other", "320M"]);
    let over = site.mountpoint("over");
    let at = over.join("at");
    std::fs::create_dir(&at).unwrap();
    site.ok(&["mount", "v", word(&at)]);
    // The other one has room to grow into, and lies on the volume's mount.
    let other = site.location().join("other");
    let file = std::fs::File::options().write(true).open(&other).unwrap();
    file.set_len(500 * MIB).unwrap();
    let device = Foreign::new(&other);
    run("mount", &[&device.0, word(&over)]).unwrap();
    std::fs::create_dir(&at).unwrap();
    let before = mounted_size(&over);
    let hidden = site.run(&["resize", "v", "400M"]);
    let after = mounted_size(&over);
    run("umount", &[&over]).unwrap();
    drop((device, file));
    assert_eq!(after, before, "{}{}", hidden.stdout, hidden.stderr);
    assert_eq!(hidden.status, 5, "{}", hidden.stdout);
    // In sight again it grows.
    let before = mounted_size(&at);
    site.ok(&["resize", "v", "400M"]);
    assert!(mounted_size(&at) > before + 70 * MIB);
    site.ok(&["umount", "v", word(&at)]);
    site.assert_idle();
}

#[test]
fn root_a_read_only_mount_of_an_attached_volume_writes_nothing_to_it() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let site = Site::in_folder("loop", "").unwrap();
    site.ok(&["new", "fs", "v", "16M"]);
    site.ok(&["attach", "v"]);
    let before = std::fs::read(site.location().join("v")).unwrap();
    let (at, second) = (site.mountpoint("at"), site.mountpoint("second"));
    site.ok(&["mount", "v", word(&at), "-o", "ro"]);
    site.ok(&["mount", "v", word(&second), "-o", "ro"]);
    let refused = site.run(&["mount", "v", word(&site.mountpoint("third"))]);
    site.ok(&["umount", "v", word(&at)]);
    site.ok(&["umount", "v", word(&second)]);
    site.ok(&["detach", "v"]);
    assert_eq!(refused.status, 5, "{}", refused.stderr);
    assert!(before == std::fs::read(site.location().join("v")).unwrap());
    site.assert_idle();
}

#[test]
fn root_what_only_root_may_is_refused_as_that_and_changes_nothing() {
    if !requires_root() {
        return;
    }
    let site = Site::of_user(NOBODY, "loop", "").unwrap();
    site.ok(&["new", "disk", "v", "1M"]);
    for verb in [&["attach", "v"][..], &["detach", "v"]] {
        let refused = site.expect(9, verb);
        assert!(refused.stderr.contains("needs root"), "{}", refused.stderr);
    }
    let features = site.ok(&["info"]);
    let features = features.lines().find(|line| line.starts_with("features:"));
    assert!(features.unwrap().contains("bdev"), "{features:?}");
    // Attached by root, its device is not for the user to resize: nor is the image then.
    let root = Moctl::new().unwrap();
    root.mosaic("m", "loop", site.location(), "").unwrap();
    root.ok(&["m", "attach", "v"]);
    let refused = site.run(&["resize", "v", "2M"]);
    root.ok(&["m", "detach", "v"]);
    assert_eq!(refused.status, 9, "{}", refused.stderr);
    assert_eq!(size_of(&site.location().join("v")), MIB);
    // Another's location, to look at only.
    let theirs = Site::in_folder("loop", "").unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    for folder in [theirs.location(), theirs.location().parent().unwrap()] {
        std::fs::set_permissions(folder, open.clone()).unwrap();
    }
    let user = site.moctl();
    user.mosaic("theirs", "loop", theirs.location(), "")
        .unwrap();
    user.expect(9, &["theirs", "new", "disk", "w", "1M"]);
}

/// Whether a thread of a process does nothing for a while.
fn sleeps(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let wchan = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("wchan"));
    let mut threads = threads.flatten().map(wchan);
    threads.any(|at| at.is_ok_and(|at| at.contains("nanosleep")))
}

#[test]
fn root_who_looks_at_a_device_for_a_moment_does_not_keep_it_from_growing() {
    if !requires_root() || !requires_program("mkfs.xfs") {
        return;
    }
    for driver in ["loop", "ploop"] {
        let site = Site::on("xfs", driver, "default_fs: xfs\n").unwrap();
        site.ok(&["new", "fs", "a", "320M"]);
        let said = site.json(&["attach", "a"]);
        let looks = File::open(said["attachment"]["device"].as_str().unwrap()).unwrap();
        let mut resize = site.command(&["resize", "a", "400M"]).spawn().unwrap();
        let waited = eventually(|| sleeps(resize.id()));
        drop(looks);
        assert!(resize.wait().unwrap().success(), "{driver}");
        assert!(waited, "{driver}");
        // Who stays is named.
        let stays = File::open(said["attachment"]["device"].as_str().unwrap()).unwrap();
        let refused = site.expect(5, &["resize", "a", "500M"]);
        let us = format!("pid {}", std::process::id());
        assert!(refused.stderr.contains(&us), "{}", refused.stderr);
        drop(stays);
        site.ok(&["detach", "a"]);
        site.assert_idle();
    }
}
