// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks that are one raw file, which loop devices show without a server: what others can do while
//! they are in use, they can too.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mosaic_core::volume::capability;
use mosaic_core::{Driver, ErrorKind, label, volume::NewKind};
use mosaic_ploop::files::DiskFolder;
use mosaic_ploop::format::disk::{Disk, Kind, NewDisk};
use mosaic_ploop::format::units::{ClusterSize, Sectors};
use mosaic_tests::{
    MountedFs, Scratch, Site, mounted_size, requires, requires_program, requires_root, run,
};

use super::clone::describe_with;
use super::common::{Disks, MIB, volume};

fn make_raw(folder: &Path, mib: u64, kind: NewKind) {
    std::fs::create_dir(folder).unwrap();
    let new = NewDisk {
        file: "root.hdd",
        size: Sectors(mib * MIB / 512),
        cluster: ClusterSize::DEFAULT,
        kind: Kind::Raw,
    };
    Disk::create(DiskFolder::open(folder).unwrap(), &new).unwrap();
    label::set_kind(File::open(folder).unwrap(), &kind).unwrap();
}

fn reason(disks: &Disks, name: &str) -> Option<String> {
    let all = disks.driver.capabilities(Some(&volume("a"))).unwrap();
    all.into_iter()
        .find(|can| can.name == name)
        .unwrap()
        .refusal
}

#[test]
fn root_a_raw_disk_in_use_grows_and_where_there_is_reflink_it_is_cloned() {
    for fs in ["xfs", "ext4"] {
        if !requires_root() || !requires_program(&format!("mkfs.{fs}")) {
            return;
        }
        let location = MountedFs::new(fs).unwrap();
        let disks = Disks::open(location.path(), &[]);
        make_raw(&disks.file("a"), 8, NewKind::Disk);
        let attached = disks.driver.attach(&volume("a"), false).unwrap();
        let device = File::options().write(true).open(&attached.device);
        let device = device.unwrap();
        device.write_all_at(&[1; 4096], MIB).unwrap();
        device.sync_all().unwrap();
        let cloned = disks.clone("a", "b", None);
        let refusal = reason(&disks, capability::CLONE);
        match fs {
            "xfs" => {
                cloned.unwrap();
                assert_eq!(refusal, None);
                disks.clone("a", "c", Some(32 * MIB)).unwrap();
                describe_with(&disks, "a", 8 * MIB, 64 * MIB);
                disks.clone("a", "d", Some(16 * MIB)).unwrap();
                disks.clone("a", "e", None).unwrap();
                describe_with(&disks, "a", 64 * MIB, 8 * MIB);
            }
            _ => {
                let error = cloned.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                assert!(error.chain().contains("reflink"), "{}", error.chain());
                assert!(error.chain().contains(&refusal.unwrap()));
                assert_eq!(disks.names(), ["a"]);
            }
        }
        assert!(disks.leftovers().is_empty());
        device.write_all_at(&[2; 4096], MIB).unwrap();
        for size in [16, 16, 24] {
            disks.resize("a", size * MIB).unwrap();
            let end = size * MIB - 512;
            device.write_all_at(&[3; 512], end).unwrap();
        }
        let smaller = disks.resize("a", 8 * MIB).unwrap_err();
        assert_eq!(smaller.kind(), ErrorKind::Busy, "{}", smaller.chain());
        device.sync_all().unwrap();
        drop(device);
        disks.driver.detach(&volume("a")).unwrap();
        assert_eq!(disks.size("a"), 24 * MIB);
        assert_eq!(disks.read("a", MIB, 4096), [2; 4096]);
        assert_eq!(disks.read("a", 24 * MIB - 512, 512), [3; 512]);
        assert_eq!(disks.disk("a").descriptor().shots().len(), 1);
        if fs == "xfs" {
            for (name, mib) in [("b", 8), ("c", 32), ("d", 16), ("e", 8)] {
                assert_eq!(disks.read(name, MIB, 4096), [1; 4096], "{name}");
                assert_eq!(disks.size(name), mib * MIB, "{name}");
                let says = disks.disk(name).descriptor().size();
                assert_eq!(says.bytes(), mib * MIB, "{name}");
                disks.drop(name).unwrap();
            }
        }
        assert_eq!(disks.check(&mosaic_core::finding::Repair::Nothing), []);
    }
}

/// Its folders have no fsync.
#[test]
fn root_a_raw_disk_is_read_where_nothing_can_ever_be_written() {
    if !requires_root() || !requires_program("mksquashfs") {
        return;
    }
    let known = std::fs::read_to_string("/proc/filesystems").unwrap();
    if !requires(known.contains("squashfs"), "this kernel has no squashfs") {
        return;
    }
    let scratch = Scratch::new("squashfs").unwrap();
    let (source, at) = (scratch.folder("vz").unwrap(), scratch.folder("at").unwrap());
    make_raw(&source.join("a"), 4, NewKind::Disk);
    let data = File::options().write(true).open(source.join("a/root.hdd"));
    data.unwrap().write_all_at(b"here", MIB).unwrap();
    let image = scratch.path().join("image");
    let [from, file, at] = [&source, &image, &at].map(|path| path.to_str().unwrap());
    run("mksquashfs", &[from, file, "-quiet", "-no-progress"]).unwrap();
    run("mount", &["-t", "squashfs", "-o", "loop", file, at]).unwrap();
    let disks = Disks::open(Path::new(at), &[]);
    let attached = disks.driver.attach(&volume("a"), true).unwrap();
    let mut found = [0; 4];
    let device = File::open(&attached.device).unwrap();
    device.read_exact_at(&mut found, MIB).unwrap();
    drop(device);
    assert_eq!(found, *b"here");
    disks.driver.detach(&volume("a")).unwrap();
    assert!(disks.driver.attach(&volume("a"), false).is_err());
}

/// As in a folder whose descriptor another program keeps beside that of its images.
#[test]
fn root_the_clone_of_a_raw_image_in_a_folder_beneath_has_it_beside_its_descriptor() {
    if !requires_root() || !requires_program("mkfs.xfs") {
        return;
    }
    let location = MountedFs::new("xfs").unwrap();
    let disks = Disks::open(location.path(), &[]);
    make_raw(&disks.file("a"), 8, NewKind::Disk);
    let folder = disks.file("a");
    std::fs::create_dir(folder.join("images")).unwrap();
    std::fs::rename(folder.join("root.hdd"), folder.join("images/root.hdd")).unwrap();
    let descriptor = folder.join("DiskDescriptor.xml");
    let text = std::fs::read_to_string(&descriptor).unwrap();
    let text = text.replace("<File>root.hdd<", "<File>images/root.hdd<");
    std::fs::write(&descriptor, text).unwrap();
    let attached = disks.driver.attach(&volume("a"), false).unwrap();
    let device = File::options().write(true).open(&attached.device);
    let device = device.unwrap();
    device.write_all_at(&[1; 4096], MIB).unwrap();
    device.sync_all().unwrap();
    disks.clone("a", "b", None).unwrap();
    device.write_all_at(&[2; 4096], MIB).unwrap();
    device.sync_all().unwrap();
    drop(device);
    disks.driver.detach(&volume("a")).unwrap();
    assert!(disks.file("b").join("root.hdd").is_file());
    assert_eq!(disks.read("b", MIB, 4096), [1; 4096]);
    assert_eq!(disks.read("a", MIB, 4096), [2; 4096]);
}

#[test]
fn root_a_file_system_on_a_raw_disk_grows_idle_and_mounted_and_is_cloned_meanwhile() {
    if !requires_root() || !requires_program("mkfs.xfs") {
        return;
    }
    let site = Site::on("xfs", "ploop", "default_fs: xfs\n").unwrap();
    let folder = site.location().join("a");
    make_raw(&folder, 320, NewKind::Fs(Some("xfs".into())));
    let image = folder.join("root.hdd");
    run("mkfs.xfs", &["-q", image.to_str().unwrap()]).unwrap();
    let at = site.mountpoint("at");
    let path = at.to_str().unwrap();
    site.ok(&["resize", "a", "340M"]);
    site.assert_idle();
    site.ok(&["mount", "a", path]);
    let before = mounted_size(&at);
    assert!(before > 250 * MIB, "{before}");
    std::fs::write(at.join("file"), "before").unwrap();
    site.ok(&["resize", "a", "400M"]);
    assert!(mounted_size(&at) > before + 50 * MIB);
    site.ok(&["clone", "a", "b"]);
    std::fs::write(at.join("file"), "after").unwrap();
    site.ok(&["umount", "a", path]);
    site.ok(&["mount", "b", path]);
    assert_eq!(std::fs::read(at.join("file")).unwrap(), b"before");
    site.ok(&["umount", "b", path]);
    assert_eq!(site.json(&["info", "a"])["volume"]["size"], 400 * MIB);
    site.assert_idle();
    site.ok(&["drop", "b"]);
}
