// SPDX-License-Identifier: MIT OR Apache-2.0
//! A partition is resized with its idle disk, and never below its file system.

use mosaic_core::loopdev::Window;
use mosaic_core::volume::{Access, NewKind, capability};
use mosaic_core::{Driver, ErrorKind};
use mosaic_ploop::format::units::{DiskOffset, Sectors};
use mosaic_ploop::gpt::new_table;
use mosaic_ploop::partition;
use mosaic_tests::requires_program;

use super::common::{Disks, MIB, disks, volume};

/// Bytes of the partition.
fn partition_of(disks: &Disks, name: &str) -> u64 {
    let disk = disks.disk(name);
    let chain = disk.read(disk.descriptor().top()).unwrap();
    let found = partition::find(&chain).unwrap().unwrap().partition();
    assert_eq!(found.at, MIB);
    found.bytes
}

#[test]
fn a_partition_is_not_cut_below_its_file_system() {
    if !requires_program("mkfs.ext4") {
        return;
    }
    let (_scratch, disks) = disks("partition", &[("partition", "gpt")]);
    disks.create_fs("a", "ext4", 32 * MIB).unwrap();
    let found = disks.find("a").unwrap();
    assert_eq!((found.access, found.overhead.0), (Access::Device, 2 * MIB));
    disks.resize("a", 64 * MIB).unwrap();
    assert_eq!(
        (disks.size("a"), partition_of(&disks, "a")),
        (64 * MIB, 62 * MIB)
    );
    // An older host shrinks the file system to the size of the whole disk only.
    let error = disks.resize("a", 31 * MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{}", error.chain());
    assert_eq!(
        (disks.size("a"), partition_of(&disks, "a")),
        (64 * MIB, 62 * MIB)
    );
    disks.resize("a", 32 * MIB).unwrap();
    assert_eq!(
        (disks.size("a"), partition_of(&disks, "a")),
        (32 * MIB, 30 * MIB)
    );
    assert_eq!(disks.find("a").unwrap().notes, Vec::<String>::new());
    assert!(
        disks
            .check(&mosaic_core::finding::Repair::Nothing)
            .is_empty()
    );
}

#[test]
fn a_disk_has_no_partition_and_may_be_small() {
    let (_scratch, disks) = disks("small", &[("partition", "gpt")]);
    disks.create_disk("a", MIB).unwrap();
    assert_eq!(disks.find("a").unwrap().overhead.0, 0);
    assert_eq!(disks.read("a", 0, 4096), [0; 4096]);
    let error = disks.create_fs("b", "ext4", 2 * MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.chain());
    assert_eq!(disks.names(), ["a"]);
}

#[test]
fn a_partition_that_leaves_no_room_is_not_cut() {
    let (_scratch, disks) = disks("cut", &[("partition", "gpt")]);
    disks.create_disk("a", 32 * MIB).unwrap();
    // Of a disk that was larger when it was made.
    let partition = Window {
        at: MIB,
        bytes: 31 * MIB - 10 * 512,
    };
    let table = new_table(Sectors(33 * MIB / 512), partition, [1; 16], [2; 16]);
    disks.write("a", 0, &table.front);
    disks.write("a", 31 * MIB, &[7; 1 << 20]);
    let dir = std::fs::File::open(disks.file("a")).unwrap();
    let kind = NewKind::Fs(Some("ext4".to_owned()));
    mosaic_core::label::set_kind(dir, &kind).unwrap();
    assert_eq!(partition_of(&disks, "a"), partition.bytes);
    let before = disks.read("a", 0, 32 << 20);
    for size in [32 * MIB, 33 * MIB, 64 * MIB] {
        let error = disks.resize("a", size).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.chain());
    }
    assert_eq!(disks.size("a"), 32 * MIB);
    assert!(disks.read("a", 0, 32 << 20) == before);
}

#[test]
fn a_damaged_table_is_said_and_nothing_is_done_to_the_disk() {
    if !requires_program("mkfs.ext4") {
        return;
    }
    let (_scratch, disks) = disks("damaged", &[("partition", "gpt")]);
    disks.create_fs("a", "ext4", 32 * MIB).unwrap();
    // The copy at the end is as good.
    disks.write("a", 1024 + 34, &[0xff]);
    assert_eq!(partition_of(&disks, "a"), 30 * MIB);
    disks.resize("a", 48 * MIB).unwrap();
    assert_eq!(partition_of(&disks, "a"), 46 * MIB);
    disks.write("a", 1024 + 34, &[0xff]);
    disks.write("a", 48 * MIB - 512 + 20, &[0xff]);
    let before = disks.read("a", 0, 48 << 20);
    let found = disks.find("a").unwrap();
    assert!(found.notes[0].contains("table is damaged"), "{found:?}");
    for error in [
        disks.resize("a", 64 * MIB).unwrap_err(),
        disks.resize("a", 32 * MIB).unwrap_err(),
        disks.driver.attach(&volume("a"), true).unwrap_err(),
        disks.clone("a", "b", Some(64 * MIB)).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.chain());
    }
    for ability in disks.driver.capabilities(Some(&volume("a"))).unwrap() {
        let is_resize = [capability::GROW, capability::SHRINK].contains(&ability.name.as_str());
        assert!(!is_resize || ability.refusal.is_some(), "{ability:?}");
    }
    assert_eq!(disks.size("a"), 48 * MIB);
    assert!(disks.read("a", 0, 48 << 20) == before);
    // A disk is its user's, whatever is on it.
    disks.label("a");
    disks.resize("a", 64 * MIB).unwrap();
    let mut chain = disks.disk("a").write().unwrap();
    chain.write(&[1], DiskOffset(0)).unwrap();
    chain.close().unwrap();
}
