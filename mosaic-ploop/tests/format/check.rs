// SPDX-License-Identifier: MIT OR Apache-2.0
//! Damage, and what a check makes of it.

use mosaic_ploop::format::Error;
use mosaic_ploop::format::check::{Fault, Repair, Report};
use mosaic_ploop::format::disk::{Disk, DiskReport, Kind};
use mosaic_ploop::format::entry::EntryFault;
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::units::{
    ClusterSize, DiskOffset, FileCluster, FileOffset, Sectors, VirtualCluster,
};

use crate::disk::{
    CLUSTER, MemDisk, V1, V2, assert_clean, bat, change, fill, guid, new, read_top, small,
};
use crate::storage::{Loss, after_crash};

/// A disk with data in its first three clusters, and its image changed.
fn damaged(kind: Kind, damage: impl FnOnce(&mut Vec<u8>)) -> MemDisk {
    let disk = small(kind);
    for number in 0..3 {
        let byte = u8::try_from(number).unwrap() + 1;
        fill(&disk, number * CLUSTER, CLUSTER, byte);
    }
    let mut image = disk.folder().bytes("root.hds");
    damage(&mut image);
    disk.folder().put("root.hds", &image);
    disk
}

fn set_entry(image: &mut [u8], number: usize, entry: u32) {
    image[64 + 4 * number..][..4].copy_from_slice(&entry.to_le_bytes());
}

fn check(disk: &mut MemDisk, repair: Option<Repair>) -> Report {
    let DiskReport { mut files, .. } = disk.check(repair).unwrap();
    assert_eq!(files.len(), 1);
    files.remove(0)
}

/// The only fault is that one; a safe repair leaves it alone, a hard one mends it.
fn assert_fatal(mut disk: MemDisk, fault: &Fault) -> MemDisk {
    let before = disk.folder().content();
    for repair in [None, Some(Repair::Safe)] {
        let report = check(&mut disk, repair);
        assert_eq!(report.faults, std::slice::from_ref(fault));
        assert!(report.is_fatal && !report.is_repaired);
    }
    assert!(disk.folder().content() == before);
    assert!(matches!(disk.write(), Err(Error::Entry { .. })));
    assert!(check(&mut disk, Some(Repair::Hard)).is_repaired);
    assert_clean(&mut disk);
    disk
}

fn entry(cluster: u32, fault: EntryFault) -> Fault {
    Fault::Entry {
        cluster: VirtualCluster(cluster),
        fault,
    }
}

/// The first byte of each of the first clusters.
fn firsts(disk: &MemDisk) -> Vec<u8> {
    let size = usize::try_from(CLUSTER).unwrap();
    let data = read_top(disk);
    data.chunks(size).take(4).map(|data| data[0]).collect()
}

#[test]
fn an_entry_past_the_end_of_the_file_is_lost() {
    let disk = damaged(V2, |image| set_entry(image, 1, 9));
    let fault = EntryFault::PastEnd {
        at: 9 * CLUSTER,
        length: 4 * CLUSTER,
    };
    assert_eq!(firsts(&assert_fatal(disk, &entry(1, fault))), [1, 0, 3, 0]);
}

#[test]
fn an_entry_into_the_table_is_lost() {
    // Room for a BAT of two clusters.
    let disk = damaged(V2, |image| {
        image[48..52].copy_from_slice(&128_u32.to_le_bytes());
    });
    let fault = EntryFault::BelowData {
        at: CLUSTER,
        data: 2 * CLUSTER,
    };
    let before = disk.folder().bytes("root.hds");
    assert!(before[usize::try_from(CLUSTER).unwrap()] == 1);
    let mut disk = disk;
    let report = check(&mut disk, None);
    assert_eq!(report.faults[0], entry(0, fault));
    // The old cluster is where the table would grow to, which is not zeros.
    assert!(report.faults.len() == Report::MOST && report.more > 0);
    assert!(check(&mut disk, Some(Repair::Hard)).is_repaired);
    assert_eq!(firsts(&disk), [0, 2, 3, 0]);
    assert_clean(&mut disk);
}

#[test]
fn a_misaligned_entry_is_lost() {
    let disk = damaged(V1, |image| set_entry(image, 2, 65));
    let fault = entry(2, EntryFault::Misaligned(65));
    assert_eq!(firsts(&assert_fatal(disk, &fault)), [1, 2, 0, 0]);
}

#[test]
fn of_two_entries_of_one_cluster_each_gets_its_own() {
    for (kind, factor) in [(V1, 64), (V2, 1)] {
        let disk = damaged(kind, |image| set_entry(image, 3, 2 * factor));
        let fault = entry(3, EntryFault::Duplicate(FileCluster(2)));
        let disk = assert_fatal(disk, &fault);
        assert_eq!(firsts(&disk), [1, 2, 3, 2]);
        assert!(bat(&disk, Guid::TOP).contains(&(3, 4 * factor)));
    }
}

#[test]
fn what_loses_nothing_is_repaired_at_once() {
    let mut disk = damaged(V2, |image| {
        image[44..48].copy_from_slice(b"Ynot");
        // Empty, which it is not; an entry beyond the disk; half a cluster more.
        image[52] = 1;
        set_entry(image, 12, 3);
        image.extend([9; 1000]);
    });
    let report = check(&mut disk, None);
    let faults = [
        Fault::InUse,
        Fault::Tail {
            bytes: CLUSTER - 1000,
        },
        Fault::Stray(FileOffset(64 + 48)),
    ];
    assert_eq!(report.faults, faults);
    assert!(!report.is_fatal && report.lost == 1);
    assert!(matches!(disk.write(), Err(Error::InUse { .. })));
    assert!(check(&mut disk, Some(Repair::Safe)).is_repaired);
    let image = disk.folder().bytes("root.hds");
    assert_eq!(image.len() as u64, 4 * CLUSTER);
    assert_eq!((&image[44..48], image[52]), (&[0; 4][..], 0));
    assert_eq!(firsts(&disk), [1, 2, 3, 0]);
    assert_clean(&mut disk);
}

/// The table of a writer whose flush failed is right in the page cache, and not on storage.
#[test]
fn a_repair_writes_the_table_as_a_whole() {
    for kind in [V1, V2] {
        // Pages of the table from the first to the last.
        let clusters = [0, 1007, 1008, 5000, 8999];
        let mut disk = new(kind, ClusterSize::MIN, 9000 * CLUSTER);
        for (byte, cluster) in (1..).zip(clusters) {
            fill(&disk, cluster * CLUSTER, 512, byte);
        }
        change(&disk, |chain| {
            // Storage has the entry of what is taken out.
            chain
                .write_zeroes(DiskOffset(5000 * CLUSTER), CLUSTER)
                .unwrap();
        });
        let mut image = disk.folder().bytes("root.hds");
        image[44..48].copy_from_slice(&0x746f_6e59_u32.to_le_bytes());
        disk.folder().put("root.hds", &image);
        let cached = bat(&disk, Guid::TOP);
        assert_eq!(cached.len(), clusters.len() - 1);
        let mut storage = disk.folder().content();
        let inode = storage.names["root.hds"];
        // All that failed to get there.
        storage.inodes[inode][64..64 + 4 * 9000].fill(0);
        set_entry(&mut storage.inodes[inode], 5000, cached[0].1);
        disk.folder().take_steps();
        assert!(disk.check(Some(Repair::Safe)).unwrap().is_clean());
        let steps = disk.folder().take_steps();
        for done in 0..=steps.len() {
            let cut = after_crash(&storage, &steps[..done], Loss::All);
            let cut = Disk::open(cut).unwrap();
            let is_closed = cut.is_closed().unwrap();
            assert!(
                !is_closed || bat(&cut, Guid::TOP) == cached,
                "{kind:?}: {done}"
            );
            assert_eq!(is_closed, done == steps.len(), "{kind:?}: {done}");
        }
    }
}

#[test]
fn an_entry_for_a_cluster_beyond_the_disk_goes() {
    let mut disk = damaged(V2, |image| {
        // Eleven clusters on the disk, twelve in the table.
        image[36..40].copy_from_slice(&(11 * 64_u32).to_le_bytes());
        set_entry(image, 11, 3);
    });
    let text = disk.descriptor().to_string().replace(">768<", ">704<");
    disk.folder().put("DiskDescriptor.xml", text.as_bytes());
    disk = Disk::open(disk.folder().clone()).unwrap();
    let report = check(&mut disk, Some(Repair::Safe));
    assert_eq!(report.faults, [Fault::Beyond(VirtualCluster(11))]);
    assert_eq!(firsts(&disk), [1, 2, 3, 0]);
    assert_clean(&mut disk);
}

/// An image with a format extension in its last cluster.
fn with_extension(flags: u64) -> MemDisk {
    damaged(V2, |image| {
        image[44..48].copy_from_slice(b"v2.1");
        image[56..64].copy_from_slice(&(4 * 64_u64).to_le_bytes());
        let mut extension = 0xAB23_4CEF_23DC_EA87_u64.to_le_bytes().to_vec();
        extension.resize(24, 0);
        extension.extend(7_u64.to_le_bytes());
        extension.extend(flags.to_le_bytes());
        extension.resize(usize::try_from(CLUSTER).unwrap(), 0);
        image.extend(extension);
    })
}

#[test]
fn a_format_extension_is_no_lost_space_and_goes_with_the_first_write() {
    let mut disk = with_extension(0);
    let report = check(&mut disk, None);
    assert!(report.is_clean() && report.lost == 0, "{report:?}");
    fill(&disk, 0, 1, 9);
    let image = disk.folder().bytes("root.hds");
    assert_eq!(
        (image.len() as u64, &image[56..64]),
        (4 * CLUSTER, &[0; 8][..])
    );
    assert_clean(&mut disk);
    let mut disk = with_extension(0);
    disk.snapshot(guid(1)).unwrap();
    let image = disk.folder().bytes("root.hds");
    assert_eq!(image[44..48], [0; 4]);
    assert_clean(&mut disk);
}

#[test]
fn an_extension_that_forbids_changes_is_obeyed() {
    let mut disk = with_extension(1);
    let before = disk.folder().content();
    assert!(matches!(disk.write(), Err(Error::Extension { .. })));
    let snapshot = disk.snapshot(guid(1));
    assert!(matches!(snapshot, Err(Error::Extension { .. })));
    assert_eq!(firsts(&disk), [1, 2, 3, 0]);
    assert!(disk.folder().content() == before);
}

#[test]
fn a_cluster_of_the_extension_and_of_the_disk_gets_its_own_place() {
    let mut disk = with_extension(0);
    let mut image = disk.folder().bytes("root.hds");
    set_entry(&mut image, 5, 4);
    disk.folder().put("root.hds", &image);
    let report = check(&mut disk, Some(Repair::Hard));
    let fault = entry(5, EntryFault::Duplicate(FileCluster(4)));
    assert_eq!(report.faults, [fault]);
    assert_eq!(bat(&disk, Guid::TOP)[3], (5, 4));
    assert_clean(&mut disk);
}

#[test]
fn a_file_with_another_name_is_not_repaired() {
    let mut disk = damaged(V2, |image| image[44..48].copy_from_slice(b"Ynot"));
    disk.folder().link("root.hds", "clone.hds");
    let before = disk.folder().content();
    let report = check(&mut disk, Some(Repair::Safe));
    assert!(!report.is_clean() && !report.is_repaired);
    assert!(disk.folder().content() == before);
}

#[test]
fn deltas_that_do_not_fit_are_told() {
    let mut disk = small(V2);
    disk.snapshot(guid(1)).unwrap();
    let other = small(V1).folder().bytes("root.hds");
    disk.folder().put("root.hds", &other);
    let report = disk.check(Some(Repair::Hard)).unwrap();
    assert!(matches!(report.misfits[..], [Error::Mismatch { .. }]));
    assert!(!report.is_clean());
    assert!(matches!(disk.read(Guid::TOP), Err(Error::Mismatch { .. })));
    assert!(matches!(disk.write(), Err(Error::Mismatch { .. })));
    // It is not left marked.
    let top = disk.descriptor().file(Guid::TOP).unwrap();
    assert_eq!(disk.folder().bytes(top)[44..48], [0; 4]);
}

#[test]
fn a_descriptor_with_another_size_than_the_top_gets_that() {
    let mut disk = small(V2);
    let text = disk.descriptor().to_string().replace(">768<", ">640<");
    disk.folder().put("DiskDescriptor.xml", text.as_bytes());
    disk = Disk::open(disk.folder().clone()).unwrap();
    let report = disk.check(Some(Repair::Safe)).unwrap();
    assert_eq!(report.stale_size, Some(Sectors(640)));
    assert_eq!(disk.descriptor().size(), Sectors(768));
    assert_clean(&mut disk);
}

#[test]
fn a_delta_upon_an_odd_size_has_whole_clusters() {
    let mut disk = damaged(V2, |image| {
        image[36..40].copy_from_slice(&(11 * 64 + 5_u32).to_le_bytes());
    });
    let text = disk.descriptor().to_string().replace(">768<", ">709<");
    disk.folder().put("DiskDescriptor.xml", text.as_bytes());
    disk = Disk::open(disk.folder().clone()).unwrap();
    assert_eq!(read_top(&disk).len(), 709 * 512);
    fill(&disk, 708 * 512, 512, 9);
    disk.snapshot(guid(1)).unwrap();
    assert_eq!(disk.descriptor().size(), Sectors(768));
    let data = read_top(&disk);
    assert_eq!((data[708 * 512], data[709 * 512]), (9, 0));
    disk.delete(guid(1)).unwrap();
    assert!(read_top(&disk) == data);
    assert_clean(&mut disk);
}

#[test]
fn a_conversion_without_its_backup_is_left_to_people() {
    let mut disk = damaged(V2, |image| image[52] = 2);
    let before = disk.folder().content();
    for repair in [None, Some(Repair::Safe), Some(Repair::Hard)] {
        let checked = disk.check(repair);
        assert!(matches!(checked, Err(Error::Converting { .. })));
    }
    assert!(matches!(
        disk.read(Guid::TOP),
        Err(Error::Converting { .. })
    ));
    assert!(matches!(disk.write(), Err(Error::Converting { .. })));
    assert!(disk.folder().content() == before);
}

#[test]
fn what_only_qemu_makes_is_read_and_not_written() {
    // V1, clusters of 64 sectors right behind the BAT, which ends with a sector.
    let mut disk = damaged(V1, |image| {
        image[48..52].fill(0);
        image.truncate(512);
        set_entry(image, 0, 1);
        set_entry(image, 1, 0);
        set_entry(image, 2, 65);
        image.extend(vec![5; usize::try_from(CLUSTER).unwrap()]);
        image.extend(vec![6; usize::try_from(CLUSTER).unwrap()]);
    });
    assert_eq!(firsts(&disk), [5, 0, 6, 0]);
    assert!(check(&mut disk, None).is_clean());
    assert!(matches!(disk.write(), Err(Error::NotWritable { .. })));
    // Upon it there is one that is.
    disk.snapshot(guid(1)).unwrap();
    change(&disk, |chain| {
        chain
            .write(&[7], mosaic_ploop::format::units::DiskOffset(1))
            .unwrap();
    });
    assert_eq!(read_top(&disk)[..3], [5, 7, 5]);
    assert_clean(&mut disk);
    assert!(matches!(
        disk.delete(guid(1)),
        Err(Error::NotWritable { .. })
    ));
    assert_eq!(read_top(&disk)[..3], [5, 7, 5]);
}
