// SPDX-License-Identifier: MIT OR Apache-2.0
//! What libploop and QEMU were seen to do, to the byte. Vectors 3 and 4 are with the header.

use mosaic_ploop::format::disk::{Deletion, Kind};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::units::{ClusterSize, Sectors};

use crate::disk::{CLUSTER, MIB, V1, V2, assert_clean, bat, file, fill, guid, new, read, read_top};

/// The descriptor of a disk of 64 MiB.
const DESCRIPTOR: &str = r#"<?xml version="1.0"?>
<Parallels_disk_image>
  <Disk_Parameters>
    <Disk_size>131072</Disk_size>
    <Cylinders>256</Cylinders>
    <Heads>16</Heads>
    <Sectors>32</Sectors>
    <Padding>0</Padding>
  </Disk_Parameters>
  <StorageData>
    <Storage>
      <Start>0</Start>
      <End>131072</End>
      <Blocksize>2048</Blocksize>
      <Image>
        <GUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</GUID>
        <Type>Compressed</Type>
        <File>root.hds</File>
      </Image>
    </Storage>
  </StorageData>
  <Snapshots>
    <TopGUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</TopGUID>
    <Shot>
      <GUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</GUID>
      <ParentGUID>{00000000-0000-0000-0000-000000000000}</ParentGUID>
    </Shot>
  </Snapshots>
</Parallels_disk_image>
"#;

fn sectors(bytes: u64) -> Sectors {
    Sectors(bytes / 512)
}

#[test]
fn vector_1_a_new_disk() {
    for (kind, signature) in [(V1, b"WithoutFreeSpace"), (V2, b"WithouFreSpacExt")] {
        let disk = new(kind, ClusterSize::DEFAULT, 64 * MIB);
        let image = disk.folder().bytes("root.hds");
        assert_eq!(image.len(), 1_048_576);
        assert_eq!(&image[..16], signature);
        let rest = [
            0x02, 0, 0, 0, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0x40, 0, 0, 0, 0, 0, 2, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(image[16..64], rest);
        assert!(image[64..].iter().all(|byte| *byte == 0));
        let descriptor = disk.folder().bytes("DiskDescriptor.xml");
        assert_eq!(String::from_utf8(descriptor).unwrap(), DESCRIPTOR);
    }
}

#[test]
fn vector_2_clusters_are_taken_in_the_order_of_writing() {
    let mut disk = new(V2, ClusterSize::DEFAULT, 64 * MIB);
    fill(&disk, 7 * MIB, 3 * MIB, 1);
    fill(&disk, 43 * MIB + 768 * 1024, 64 * 1024, 2);
    assert_eq!(disk.folder().bytes("root.hds").len(), 5 << 20);
    assert_eq!(bat(&disk, Guid::TOP), [(7, 1), (8, 2), (9, 3), (43, 4)]);
    assert_clean(&mut disk);
}

#[test]
fn vector_5_grow_moves_the_clusters_that_the_bat_needs() {
    let mut disk = new(V2, ClusterSize::MIN, 256 * MIB);
    fill(&disk, 0, 4 * MIB, 1);
    fill(&disk, 100 * MIB, 3 * MIB, 2);
    fill(&disk, 255 * MIB, MIB, 3);
    assert_eq!(disk.folder().bytes("root.hds").len(), 8_454_144);
    let before = read_top(&disk);
    disk.grow(sectors(2048 * MIB)).unwrap();
    let image = disk.folder().bytes("root.hds");
    assert_eq!(image.len(), 8_683_520);
    assert_eq!(image[32..36], 65_536_u32.to_le_bytes());
    assert_eq!(image[48..52], 576_u32.to_le_bytes());
    let entries = bat(&disk, Guid::TOP);
    let moved: Vec<_> = (0..7).map(|at| (at, 258 + at)).chain([(7, 9)]).collect();
    assert_eq!(entries[..8], moved);
    assert_eq!(entries.len(), 256);
    let table_end = 64 + 4 * 65_536;
    assert!(image[table_end..576 * 512].iter().all(|byte| *byte == 0));
    let chain = disk.read(Guid::TOP).unwrap();
    assert_eq!(chain.size(), sectors(2048 * MIB));
    let mut after = vec![0; before.len()];
    let start = mosaic_ploop::format::units::DiskOffset(0);
    chain.read(&mut after, start).unwrap();
    assert!(before == after);
    assert_eq!(disk.descriptor().size(), sectors(2048 * MIB));
    assert_clean(&mut disk);
}

#[test]
fn vector_6_merge_of_a_child_into_its_base() {
    for kind in [V1, V2] {
        let mut disk = new(kind, ClusterSize::DEFAULT, 64 * MIB);
        fill(&disk, 0, 8 * MIB, 0x11);
        fill(&disk, 60 * MIB, 4 * MIB, 0x12);
        disk.snapshot(guid(1)).unwrap();
        fill(&disk, 2 * MIB, MIB, 0x21);
        fill(&disk, 5128 * 1024, 4096, 0x22);
        fill(&disk, 20 * MIB, 64 * 1024, 0x23);
        let child = file(&disk, Guid::TOP);
        assert_eq!(disk.folder().bytes(&child).len(), 4 << 20);
        assert_eq!(disk.folder().bytes("root.hds").len(), 13_631_488);
        let before = read_top(&disk);
        let around = &before[5 << 20..6 << 20];
        assert_eq!(
            (around[0], around[8 * 1024], around[12 * 1024]),
            (0x11, 0x22, 0x11)
        );
        assert_eq!(disk.delete(guid(1)).unwrap(), Deletion::Done);
        assert_eq!(disk.folder().bytes("root.hds").len(), 14_680_064);
        let factor = if kind == V1 { 2048 } else { 1 };
        assert!(bat(&disk, Guid::TOP).contains(&(20, 13 * factor)));
        assert!(read_top(&disk) == before);
        assert_clean(&mut disk);
    }
}

#[test]
fn vector_7_merge_of_a_grown_child_into_its_base() {
    let mut disk = new(V2, ClusterSize::DEFAULT, 64 * MIB);
    disk.snapshot(guid(1)).unwrap();
    disk.grow(sectors(128 * MIB)).unwrap();
    fill(&disk, 127 * MIB, MIB, 1);
    assert_eq!(disk.delete(guid(1)).unwrap(), Deletion::Done);
    let image = disk.folder().bytes("root.hds");
    assert_eq!(image[32..36], 128_u32.to_le_bytes());
    assert_eq!(image[36..44], 262_144_u64.to_le_bytes());
    assert_eq!(bat(&disk, Guid::TOP), [(127, 1)]);
    assert_clean(&mut disk);
}

#[test]
fn vector_8_a_snapshot_with_two_children_waits() {
    let mut disk = new(V2, ClusterSize::MIN, 4 * CLUSTER);
    fill(&disk, 0, CLUSTER, 1);
    disk.snapshot(guid(1)).unwrap();
    fill(&disk, 0, CLUSTER, 2);
    disk.switch(guid(1), Some(guid(2))).unwrap();
    let before = disk.descriptor().to_string();
    assert_eq!(disk.delete(guid(1)).unwrap(), Deletion::Waits);
    let after = disk.descriptor().to_string();
    assert_eq!(after.replacen("\n      <Temporary/>", "", 1), before);
    // When one of the two is gone the next operation merges it.
    disk.delete(guid(2)).unwrap();
    disk.snapshot(guid(3)).unwrap();
    assert_eq!(disk.descriptor().shots().len(), 2);
    assert_eq!(read(&disk, guid(3))[..2], [1, 1]);
    assert_clean(&mut disk);
}

#[test]
fn deleting_the_top_upon_a_snapshot_that_waits_goes_to_the_one_beneath() {
    let mut disk = new(V2, ClusterSize::MIN, 4 * CLUSTER);
    for number in 1..=2 {
        fill(&disk, 0, CLUSTER, number);
        disk.snapshot(guid(number)).unwrap();
    }
    disk.switch(guid(2), Some(guid(3))).unwrap();
    assert_eq!(disk.delete(guid(2)).unwrap(), Deletion::Waits);
    disk.delete(guid(3)).unwrap();
    fill(&disk, 0, CLUSTER, 9);
    disk.delete(Guid::TOP).unwrap();
    assert_eq!(disk.descriptor().shots().len(), 1);
    assert_eq!(read_top(&disk)[0], 1);
    assert_clean(&mut disk);
}

#[test]
fn a_preallocated_disk_has_all_its_clusters_in_order() {
    let kind = Kind::Preallocated(mosaic_ploop::format::header::Version::V1);
    let mut disk = new(kind, ClusterSize::MIN, 3 * CLUSTER);
    assert_eq!(bat(&disk, Guid::TOP), [(0, 64), (1, 128), (2, 192)]);
    assert_eq!(disk.folder().bytes("root.hds").len() as u64, 4 * CLUSTER);
    disk.grow(sectors(5 * CLUSTER)).unwrap();
    assert_eq!(bat(&disk, Guid::TOP).len(), 5);
    let text = disk.descriptor().to_string();
    assert!(text.contains("<Preallocated>1</Preallocated>"));
    assert_clean(&mut disk);
}
