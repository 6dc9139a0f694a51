// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders as other programs make them: used as they are.

use std::fs;
use std::time::{Duration, Instant};

use mosaic_core::finding::Repair;
use mosaic_core::volume::Kind;
use mosaic_core::{Bytes, ErrorKind};
use mosaic_ploop::format::descriptor::{Base, Descriptor};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::units::{ClusterSize, Sectors};

use super::common::{Disks, MIB, disks};

/// A descriptor as libploop 1.12 writes it, with a snapshot.
const OPENVZ: &str = r#"<?xml version="1.0"?>
<Parallels_disk_image>
  <Disk_Parameters>
    <Disk_size>16384</Disk_size>
    <Cylinders>32</Cylinders>
    <Heads>16</Heads>
    <Sectors>32</Sectors>
    <Padding>0</Padding>
  </Disk_Parameters>
  <StorageData>
    <Storage>
      <Start>0</Start>
      <End>16384</End>
      <Blocksize>2048</Blocksize>
      <Image>
        <GUID>{2cbe11a6-5fa7-4a3c-a5a4-8a6f2d9a0001}</GUID>
        <Type>Compressed</Type>
        <File>root.hdd</File>
      </Image>
      <Image>
        <GUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</GUID>
        <Type>Compressed</Type>
        <File>root.hdd.{9d5d46a1-91b7-4b66-8d66-a9d6d5a70002}</File>
      </Image>
    </Storage>
  </StorageData>
  <Snapshots>
    <TopGUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</TopGUID>
    <Shot>
      <GUID>{2cbe11a6-5fa7-4a3c-a5a4-8a6f2d9a0001}</GUID>
      <ParentGUID>{00000000-0000-0000-0000-000000000000}</ParentGUID>
    </Shot>
    <Shot>
      <GUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</GUID>
      <ParentGUID>{2cbe11a6-5fa7-4a3c-a5a4-8a6f2d9a0001}</ParentGUID>
    </Shot>
  </Snapshots>
</Parallels_disk_image>
"#;

/// A raw disk with that content, as `ploop init -f raw` leaves it.
pub fn raw(disks: &Disks, name: &str, content: &[u8]) {
    fs::create_dir_all(disks.file(name)).unwrap();
    fs::write(disks.file(name).join("root.hdd"), content).unwrap();
    let size = Sectors(content.len() as u64 / 512);
    let base = Base::Raw;
    let descriptor = Descriptor::new(size, ClusterSize::DEFAULT, base, "root.hdd").unwrap();
    let path = disks.file(name).join("DiskDescriptor.xml");
    fs::write(path, descriptor.to_string()).unwrap();
}

/// A disk of OpenVZ's: `101/root.hdd` with a snapshot.
fn openvz(disks: &Disks) {
    disks.create_disk("made", 8 * MIB).unwrap();
    disks.write("made", 0, b"in the base");
    disks.clone("made", "other", None).unwrap();
    disks.write("other", 20, b"in the top");
    let folder = disks.file("101/root.hdd");
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir(disks.file("other")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let to = match name {
            "root.hds" => "root.hdd",
            name if name.starts_with("root.hds.") => {
                "root.hdd.{9d5d46a1-91b7-4b66-8d66-a9d6d5a70002}"
            }
            _ => continue,
        };
        fs::copy(&path, folder.join(to)).unwrap();
    }
    fs::write(folder.join("DiskDescriptor.xml"), OPENVZ).unwrap();
    fs::write(folder.join("DiskDescriptor.xml.lck"), "").unwrap();
    fs::create_dir(folder.join("root.hdd.mnt")).unwrap();
    fs::write(disks.file("101/ve.conf"), "").unwrap();
    for name in ["made", "other"] {
        disks.drop(name).unwrap();
    }
}

#[test]
fn a_disk_of_openvz_just_works() {
    let (_scratch, disks) = disks("openvz", &[]);
    openvz(&disks);
    let name = "101/root.hdd";
    assert_eq!(disks.names(), [name]);
    let found = disks.find(name).unwrap();
    assert_eq!(found.size.unwrap().0, 8 * MIB);
    let kind = Kind::Fs {
        fs: Some("ext4".to_owned()),
        assumed: true,
    };
    assert_eq!(found.kind, kind);
    assert_eq!(disks.fact(name, "snapshots"), "1");
    assert_eq!(disks.read(name, 0, 11), b"in the base");
    assert_eq!(disks.read(name, 20, 10), b"in the top");
    assert_eq!(disks.check(&Repair::Nothing), []);
    disks.label(name);
    disks.clone(name, "b", None).unwrap();
    assert_eq!(disks.read("b", 20, 10), b"in the top");
    assert!(disks.file("b/root.hdd").exists());
    disks.rename(name, "101/disk").unwrap();
    assert_eq!(disks.read("101/disk", 0, 11), b"in the base");
    disks.drop("101/disk").unwrap();
    assert_eq!(disks.read("b", 0, 11), b"in the base");
    assert!(disks.file("101/ve.conf").exists());
}

#[test]
fn paths_that_lead_into_the_folder_are_names_in_it() {
    let (_scratch, disks) = disks("paths", &[]);
    openvz(&disks);
    let folder = disks.file("101/root.hdd").canonicalize().unwrap();
    let descriptor = folder.join("DiskDescriptor.xml");
    let text = fs::read_to_string(&descriptor).unwrap();
    let at = format!("<File>{}//root.hdd", folder.display());
    fs::write(&descriptor, text.replace("<File>root.hdd", &at)).unwrap();
    let name = "101/root.hdd";
    assert_eq!(disks.read(name, 0, 11), b"in the base");
    disks.write(name, 20, b"in the TOP");
    assert_eq!(disks.check(&Repair::Nothing), []);
    assert!(fs::read_to_string(&descriptor).unwrap().contains(&at));
    disks.label(name);
    // Its images are claimed as such.
    let image = fs::File::open(folder.join("root.hdd")).unwrap();
    let error = disks.resize(name, 16 * MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{}", error.chain());
    drop(image);
    disks.clone(name, "b", None).unwrap();
    assert_eq!(disks.read("b", 20, 10), b"in the TOP");
    // In another place the path would lead to what is there by then.
    fs::write(&descriptor, text.replace("<File>root.hdd", &at)).unwrap();
    disks.rename(name, "disk").unwrap();
    let stored = fs::read_to_string(disks.file("disk/DiskDescriptor.xml")).unwrap();
    assert_eq!(stored, text);
    assert_eq!(disks.read("disk", 0, 11), b"in the base");
}

#[test]
fn a_raw_disk_is_as_large_as_its_file() {
    let (_scratch, disks) = disks("raw", &[]);
    raw(&disks, "a", &[3; 2 << 20]);
    disks.label("a");
    assert_eq!(disks.size("a"), 2 * MIB);
    assert_eq!(disks.fact("a", "base"), "raw");
    disks.resize("a", 4 * MIB).unwrap();
    assert_eq!(disks.size("a"), 4 * MIB);
    assert_eq!(disks.read("a", 2 * MIB - 1, 2), [3, 0]);
}

#[test]
fn a_damaged_disk_is_listed_said_and_can_be_dropped() {
    let (_scratch, disks) = disks("damage", &[]);
    for name in ["a", "b", "c"] {
        disks.create_disk(name, MIB).unwrap();
    }
    fs::write(disks.file("a/DiskDescriptor.xml"), "no XML").unwrap();
    fs::write(disks.file("b/root.hds"), "no image").unwrap();
    fs::remove_file(disks.file("c/root.hds")).unwrap();
    assert_eq!(disks.names(), ["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        assert!(!disks.find(name).unwrap().notes.is_empty(), "{name}");
        assert!(disks.clone(name, "d", None).is_err(), "{name}");
        assert!(disks.resize(name, 2 * MIB).is_err(), "{name}");
    }
    let findings = disks.check(&Repair::Usual);
    let mut volumes: Vec<_> = findings
        .iter()
        .map(|f| f.volume.as_deref().unwrap())
        .collect();
    volumes.sort_unstable();
    assert_eq!(volumes, ["a", "b", "c"], "{findings:?}");
    for name in ["a", "b", "c"] {
        disks.drop(name).unwrap();
    }
    assert!(disks.names().is_empty());
}

#[test]
fn a_descriptor_that_names_files_elsewhere_is_not_followed() {
    let (scratch, disks) = disks("elsewhere", &[]);
    let outside = scratch.path().join("secret");
    fs::write(&outside, vec![7; 1 << 20]).unwrap();
    for (name, file) in [
        ("a", outside.to_str().unwrap()),
        ("b", "../../secret"),
        ("c", "link"),
    ] {
        fs::create_dir(disks.file(name)).unwrap();
        let size = Sectors(2048);
        let descriptor = Descriptor::new(size, ClusterSize::DEFAULT, Base::Raw, file).unwrap();
        let path = disks.file(name).join("DiskDescriptor.xml");
        fs::write(path, descriptor.to_string()).unwrap();
        std::os::unix::fs::symlink(&outside, disks.file(name).join("link")).unwrap();
        disks.label(name);
        assert!(!disks.find(name).unwrap().notes.is_empty());
        assert!(disks.clone(name, "copy", None).is_err(), "{name}");
        assert!(disks.resize(name, 8 * MIB).is_err(), "{name}");
        disks.drop(name).unwrap();
    }
    assert_eq!(fs::read(&outside).unwrap(), vec![7; 1 << 20]);
}

#[test]
fn a_raw_disk_of_any_size_is_listed_at_once() {
    let (_scratch, disks) = disks("vast", &[("cluster_size", "32K")]);
    raw(&disks, "a", &[9; 1 << 20]);
    // What its owner can make of it with two commands: a file of holes, in small clusters.
    let image = fs::OpenOptions::new()
        .write(true)
        .open(disks.file("a/root.hdd"))
        .unwrap();
    let size = 8 << 40;
    image.set_len(size).unwrap();
    let path = disks.file("a/DiskDescriptor.xml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace("<Blocksize>2048<", "<Blocksize>64<");
    fs::write(&path, text).unwrap();
    let begun = Instant::now();
    assert_eq!(disks.size("a"), size);
    assert_eq!(disks.fact("a", "allocated"), Bytes(size).to_string());
    // With all clusters in a set it took a minute, and gigabytes.
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    // What is upon such a base counts once.
    raw(&disks, "b", &[9; 4 << 20]);
    let mut disk = disks.disk("b");
    disk.snapshot(Guid::from_random([1; 16])).unwrap();
    disk.grow(Sectors(8 * MIB / 512)).unwrap();
    drop(disk);
    for at in [MIB, 6 * MIB] {
        disks.write("b", at, b"mine");
    }
    assert_eq!(disks.fact("b", "allocated"), Bytes(5 * MIB).to_string());
}
