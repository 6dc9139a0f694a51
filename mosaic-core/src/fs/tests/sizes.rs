// SPDX-License-Identifier: MIT OR Apache-2.0
//! Growing and shrinking, mounted and not.

use std::fs::File;

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::volume::{Volume, assert_noise, write_noise};
use super::*;

fn grown(volume: &Volume, mounted: Option<&File>) -> bool {
    let size = resize::length(&volume.open()).unwrap();
    let mounted = mounted.map(AsFd::as_fd);
    volume
        .fs
        .is_grown_to(volume.open().as_fd(), mounted, size)
        .unwrap()
}

#[test]
fn root_all_grow_at_rest() {
    for (name, size) in TYPES {
        if !can_mount(name) {
            continue;
        }
        let volume = Volume::new(name, size);
        volume.fill(MIB);
        volume.resize_device(2 * size);
        assert!(!grown(&volume, None), "{name}");
        for _ in 0..2 {
            volume.fs.grow(&host(), volume.device(), None).unwrap();
            assert_eq!(volume.size(), 2 * size, "{name}");
        }
        volume.assert_intact(MIB);
    }
}

#[test]
fn root_one_that_was_cut_off_is_not_taken_for_grown() {
    for (name, size) in TYPES {
        if !can_mount(name) {
            continue;
        }
        let volume = Volume::new(name, size);
        let device = volume.open();
        let cut = Bytes(size - MIB);
        let error = volume.fs.is_grown_to(device.as_fd(), None, cut);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Corrupt, "{name}");
    }
}

#[test]
fn root_xfs_and_btrfs_grow_while_mounted() {
    for (name, size) in &TYPES[1..] {
        if !can_mount(name) {
            continue;
        }
        let volume = Volume::new(name, *size);
        let at = volume.mount();
        write_noise(&at.join("noise"), MIB);
        let dir = File::open(&at).unwrap();
        let size_now = || {
            let device = volume.open();
            volume.fs.size_mounted(device.as_fd(), dir.as_fd()).unwrap()
        };
        assert_eq!(size_now(), Bytes(*size));
        volume.resize_device(2 * size);
        assert!(!grown(&volume, Some(&dir)), "{name}");
        for _ in 0..2 {
            let mounted = Some(dir.as_fd());
            volume.fs.grow(&host(), volume.device(), mounted).unwrap();
            assert_eq!(size_now(), Bytes(2 * size), "{name}");
        }
        assert_noise(&at.join("noise"), MIB);
        drop(dir);
        volume.umount();
        assert_eq!(volume.size(), 2 * size);
        volume.assert_intact(MIB);
    }
}

#[test]
fn root_a_mounted_ext4_grows_with_cap_sys_resource_only() {
    if !can_mount("ext4") {
        return;
    }
    let volume = Volume::new("ext4", 64 * MIB);
    let at = volume.mount();
    let dir = File::open(&at).unwrap();
    volume.resize_device(128 * MIB);
    // Capabilities are a thread's own.
    let held = capabilities(None).unwrap();
    let mut without = held;
    without.effective.remove(CapabilitySet::SYS_RESOURCE);
    set_capabilities(None, without).unwrap();
    let refused = volume.fs.grow(&host(), volume.device(), Some(dir.as_fd()));
    set_capabilities(None, held).unwrap();
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert!(error.to_string().contains("CAP_SYS_RESOURCE"), "{error}");
    if held.effective.contains(CapabilitySet::SYS_RESOURCE) {
        volume
            .fs
            .grow(&host(), volume.device(), Some(dir.as_fd()))
            .unwrap();
        assert_eq!(volume.size(), 128 * MIB);
    } else {
        mosaic_tests::skip("growing itself needs CAP_SYS_RESOURCE");
    }
    drop(dir);
    volume.umount();
    volume.fs.check(&host(), volume.device(), false).unwrap();
}

#[test]
fn root_a_mounted_one_is_busy_for_what_needs_it_at_rest() {
    for (name, size) in TYPES {
        if !can_mount(name) {
            continue;
        }
        let volume = Volume::new(name, size);
        volume.mount();
        volume.resize_device(2 * size);
        let mut refused = vec![
            volume.fs.grow(&host(), volume.device(), None),
            volume.fs.check(&host(), volume.device(), false).map(drop),
            volume.fs.check(&host(), volume.device(), true).map(drop),
        ];
        if volume.fs.can_shrink().is_ok() {
            let to = Bytes(size / 2);
            refused.push(volume.fs.shrink(&host(), volume.device(), to));
        }
        for refused in refused {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Busy, "{name}");
        }
        volume.umount();
        assert_eq!(volume.size(), size);
    }
}

#[test]
fn root_a_tail_that_cannot_be_used_counts_as_grown() {
    // The least that can be used, and what the type then makes of it.
    for (name, size, least) in [
        ("ext4", 1024 * MIB, 2 * MIB),
        ("xfs", 320 * MIB, 64 * 4096),
        ("btrfs", 512 * MIB, 4096),
    ] {
        if !can_mount(name) {
            continue;
        }
        let volume = Volume::new(name, size);
        volume.resize_device(size + least - 512);
        let could = volume.fs.grow(&host(), volume.device(), None);
        could.unwrap_or_else(|error| panic!("{name}: {}", error.chain()));
        assert!(grown(&volume, None), "{name}");
        let tail = size + least - 512 - volume.size();
        assert!(tail < least, "{name}: {tail}");
        volume.resize_device(size + 64 * MIB);
        volume.fs.grow(&host(), volume.device(), None).unwrap();
        assert_eq!(volume.size(), size + 64 * MIB, "{name}");
        volume.fs.check(&host(), volume.device(), false).unwrap();
    }
}

#[test]
fn root_what_is_no_tail_is_grown_into() {
    // One more step than the type leaves.
    for (name, size, step) in [
        ("ext4", 64 * MIB, 64 << 10),
        ("xfs", 320 * MIB, 64 * 4096),
        ("btrfs", 512 * MIB, 4096),
    ] {
        if !can_mount(name) {
            continue;
        }
        // 64 MiB of ext4 end in a group of 8 MiB; so it is one that is not full.
        let size = if name == "ext4" { size - 4 * MIB } else { size };
        let volume = Volume::new(name, size);
        volume.resize_device(size + step);
        assert!(!grown(&volume, None), "{name}");
        volume.fs.grow(&host(), volume.device(), None).unwrap();
        assert_eq!(volume.size(), size + step, "{name}");
    }
}

#[test]
fn root_a_small_btrfs_grows_to_the_least_that_the_kernel_takes() {
    if !can_mount("btrfs") {
        return;
    }
    let volume = Volume::new("btrfs", 128 * MIB);
    volume.resize_device(256 * MIB - 512);
    // That the kernel refuses it is why we do.
    let at = volume.mount();
    let dir = File::open(&at).unwrap();
    let errno = crate::ioctl::file_system::btrfs_resize(dir.as_fd(), "max").unwrap_err();
    assert_eq!(errno, Errno::INVAL);
    let error = volume
        .fs
        .grow(&host(), volume.device(), Some(dir.as_fd()))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.chain());
    drop(dir);
    volume.umount();
    assert_eq!(volume.size(), 128 * MIB);
    volume.resize_device(256 * MIB);
    volume.fs.grow(&host(), volume.device(), None).unwrap();
    assert_eq!(volume.size(), 256 * MIB);
}

#[test]
fn root_ext4_and_btrfs_shrink_at_rest() {
    for (name, size, to) in [
        ("ext4", 256 * MIB, 64 * MIB + 512),
        ("btrfs", 1024 * MIB, 512 * MIB + 512),
    ] {
        if !can_mount(name) {
            continue;
        }
        let volume = Volume::new(name, size);
        volume.fill(16 * MIB);
        for _ in 0..2 {
            volume
                .fs
                .shrink(&host(), volume.device(), Bytes(to))
                .unwrap();
            assert_eq!(volume.size(), to - 512, "{name}");
        }
        // The device may be cut now.
        volume.resize_device(to);
        volume.assert_intact(16 * MIB);
        assert!(grown(&volume, None), "{name}");
    }
}

#[test]
fn root_what_does_not_fit_is_refused_and_nothing_is_changed() {
    if !requires_time() {
        return;
    }
    for (name, size, content, to) in [
        ("ext4", 256 * MIB, 100 * MIB, 90 * MIB),
        ("btrfs", 1024 * MIB, 300 * MIB, 256 * MIB),
    ] {
        if !can_mount(name) {
            continue;
        }
        let volume = Volume::new(name, size);
        volume.fill(content);
        let before = volume.fingerprint();
        let error = volume
            .fs
            .shrink(&host(), volume.device(), Bytes(to))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{name}");
        let text = error.to_string();
        assert!(text.contains(&format!("({to} bytes)")), "{text}");
        assert!(volume.fingerprint() == before, "{name} was changed");
        volume.assert_intact(content);
    }
}

#[test]
fn root_a_btrfs_that_turns_out_not_to_fit_has_its_old_size() {
    if !can_mount("btrfs") {
        return;
    }
    let volume = Volume::new("btrfs", 1024 * MIB);
    // Less than the new size by itself, but not with metadata twice and chunks.
    volume.fill(250 * MIB);
    let error = volume
        .fs
        .shrink(&host(), volume.device(), Bytes(256 * MIB))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", error.chain());
    assert_eq!(volume.size(), 1024 * MIB);
    volume.assert_intact(250 * MIB);
}

#[test]
fn root_xfs_does_not_shrink() {
    let error = fs("xfs")
        .shrink(&host(), Path::new("/dev/null"), Bytes(300 * MIB))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.to_string(), "xfs cannot be shrunk");
}

#[test]
fn root_damage_to_xfs_is_mended() {
    if !can_mount("xfs") {
        return;
    }
    use std::os::unix::fs::FileExt;
    let volume = Volume::new("xfs", 320 * MIB);
    volume.fill(MIB);
    // The free space header of the second allocation group: its second sector.
    let at = 80 * MIB + 512 + 64;
    volume.image().write_all_at(&[0xff; 128], at).unwrap();
    mosaic_tests::run("blockdev", &[Path::new("--flushbufs"), volume.device()]).unwrap();
    let found = volume.fs.check(&host(), volume.device(), false).unwrap();
    assert!(found.is_some());
    let mended = volume.fs.check(&host(), volume.device(), true).unwrap();
    assert!(mended.is_some());
    volume.assert_intact(MIB);
}
