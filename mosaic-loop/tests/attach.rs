// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images as block devices, and mounted: one device each, the right lifetime, honest refusals.

mod common;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use common::{Images, MIB, Opener, images, is_explicit};
use mosaic_core::finding::Repair;
use mosaic_core::loopdev::marker::{self, Marker};
use mosaic_core::volume::{Lifetime, MountSource};
use mosaic_core::{Driver, ErrorKind, Location};
use mosaic_loop::image::Image;
use mosaic_tests::{
    MountedFs, eventually, is_quick, left_out, loop_devices_beneath, requires_program,
    requires_root, run, stdout_of, volume,
};

fn marker_of(images: &Images, name: &str) -> Marker {
    let location = Location::open(&images.path).unwrap();
    let image = Image::require(&location, &volume(name)).unwrap();
    marker::find(image.open_for_query().unwrap()).unwrap()
}

#[test]
fn root_attach_stays_and_detach_takes_it_away() {
    if !requires_root() {
        return;
    }
    let (_scratch, images) = images("attach");
    images.create_disk("a", 8 * MIB).unwrap();
    let error = images.detach("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let attached = images.attach("a").unwrap();
    assert_eq!(attached.lifetime, Lifetime::Explicit);
    assert_eq!(images.attachment("a"), Some(attached.clone()));
    let shown = loop_devices_beneath(&images.path);
    assert_eq!(shown.as_slice(), std::slice::from_ref(&attached.device));
    let field = |what: &str| {
        let args = [
            "--noheadings",
            "--output",
            what,
            attached.device.to_str().unwrap(),
        ];
        stdout_of("losetup", &args).unwrap().trim().to_owned()
    };
    assert_eq!(field("BACK-FILE"), images.image("a").to_str().unwrap());
    assert_eq!((field("LOG-SEC"), field("RO")), ("512".into(), "0".into()));
    for error in [
        images.attach("a").unwrap_err(),
        images.drop_volume("a").unwrap_err(),
        images
            .driver
            .rename(&volume("a"), &volume("b"))
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Busy);
        let device = attached.device.to_str().unwrap();
        assert!(error.to_string().contains(device), "{}", error.chain());
    }
    images.detach("a").unwrap();
    assert_eq!(images.attachment("a"), None);
    assert!(loop_devices_beneath(&images.path).is_empty());
    images.drop_volume("a").unwrap();
}

#[test]
fn root_a_read_only_device_refuses_writes() {
    if !requires_root() {
        return;
    }
    let (_scratch, images) = images("ro");
    images.create_disk("a", MIB).unwrap();
    let attached = images.driver.attach(&volume("a"), true).unwrap();
    assert!(attached.read_only);
    assert!(images.attachment("a").unwrap().read_only);
    let opened = OpenOptions::new().write(true).open(&attached.device);
    let written = opened.and_then(|mut device| device.write_all(&[1; 512]));
    assert!(written.is_err());
    images.detach("a").unwrap();
}

#[test]
fn root_the_marker_lives_exactly_as_long_as_the_attachment() {
    if !requires_root() {
        return;
    }
    let (_scratch, images) = images("marker");
    images.create_disk("a", MIB).unwrap();
    assert_eq!(marker_of(&images, "a"), Marker::Absent);
    let attached = images.attach("a").unwrap();
    let Marker::Device(number) = marker_of(&images, "a") else {
        panic!("no marker");
    };
    assert_eq!(attached.device, Path::new(&format!("/dev/loop{number}")));
    let losetup = ["--detach", attached.device.to_str().unwrap()];
    run("losetup", &losetup).unwrap();
    assert!(eventually(|| marker_of(&images, "a") == Marker::Absent));
    assert_eq!(images.attachment("a"), None);
}

#[test]
fn root_of_four_that_attach_at_once_exactly_one_succeeds() {
    if !requires_root() {
        return;
    }
    let rounds = if is_quick() { 10 } else { 100 };
    if is_quick() {
        left_out("90 of 100 rounds");
    }
    let (_scratch, images) = images("four");
    images.create_disk("a", MIB).unwrap();
    for _ in 0..rounds {
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let attachers: Vec<_> = (0..4).map(|_| scope.spawn(|| images.attach("a"))).collect();
            attachers.into_iter().map(|a| a.join().unwrap()).collect()
        });
        let refused: Vec<_> = outcomes.iter().filter_map(|o| o.as_ref().err()).collect();
        assert_eq!(refused.len(), 3, "{outcomes:?}");
        assert!(refused.iter().all(|e| e.kind() == ErrorKind::Busy));
        assert_eq!(loop_devices_beneath(&images.path).len(), 1);
        images.detach("a").unwrap();
    }
}

#[test]
fn root_the_device_of_a_mount_goes_with_the_last_mount() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let (scratch, images) = images("mount");
    images.create_fs("a", "ext4", 32 * MIB).unwrap();
    let one = images.mount("a", &scratch.path().join("1"), "").unwrap();
    let two = images.mount("a", &scratch.path().join("2"), "ro").unwrap();
    assert_eq!(one.device, two.device);
    std::fs::write(one.at.join("file"), "x").unwrap();
    assert!(std::fs::write(two.at.join("file"), "y").is_err());
    let shown = images.attachment("a").unwrap();
    assert_eq!(shown.lifetime, Lifetime::Mount);
    for error in [
        images.attach("a").unwrap_err(),
        images.detach("a").unwrap_err(),
        images.drop_volume("a").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Busy);
        let at = one.at.to_str().unwrap();
        assert!(error.chain().contains(at), "{}", error.chain());
    }
    one.umount();
    assert!(images.attachment("a").is_some());
    two.umount();
    assert!(eventually(|| images.attachment("a").is_none()));
    assert!(loop_devices_beneath(&images.path).is_empty());
    images.drop_volume("a").unwrap();
}

#[test]
fn root_umount_and_at_once_the_next_verb_works() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let (scratch, images) = images("turns");
    images.create_fs("a", "ext4", 32 * MIB).unwrap();
    let at = scratch.path().join("at");
    for _ in 0..20 {
        images.mount("a", &at, "").unwrap().umount();
        images.attach("a").unwrap();
        images.detach("a").unwrap();
    }
    images.mount("a", &at, "").unwrap().umount();
    images.drop_volume("a").unwrap();
}

#[test]
fn root_an_explicit_device_is_mounted_and_outlives_the_mount() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let (scratch, images) = images("explicit");
    images.create_fs("a", "ext4", 32 * MIB).unwrap();
    let attached = images.attach("a").unwrap();
    let opener = Opener::new(&attached.device, true);
    let error = images.mount("a", &scratch.path().join("1"), "");
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.chain().contains(&opener.word()), "{}", error.chain());
    drop(opener);
    let mounted = images.mount("a", &scratch.path().join("1"), "").unwrap();
    assert_eq!(mounted.device, attached.device);
    assert_eq!(images.detach("a").unwrap_err().kind(), ErrorKind::Busy);
    let again = images.mount("a", &scratch.path().join("2"), "").unwrap();
    again.umount();
    mounted.umount();
    assert!(is_explicit(&images.attachment("a")));
    // A mount namespace that somebody made meanwhile has copies of our mounts for a while.
    assert!(eventually(|| images.detach("a").is_ok()));
}

#[test]
fn root_a_mount_that_is_given_up_leaves_nothing() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let (_scratch, images) = images("given-up");
    images.create_fs("a", "ext4", 32 * MIB).unwrap();
    let source = images.driver.mount_source(Some(&volume("a")), false);
    let MountSource::Device { handle, .. } = source.unwrap() else {
        panic!("no device");
    };
    assert!(images.attachment("a").is_some());
    drop(handle);
    assert!(eventually(|| images.attachment("a").is_none()));
    let disk = images.create_disk("disk", MIB);
    disk.unwrap();
    let error = images.driver.mount_source(Some(&volume("disk")), false);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
    let error = images.driver.mount_source(None, false);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn root_a_grown_image_grows_its_device() {
    if !requires_root() {
        return;
    }
    let (_scratch, images) = images("grow");
    images.create_disk("a", MIB).unwrap();
    let attached = images.attach("a").unwrap();
    let size = || {
        stdout_of(
            "blockdev",
            &["--getsize64", attached.device.to_str().unwrap()],
        )
    };
    images.resize("a", 3 * MIB).unwrap();
    assert_eq!(size().unwrap().trim(), (3 * MIB).to_string());
    // Killed between file and device: the same call finishes, and check sees it.
    let file = OpenOptions::new().write(true).open(images.image("a"));
    file.unwrap().set_len(4 * MIB).unwrap();
    assert_eq!(images.driver.check(&Repair::Nothing).unwrap().len(), 1);
    assert_eq!(images.find("a").unwrap().size.unwrap().0, 3 * MIB);
    images.resize("a", 4 * MIB).unwrap();
    assert_eq!(images.find("a").unwrap().size.unwrap().0, 4 * MIB);
    assert_eq!(size().unwrap().trim(), (4 * MIB).to_string());
    assert_eq!(images.driver.check(&Repair::Nothing).unwrap(), []);
    let error = images.resize("a", 2 * MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert_eq!(size().unwrap().trim(), (4 * MIB).to_string());
    images.detach("a").unwrap();
    images.resize("a", 2 * MIB).unwrap();
}

#[test]
fn root_something_mounted_in_the_location_holds_no_volumes() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let (_scratch, images) = images("mounted");
    images.create_fs("a", "ext4", 32 * MIB).unwrap();
    let mounted = images.mount("a", &images.path.join("mnt"), "").unwrap();
    std::fs::write(mounted.at.join("file"), "x").unwrap();
    assert_eq!(images.names(), ["a"]);
    let error = images.driver.find(&volume("mnt/file")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    let error = images.create_disk("mnt/new", MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.chain());
    assert!(!mounted.at.join("new").exists());
}

#[test]
fn root_every_location_shows_its_images() {
    for fs in ["ext4", "xfs", "btrfs"] {
        if !requires_root() || !requires_program(&format!("mkfs.{fs}")) {
            return;
        }
        let location = MountedFs::new(fs).unwrap();
        let images = Images::open(location.path());
        images.create_fs("a", "ext4", 32 * MIB).unwrap();
        let attached = images.attach("a").unwrap();
        assert_eq!(images.attachment("a"), Some(attached), "{fs}");
        images.detach("a").unwrap();
        let at = location.folder_beside("at").unwrap();
        let mounted = images.mount("a", &at, "").unwrap();
        assert_eq!(images.attachment("a").unwrap().lifetime, Lifetime::Mount);
        mounted.umount();
        images.drop_volume("a").unwrap();
    }
}

#[test]
fn root_a_device_on_a_deleted_image_is_found() {
    if !requires_root() {
        return;
    }
    let (_scratch, images) = images("deleted");
    images.create_disk("a", MIB).unwrap();
    let attached = images.attach("a").unwrap();
    std::fs::remove_file(images.image("a")).unwrap();
    let findings = images.driver.check(&Repair::Nothing).unwrap();
    let device = attached.device.to_str().unwrap();
    assert!(findings[0].fault.contains(device), "{findings:?}");
    run("losetup", &["--detach", device]).unwrap();
    assert!(eventually(|| images
        .driver
        .check(&Repair::Nothing)
        .unwrap()
        .is_empty()));
}

/// Run again by the next test in a container-like /dev, whose kind `MOSAIC_TEST_DEV` names.
#[test]
#[ignore = "a helper of other tests"]
fn in_a_container() {
    let path = std::env::var_os("MOSAIC_TEST_LOCATION").unwrap();
    let images = Images::open(Path::new(&path));
    let error = images.attach("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let expected = std::env::var("MOSAIC_TEST_EXPECTED").unwrap();
    assert!(error.chain().contains(&expected), "{}", error.chain());
    assert_eq!(marker_of(&images, "a"), Marker::Absent);
    images.drop_volume("a").unwrap();
}

#[test]
fn root_a_container_without_loop_devices_is_told_so() {
    if !requires_root() || !requires_program("unshare") {
        return;
    }
    for (prepare, expected) in [
        ("true", "modprobe loop"),
        ("mknod /dev/loop-control c 10 237", "is missing although"),
    ] {
        let (_scratch, images) = images("container");
        images.create_disk("a", MIB).unwrap();
        let script = format!(
            "mount -t tmpfs none /dev && mknod /dev/null c 1 3 && {prepare} && \
             exec \"$0\" --ignored --exact in_a_container"
        );
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .arg(std::env::current_exe().unwrap())
            .env("MOSAIC_TEST_LOCATION", &images.path)
            .env("MOSAIC_TEST_EXPECTED", expected)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("1 passed"), "{said}");
        assert_eq!(images.names(), [""; 0]);
    }
}

/// Run again by the next test, traced.
#[test]
#[ignore = "a helper of other tests"]
fn attach_once() {
    let path = std::env::var_os("MOSAIC_TEST_LOCATION").unwrap();
    let images = Images::open(Path::new(&path));
    if std::env::var_os("MOSAIC_TEST_LOOK").is_some() {
        assert_eq!(images.attachment("a"), None);
    }
    images.attach("a").unwrap();
}

#[test]
#[cfg(target_arch = "x86_64")]
fn root_a_look_and_attach_take_no_longer_with_many_devices_of_others() {
    if !requires_root() {
        return;
    }
    let (scratch, images) = images("many");
    images.create_disk("a", MIB).unwrap();
    let calls = |look: bool| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", "attach_once"])
            .env("MOSAIC_TEST_LOCATION", &images.path);
        if look {
            command.env("MOSAIC_TEST_LOOK", "1");
        }
        let calls = mosaic_tests::Tracee::new(&command).record().unwrap();
        images.detach("a").unwrap();
        calls
            .iter()
            .filter(|call| [nix::libc::SYS_ioctl, nix::libc::SYS_openat].contains(&call.number))
            .count()
    };
    let before = calls(false);
    for number in 0..40 {
        let image = scratch.path().join(format!("foreign{number}"));
        std::fs::File::create(&image).unwrap().set_len(MIB).unwrap();
        let image = image.to_str().unwrap();
        assert!(eventually(|| run("losetup", &["--find", image]).is_ok()));
    }
    let after = calls(false);
    assert!(after < before + 20, "{before} calls, then {after}");
    let looked = calls(true);
    assert!(looked < after + 20, "{after} calls, with a look {looked}");
}
