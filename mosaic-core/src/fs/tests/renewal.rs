// SPDX-License-Identifier: MIT OR Apache-2.0
//! A copy gets a UUID of its own, also one that was taken while its origin was in use.

use std::fs::File;

use super::volume::Volume;
use super::*;
use crate::command::fd_path;

/// Gives the copy a new UUID in the way that its type needs.
fn renew(copy: &Volume) -> Result<()> {
    if copy.fs.renewal_needs_device() {
        return copy.fs.renew_uuid(&host(), copy.device());
    }
    let image = copy.image();
    let renewed = copy.fs.renew_uuid(&host(), &fd_path(image.as_fd()));
    // The device has its own cache of what it showed before.
    mosaic_tests::run("blockdev", &[Path::new("--flushbufs"), copy.device()]).unwrap();
    renewed
}

fn assert_renewed(origin: &Volume, copy: &Volume, length: u64) {
    assert_eq!(origin.uuid(), copy.uuid());
    renew(copy).unwrap();
    assert_ne!(origin.uuid(), copy.uuid(), "{}", copy.fs);
    copy.assert_intact(length);
}

fn sync(at: &Path) {
    rustix::fs::syncfs(File::open(at).unwrap()).unwrap();
}

#[test]
fn root_a_copy_at_rest_gets_its_own_uuid() {
    for (name, size) in TYPES {
        if !can_mount(name) {
            continue;
        }
        let origin = Volume::new(name, size);
        origin.fill(MIB);
        let copy = origin.copy();
        assert_renewed(&origin, &copy, MIB);
        // And a copy of the copy.
        assert_renewed(&copy, &copy.copy(), MIB);
        origin.assert_intact(MIB);
    }
}

#[test]
fn root_a_copy_of_a_mounted_one_gets_its_own_uuid_and_grows_and_mounts_beside_it() {
    for (name, size) in TYPES {
        if !can_mount(name) {
            continue;
        }
        let origin = Volume::new(name, size);
        let at = origin.mount();
        volume::write_noise(&at.join("noise"), MIB);
        let open = File::create(at.join("deleted but open")).unwrap();
        std::fs::remove_file(at.join("deleted but open")).unwrap();
        sync(&at);
        let copy = origin.copy();
        assert!(copy.fs.clone_is_clean(copy.image().as_fd()).unwrap());
        assert_renewed(&origin, &copy, MIB);
        copy.resize_device(2 * size);
        copy.fs.grow(&host(), copy.device(), None).unwrap();
        assert_eq!(copy.size(), 2 * size);
        copy.assert_intact(MIB);
        drop(open);
        origin.umount();
    }
}

#[test]
fn root_the_log_of_a_copied_xfs_is_dirty_and_xfs_admin_alone_does_nothing() {
    if !can_mount("xfs") {
        return;
    }
    let origin = Volume::new("xfs", 320 * MIB);
    let at = origin.mount();
    volume::write_noise(&at.join("noise"), MIB);
    sync(&at);
    let copy = origin.copy();
    let output = Command::new("xfs_admin")
        .args(["-U", "generate"])
        .arg(copy.device())
        .run(&host());
    assert!(output.is_ok(), "xfs_admin tells the truth now");
    assert_eq!(origin.uuid(), copy.uuid());
    assert_renewed(&origin, &copy, MIB);
    origin.umount();
}

#[test]
fn root_a_copied_btrfs_with_a_log_tree_is_refused_and_another_copy_is_not() {
    if !can_mount("btrfs") || !requires_time() {
        return;
    }
    let origin = Volume::new("btrfs", 512 * MIB);
    let at = origin.mount();
    sync(&at);
    // fsync of one file goes to the log tree until the next commit.
    volume::write_noise(&at.join("noise"), MIB);
    let copy = origin.copy();
    assert!(!copy.fs.clone_is_clean(copy.image().as_fd()).unwrap());
    let before = copy.fingerprint();
    let error = renew(&copy).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert_eq!(copy.fingerprint(), before);

    sync(&at);
    let copy = origin.copy();
    assert!(copy.fs.clone_is_clean(copy.image().as_fd()).unwrap());
    assert_renewed(&origin, &copy, MIB);
    origin.umount();
}

#[test]
fn root_a_moment_of_mounting_is_seen_by_nobody_and_leaves_the_device_free() {
    if !can_mount("xfs") {
        return;
    }
    let volume = Volume::new("xfs", 320 * MIB);
    let mount = detached::DetachedMount::new("xfs", volume.device(), &["nouuid"]).unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let device = volume.device().to_str().unwrap();
    assert!(!mounts.contains(&format!(" {device} ")));
    let exclusive = || {
        let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::open(volume.device(), flags, Mode::empty())
    };
    assert_eq!(exclusive().unwrap_err(), rustix::io::Errno::BUSY);
    mount.close().unwrap();
    assert!(exclusive().is_ok());
}

#[test]
fn root_a_mounted_one_is_busy_and_keeps_its_uuid() {
    for (name, size) in TYPES {
        if !can_mount(name) {
            continue;
        }
        let volume = Volume::new(name, size);
        let before = volume.uuid();
        volume.mount();
        let error = volume.fs.renew_uuid(&host(), volume.device()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{}", error.chain());
        volume.umount();
        assert_eq!(volume.uuid(), before);
    }
}

#[test]
fn root_a_copy_that_was_in_use_is_mended_by_replaying_what_it_still_has_to() {
    for (name, size) in TYPES {
        if !can_mount(name) {
            continue;
        }
        let origin = Volume::new(name, size);
        let at = origin.mount();
        volume::write_noise(&at.join("noise"), MIB);
        let copy = origin.copy();
        origin.umount();
        if let Some(said) = copy.fs.check(&host(), copy.device(), false).unwrap() {
            // It is no damage, and says so.
            assert!(said.contains("journal") || said.contains("log"), "{said}");
        }
        copy.fs.check(&host(), copy.device(), true).unwrap();
        copy.assert_intact(MIB);
    }
}

#[test]
fn root_the_kernels_words_are_in_the_error_of_a_failed_mount() {
    if !can_mount("xfs") {
        return;
    }
    let volume = Volume::blank("xfs", 320 * MIB);
    let error = detached::DetachedMount::new("xfs", volume.device(), &["nouuid"]).err();
    let error = error.unwrap();
    assert!(error.to_string().contains("cannot mount xfs"), "{error}");
    let error = detached::DetachedMount::new("ext4", volume.device(), &["nonesuch"]).err();
    let text = error.unwrap().to_string();
    assert!(text.contains("nonesuch"), "{text}");
}
