// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices that show volumes: how long they stay, who may share them, who is named.

use std::fs::File;

use crate::common::{MIB, Reaction, Thins};
use mosaic_core::finding::Repair;
use mosaic_core::volume::{Lifetime, MountSource};
use mosaic_core::{Driver, Error, ErrorKind};
use mosaic_tests::{eventually, requires_program, requires_thin_pools, run, stdout_of, volume};
use rustix::io::Errno;

#[test]
fn root_an_attached_device_stays_until_detach() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", 4 * MIB).unwrap();
    let attachment = thins.attach("a").unwrap();
    assert_eq!(attachment.lifetime, Lifetime::Explicit);
    assert!(!attachment.read_only && !attachment.foreign);
    assert_eq!(thins.attachment("a").unwrap(), attachment);
    // Another command sees it too, and is not disturbed by what recovery looks for.
    let other = thins.again();
    other.recover().unwrap();
    assert_eq!(thins.attachment("a").unwrap(), attachment);
    let error = thins.attach("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    let device = attachment.device.to_str().unwrap();
    assert!(error.chain().contains(device), "{}", error.chain());
    let open = File::open(&attachment.device).unwrap();
    // Whoever has it open is named, unless it is this very process.
    let mut other = std::process::Command::new("sleep")
        .arg("1000")
        .stdin(open)
        .spawn()
        .unwrap();
    let told = thins.detach("a");
    let _ = (other.kill(), other.wait());
    let error = told.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    let pid = format!("pid {}", other.id());
    assert!(error.chain().contains(&pid), "{}", error.chain());
    assert_eq!(thins.drop_volume("a").unwrap_err().kind(), ErrorKind::Busy);
    thins.detach("a").unwrap();
    assert_eq!(thins.attachment("a"), None);
    assert_eq!(thins.detach("a").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn root_a_device_attached_read_only_refuses_writes() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_fs("a", "ext4", 16 * MIB).unwrap();
    let attachment = thins.driver.attach(&volume("a"), true).unwrap();
    assert!(attachment.read_only);
    assert!(thins.attachment("a").unwrap().read_only);
    assert!(std::fs::write(&attachment.device, [0; 512]).is_err());
    let error = thins.mount("a", "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    let mounted = thins.mount("a", "ro").unwrap();
    assert_eq!(mounted.device, attachment.device);
    mounted.umount();
    thins.detach("a").unwrap();
    let mounted = thins.mount("a", "ro").unwrap();
    assert!(thins.attachment("a").unwrap().read_only);
    mounted.umount();
}

#[test]
fn root_mounts_share_a_device_that_goes_with_the_last_of_them() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_fs("a", "ext4", 16 * MIB).unwrap();
    let first = thins.mount("a", "").unwrap();
    let device = first.device.clone();
    let elsewhere = thins.scratch.folder("elsewhere").unwrap();
    let Ok(MountSource::Device { path, handle }) = thins.mount_source("a") else {
        panic!("it can be shared");
    };
    assert_eq!(path, device);
    run("mount", &[path.as_path(), &elsewhere]).unwrap();
    drop(handle);
    let error = thins.attach("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(
        error.chain().contains(first.at.to_str().unwrap()),
        "{}",
        error.chain()
    );
    assert_eq!(thins.detach("a").unwrap_err().kind(), ErrorKind::Busy);
    first.umount();
    assert!(thins.attachment("a").is_some());
    run("umount", &[&elsewhere]).unwrap();
    assert!(eventually(|| thins.attachment("a").is_none()));
    // One that is just going is waited for.
    for _ in 0..5 {
        thins.mount("a", "").unwrap().umount();
        thins.attach("a").unwrap();
        thins.detach("a").unwrap();
    }
}

#[test]
fn root_an_attached_volume_is_mounted_twice_unless_somebody_else_has_it_open() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    for fs in ["ext4", "xfs", "btrfs"] {
        if !requires_program(&format!("mkfs.{fs}")) {
            continue;
        }
        thins.create_fs(fs, fs, 320 * MIB).unwrap();
        let device = thins.attach(fs).unwrap().device;
        // No process besides this one is seen to have it.
        let open = File::open(&device).unwrap();
        let refused = |error: Error| {
            let text = error.chain();
            assert_eq!(error.kind(), ErrorKind::Busy, "{fs}: {text}");
            assert!(text.contains("not to be seen"), "{fs}: {text}");
        };
        refused(thins.mount_source(fs).unwrap_err());
        drop(open);
        let first = thins.mount(fs, "").unwrap();
        drop(thins.mount_source(fs).unwrap());
        let elsewhere = thins.scratch.folder(&format!("elsewhere-{fs}")).unwrap();
        run("mount", &[device.as_path(), &elsewhere]).unwrap();
        let open = File::open(&device).unwrap();
        refused(thins.mount_source(fs).unwrap_err());
        drop(open);
        drop(thins.mount_source(fs).unwrap());
        run("umount", &[&elsewhere]).unwrap();
        first.umount();
        thins.detach(fs).unwrap();
        thins.drop_volume(fs).unwrap();
    }
}

#[test]
fn root_a_device_of_another_program_is_seen_and_never_shared() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_fs("a", "ext4", 16 * MIB).unwrap();
    thins.create_fs("b", "ext4", 16 * MIB).unwrap();
    let pool = thins.pool.device().unwrap();
    let other = format!("{}-other", thins.pool.name());
    let table = format!("0 32768 thin {} 1", pool.display());
    run("dmsetup", &["create", &other, "--table", &table]).unwrap();
    let attachment = thins.attachment("a").unwrap();
    assert!(attachment.foreign);
    let listed = thins.driver.list().unwrap();
    let listed = listed.iter().find(|volume| volume.stored == "a").unwrap();
    assert_eq!(listed.attachment.as_ref(), Some(&attachment));
    let device = attachment.device.to_str().unwrap();
    for error in [
        thins.attach("a").unwrap_err(),
        thins.detach("a").unwrap_err(),
        thins.mount("a", "").unwrap_err(),
        thins.drop_volume("a").unwrap_err(),
        thins.resize("a", 32 * MIB).unwrap_err(),
        thins.clone_volume("a", "c", None).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Busy, "{}", error.chain());
        assert!(error.chain().contains(device), "{}", error.chain());
    }
    // The next volume is nobody's business.
    thins.mount("b", "").unwrap().umount();
    run("dmsetup", &["remove", "--retry", &other]).unwrap();
    thins.drop_volume("a").unwrap();
}

#[test]
fn root_what_a_killed_command_left_is_put_right_by_the_next() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", 4 * MIB).unwrap();
    thins.create_disk("b", 4 * MIB).unwrap();
    let device = thins.attach("a").unwrap().device;
    let name = format!("{}-mosaic-1", thins.pool.name());
    // Killed between suspend and resume of a clone.
    run("dmsetup", &["suspend", &name]).unwrap();
    // Killed between DEV_CREATE and resume of an attach.
    let number = stdout_of(
        "dmsetup",
        &[
            "info",
            "-c",
            "--noheadings",
            "-o",
            "devno",
            thins.pool.name(),
        ],
    );
    let uuid = format!("MOSAIC-{}-2", number.unwrap().trim());
    let left = format!("{}-mosaic-2", thins.pool.name());
    run("dmsetup", &["create", &left, "-u", &uuid, "--notable"]).unwrap();
    // Looking is not disturbed by that.
    assert_eq!(thins.names(), ["a", "b"]);
    assert_eq!(thins.attachment("b"), None);
    let found = thins.driver.check(&Repair::Nothing).unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    thins.driver.recover().unwrap();
    let status = stdout_of("dmsetup", &["info", &name]).unwrap();
    assert!(status.contains("ACTIVE"), "{status}");
    std::fs::write(&device, [1; 512]).unwrap();
    assert_eq!(thins.pool.devices().unwrap().len(), 2);
    assert!(!stdout_of("dmsetup", &["ls"]).unwrap().contains(&left));
    assert!(thins.driver.check(&Repair::Nothing).unwrap().is_empty());
    thins.attach("b").unwrap();
}

#[test]
fn root_a_device_of_the_same_name_is_told_with_the_way_out() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", MIB).unwrap();
    let name = format!("{}-mosaic-1", thins.pool.name());
    run("dmsetup", &["create", &name, "--notable"]).unwrap();
    let error = thins.attach("a").unwrap_err();
    let text = error.chain();
    assert_eq!(error.kind(), ErrorKind::Busy, "{text}");
    assert!(text.contains(&format!("dmsetup remove {name}")), "{text}");
    run("dmsetup", &["remove", &name]).unwrap();
    thins.attach("a").unwrap();
    thins.detach("a").unwrap();
}

#[test]
fn root_a_removal_waits_for_who_has_a_look_and_names_who_stays() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", MIB).unwrap();
    let device = thins.attach("a").unwrap().device;
    let look = File::open(&device).unwrap();
    // Until the kernel refused it.
    let refusal = ["DM_DEV_REMOVE", &format!("{:?}", Errno::BUSY)];
    let user = Reaction::new(&refusal, move || drop(look));
    thins.with_user(user.clone()).detach(&volume("a")).unwrap();
    assert!(user.was_called_for());
    let device = thins.attach("a").unwrap().device;
    let mut stays = std::process::Command::new("sh")
        .args(["-c", &format!("exec 7<{}; echo; read x", device.display())])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(stays.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let told = thins.detach("a");
    drop(stays.stdin.take());
    stays.wait().unwrap();
    let error = told.unwrap_err();
    let text = error.chain();
    assert_eq!(error.kind(), ErrorKind::Busy, "{text}");
    assert!(text.contains(&stays.id().to_string()), "{text}");
    thins.detach("a").unwrap();
}

#[test]
fn root_a_volume_that_others_show_too_can_be_detached() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", MIB).unwrap();
    thins.attach("a").unwrap();
    let other = format!("{}-other", thins.pool.name());
    let pool = thins.pool.device().unwrap();
    let table = format!("0 2048 thin {} 1", pool.display());
    run("dmsetup", &["create", &other, "--table", &table]).unwrap();
    let detached = thins.detach("a");
    let again = thins.detach("a");
    let mounted = thins.drop_volume("a");
    run("dmsetup", &["remove", "--retry", &other]).unwrap();
    detached.unwrap();
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(mounted.unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(thins.names(), ["a"]);
}
