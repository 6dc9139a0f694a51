// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images and devices in the hands of other programs: noticed, named, neither taken nor given away.

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use common::{MIB, Opener, images, is_explicit};
use mosaic_core::finding::Repair;
use mosaic_core::loopdev::marker;
use mosaic_core::volume::Lifetime;
use mosaic_core::{Driver, ErrorKind};
use mosaic_tests::{eventually, requires_program, requires_root, run, stdout_of, volume};

#[test]
fn root_another_programs_loop_device_is_noticed_and_named() {
    if !requires_root() {
        return;
    }
    let (_scratch, images) = images("foreign");
    images.create_disk("a", MIB).unwrap();
    let image = images.image("a");
    let losetup = ["--find", "--show", image.to_str().unwrap()];
    let device = stdout_of("losetup", &losetup).unwrap().trim().to_owned();
    let shown = images.attachment("a").unwrap();
    assert!(shown.foreign);
    assert_eq!(shown.device, Path::new(&device));
    assert!(
        images.driver.list().unwrap()[0]
            .attachment
            .as_ref()
            .unwrap()
            .foreign
    );
    for error in [
        images.attach("a").unwrap_err(),
        images.detach("a").unwrap_err(),
        images.drop_volume("a").unwrap_err(),
        images.resize("a", MIB / 2).unwrap_err(),
        images
            .driver
            .mount_source(Some(&volume("a")), false)
            .unwrap_err(),
    ] {
        if error.kind() == ErrorKind::Invalid {
            // A disk is not mounted anyway.
            continue;
        }
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains(&device), "{}", error.chain());
        assert!(error.to_string().contains("another program"));
    }
    let findings = images.driver.check(&Repair::Usual).unwrap();
    assert!(findings[0].fault.contains(&device), "{findings:?}");
    images.resize("a", 2 * MIB).unwrap();
    assert!(images.said.take()[0].contains("keeps its old size"));
    run("losetup", &["--detach", &device]).unwrap();
    assert!(eventually(|| images.attachment("a").is_none()));
}

#[test]
fn root_detach_that_an_opener_holds_up_says_busy_and_changes_nothing() {
    if !requires_root() {
        return;
    }
    let (_scratch, images) = images("held");
    images.create_disk("a", MIB).unwrap();
    let attached = images.attach("a").unwrap();
    let opener = Opener::new(&attached.device, true);
    let error = images.detach("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.chain().contains(&opener.word()), "{}", error.chain());
    assert!(is_explicit(&images.attachment("a")), "still explicit");
    drop(opener);
    assert!(
        is_explicit(&images.attachment("a")),
        "it did not go with the opener"
    );
    images.detach("a").unwrap();
    let claimed = images.attach("a").unwrap();
    let exclusive = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_EXCL)
        .open(&claimed.device)
        .unwrap();
    assert_eq!(images.detach("a").unwrap_err().kind(), ErrorKind::Busy);
    drop(exclusive);
    images.detach("a").unwrap();
}

#[test]
fn root_an_image_in_a_process_is_not_attached() {
    if !requires_root() {
        return;
    }
    let (_scratch, images) = images("qemu");
    images.create_disk("a", MIB).unwrap();
    let opener = Opener::new(&images.image("a"), true);
    let error = images.attach("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.chain().contains(&opener.word()), "{}", error.chain());
    drop(opener);
    images.attach("a").unwrap();
    images.detach("a").unwrap();
}

#[test]
fn root_a_lock_that_pretends_to_be_an_attachment_fools_nobody() {
    if !requires_root() {
        return;
    }
    let (_scratch, images) = images("fake");
    images.create_disk("a", MIB).unwrap();
    let liar = std::fs::File::open(images.image("a")).unwrap();
    marker::set(&liar, 0).unwrap();
    assert_eq!(images.attachment("a"), None);
    let error = images.detach("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let findings = images.driver.check(&Repair::Nothing).unwrap();
    assert_eq!(findings[0].volume.as_deref(), Some("a"));
    drop(liar);
    assert_eq!(images.driver.check(&Repair::Nothing).unwrap(), []);
    let attached = images.attach("a").unwrap();
    // Wherever the kernel lists them among the true one.
    let liars: Vec<_> = [0, 1 << 20]
        .map(|number| {
            let liar = std::fs::File::open(images.image("a")).unwrap();
            marker::set(&liar, number).unwrap();
            liar
        })
        .into();
    assert_eq!(images.attachment("a"), Some(attached));
    images.detach("a").unwrap();
    drop(liars);
}

#[test]
fn root_a_device_in_other_hands_is_not_mounted_when_losetup_was_told_to_detach_it() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let (scratch, images) = images("hands");
    images.create_fs("a", "ext4", 16 * MIB).unwrap();
    let attached = images.attach("a").unwrap();
    let machine = Opener::new(&attached.device, true);
    run("losetup", &[Path::new("--detach"), &attached.device]).unwrap();
    assert_eq!(images.attachment("a").unwrap().lifetime, Lifetime::Mount);
    let error = images
        .mount("a", &scratch.path().join("at"), "")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.chain().contains(&machine.word()), "{}", error.chain());
    drop(machine);
    assert!(eventually(|| images.attachment("a").is_none()));
}

#[test]
fn root_a_lock_over_all_of_an_image_hides_no_device_and_gives_none_away() {
    if !requires_root() {
        return;
    }
    let (_scratch, images) = images("wide");
    images.create_disk("a", MIB).unwrap();
    let image = images.image("a");
    let write = OpenOptions::new().read(true).write(true).open(&image);
    let locked = write.unwrap();
    let wide = nix::libc::flock {
        l_type: i16::try_from(nix::libc::F_WRLCK).unwrap(),
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&locked, nix::fcntl::FcntlArg::F_OFD_SETLK(&wide)).unwrap();
    // Another program's device is not ours because of it.
    let device = stdout_of("losetup", &["--find", "--show", image.to_str().unwrap()]).unwrap();
    let device = device.trim();
    let shown = images.attachment("a");
    let detached = images.detach("a").map_err(|error| error.kind());
    run("losetup", &["--detach", device]).unwrap();
    assert!(shown.unwrap().foreign);
    assert_eq!(detached, Err(ErrorKind::Busy));
    drop(locked);
    let attached = images.attach("a").unwrap();
    let reader = std::fs::File::open(&image).unwrap();
    let wide = nix::libc::flock {
        l_type: i16::try_from(nix::libc::F_RDLCK).unwrap(),
        ..wide
    };
    nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_OFD_SETLK(&wide)).unwrap();
    assert_eq!(images.attachment("a"), Some(attached));
    drop(reader);
    images.detach("a").unwrap();
}
