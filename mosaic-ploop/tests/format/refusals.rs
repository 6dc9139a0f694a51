// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is not done, and leaves the disk as it was.

use mosaic_ploop::format::disk::{Disk, Kind, NewDisk};
use mosaic_ploop::format::error::{Error, Refusal};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::header::Version;
use mosaic_ploop::format::storage::Access;
use mosaic_ploop::format::units::{ClusterSize, Sectors};

use crate::disk::{
    CLUSTER, KINDS, MIB, MemDisk, V1, V2, assert_clean, file, fill, guid, new, read_top, small,
};
use crate::storage::MemFolder;

/// A disk with two snapshots upon the first, one of which is beneath the top.
fn branched() -> MemDisk {
    let mut disk = small(V2);
    disk.snapshot(guid(1)).unwrap();
    disk.snapshot(guid(2)).unwrap();
    disk.switch(guid(1), None).unwrap();
    disk
}

/// The disk with a part of its descriptor replaced.
fn with_text(disk: &MemDisk, from: &str, to: &str) -> MemDisk {
    let text = disk.descriptor().to_string();
    assert!(text.contains(from), "{from}");
    let text = text.replacen(from, to, 1);
    disk.folder().put("DiskDescriptor.xml", text.as_bytes());
    Disk::open(disk.folder().clone()).unwrap()
}

/// Asserts that it is refused like that, and nothing is different then.
fn assert_refused<T: std::fmt::Debug>(
    disk: &mut MemDisk,
    refusal: &Refusal,
    work: impl FnOnce(&mut MemDisk) -> Result<T, Error>,
) {
    let (before, text) = (disk.folder().content(), disk.descriptor().to_string());
    let done = work(disk);
    assert!(
        matches!(&done, Err(Error::Refused(why)) if why == refusal),
        "{done:?}"
    );
    assert!(disk.folder().content() == before);
    assert_eq!(disk.descriptor().to_string(), text);
}

#[test]
fn names_that_are_not_there_or_cannot_be() {
    let mut disk = branched();
    assert_refused(&mut disk, &Refusal::NoSnapshot(guid(9)), |disk| {
        disk.switch(guid(9), None)
    });
    assert_refused(&mut disk, &Refusal::NoSnapshot(guid(9)), |disk| {
        disk.delete(guid(9))
    });
    assert_refused(&mut disk, &Refusal::NoSnapshot(guid(9)), |disk| {
        disk.read(guid(9))
    });
    assert_refused(&mut disk, &Refusal::SnapshotExists(guid(1)), |disk| {
        disk.snapshot(guid(1))
    });
    assert_refused(&mut disk, &Refusal::SnapshotExists(guid(2)), |disk| {
        disk.switch(guid(1), Some(guid(2)))
    });
    for reserved in [Guid::NONE, Guid::TOP, Guid::RESERVED] {
        assert_refused(&mut disk, &Refusal::ReservedGuid(reserved), |disk| {
            disk.snapshot(reserved)
        });
    }
    assert_refused(&mut disk, &Refusal::ReservedGuid(Guid::TOP), |disk| {
        disk.switch(Guid::TOP, None)
    });
}

#[test]
fn deleting_what_others_need() {
    let mut disk = small(V2);
    assert_refused(&mut disk, &Refusal::LastImage(Guid::TOP), |disk| {
        disk.delete(Guid::TOP)
    });
    let mut disk = branched();
    assert_refused(&mut disk, &Refusal::HasOthers(guid(1)), |disk| {
        disk.delete(Guid::TOP)
    });
    disk.delete(guid(1)).unwrap();
    assert_refused(&mut disk, &Refusal::Temporary(guid(1)), |disk| {
        disk.delete(Guid::TOP)
    });
    assert_refused(&mut disk, &Refusal::Temporary(guid(1)), |disk| {
        disk.switch(guid(1), None)
    });
}

#[test]
fn the_top_upon_a_file_of_others_is_not_deleted() {
    let mut disk = small(V2);
    disk.snapshot(guid(1)).unwrap();
    disk.folder().link("root.hds", "clone.hds");
    let before = disk.folder().content();
    let deleted = disk.delete(Guid::TOP);
    assert!(matches!(deleted, Err(Error::Shared { .. })));
    assert!(disk.folder().content() == before);
}

#[test]
fn sizes_that_cannot_be() {
    for kind in KINDS {
        let mut disk = small(kind);
        let resize = |done| assert!(matches!(done, Err(Error::Resize { .. })), "{done:?}");
        resize(disk.grow(Sectors(1)));
        resize(disk.shrink(Sectors(1 << 20)));
        for size in [0, u64::MAX] {
            let grown = disk.grow(Sectors(size));
            assert!(matches!(grown, Err(Error::Size(_))), "{grown:?}");
        }
        disk.snapshot(guid(1)).unwrap();
        assert_refused(&mut disk, &Refusal::HasSnapshots, |disk| {
            disk.shrink(Sectors(64))
        });
        assert_clean(&mut disk);
    }
    let mut disk = small(V1);
    let grown = disk.grow(Sectors(1 << 32));
    assert!(matches!(grown, Err(Error::Size(_))));
    let mut large = new(V2, ClusterSize::DEFAULT, 2 << 40);
    let converted = large.convert(Version::V1);
    assert!(matches!(converted, Err(Error::Size(_))), "{converted:?}");
    assert_clean(&mut large);
}

#[test]
fn a_disk_of_libploop_alone() {
    let volume = "<Volume><Parent>/v</Parent></Volume><Storage>";
    let mut disk = with_text(&small(V2), "<Storage>", volume);
    let merging = guid(1);
    let mut snapshotted = small(V2);
    snapshotted.snapshot(merging).unwrap();
    let none = format!("<ParentGUID>{}</ParentGUID>", Guid::NONE);
    let marked = format!("{none}<TemporaryZeroSwap/>");
    let mut merging_disk = with_text(&snapshotted, &none, &marked);
    for (disk, refusal) in [
        (&mut disk, Refusal::LibploopVolume),
        (&mut merging_disk, Refusal::OnlineMerge(merging)),
    ] {
        assert_refused(disk, &refusal, |disk| disk.write());
        assert_refused(disk, &refusal, |disk| disk.snapshot(guid(7)));
        assert_refused(disk, &refusal, |disk| disk.grow(Sectors(1 << 20)));
        assert_refused(disk, &refusal, Disk::compact);
        assert_refused(disk, &refusal, |disk| disk.convert(Version::V1));
        let top = disk.descriptor().top();
        assert_refused(disk, &refusal, |disk| disk.delete(top));
        assert!(disk.read(top).is_ok());
        assert!(disk.check(None).unwrap().is_clean());
    }
}

#[test]
fn a_disk_where_there_is_one() {
    let disk = small(V2);
    let folder = disk.folder().clone();
    let new = NewDisk {
        file: "other.hds",
        size: Sectors(1),
        cluster: ClusterSize::MIN,
        kind: V2,
    };
    let before = folder.content();
    let made = Disk::create(folder.clone(), &new);
    assert!(matches!(made, Err(Error::Refused(Refusal::Exists(name))) if name.ends_with(".xml")));
    assert!(folder.content() == before);
    let folder = MemFolder::default();
    folder.put("other.hds", b"precious");
    let made = Disk::create(folder.clone(), &new);
    assert!(matches!(made, Err(Error::Refused(Refusal::Exists(name))) if name == "other.hds"));
    assert_eq!(folder.bytes("other.hds"), b"precious");
    assert_eq!(folder.names(), ["other.hds"]);
}

#[test]
fn making_a_disk_leaves_nothing_where_it_fails() {
    for kind in KINDS {
        let new = NewDisk {
            file: "root.hds",
            size: Sectors(2 * 64),
            cluster: ClusterSize::MIN,
            kind,
        };
        let made = Disk::create(MemFolder::default(), &new).unwrap();
        let steps = made.folder().take_steps().len();
        for good in 0..steps {
            let folder = MemFolder::default();
            folder.fail_after(good, false);
            let made = Disk::create(folder.clone(), &new);
            assert!(folder.heal() && made.is_err(), "{made:?}");
            // Only the last steps, at which it is there already.
            let is_there = folder.names().contains(&"DiskDescriptor.xml".to_owned());
            let is_last = good + 1 >= steps - 2;
            assert!(is_there && is_last || folder.names().len() <= 2 * usize::from(is_last));
        }
    }
}

#[test]
fn more_deltas_than_libploop_takes() {
    let mut disk = new(V2, ClusterSize::MIN, CLUSTER);
    for number in 1..127 {
        disk.snapshot(guid(number)).unwrap();
    }
    assert_refused(&mut disk, &Refusal::TooManyDeltas(127), |disk| {
        disk.snapshot(guid(200))
    });
    fill(&disk, 0, 1, 1);
    assert_eq!(read_top(&disk)[0], 1);
}

#[test]
fn an_older_top_gets_its_usual_name_with_the_next_change() {
    let text = small(V2).descriptor().to_string();
    let disk = small(V2);
    let older = text.replace("5fbaabe3", "6fbaabe3");
    disk.folder().put("DiskDescriptor.xml", older.as_bytes());
    let mut disk = Disk::open(disk.folder().clone()).unwrap();
    fill(&disk, 0, 1, 1);
    disk.snapshot(guid(1)).unwrap();
    assert_eq!(disk.descriptor().chain(Guid::TOP), [guid(1), Guid::TOP]);
    assert_eq!(read_top(&disk)[0], 1);
    assert_clean(&mut disk);
}

#[test]
fn a_new_delta_is_beside_the_descriptor_wherever_the_base_is() {
    let disk = small(V2);
    let image = disk.folder().bytes("root.hds");
    disk.folder().put("/vz/template/root.hds", &image);
    disk.folder().remove_name("root.hds");
    let mut disk = with_text(&disk, ">root.hds<", ">/vz//template/root.hds<");
    disk.snapshot(guid(1)).unwrap();
    let first = file(&disk, Guid::TOP);
    assert!(first.starts_with("root.hds.{"), "{first}");
    disk.switch(guid(1), Some(guid(2))).unwrap();
    let second = file(&disk, Guid::TOP);
    assert_eq!(first.len(), second.len());
    assert_clean(&mut disk);
}

#[test]
fn what_an_operation_left_goes_with_the_next_and_nothing_else_does() {
    let mut disk = small(V2);
    disk.snapshot(guid(1)).unwrap();
    let folder = disk.folder().clone();
    let top = file(&disk, Guid::TOP);
    // The same files with other paths, and one that was being made.
    let text = disk.descriptor().to_string();
    let text = text.replace(&format!(">{top}<"), &format!(">/here/{top}<"));
    let left = format!("root.hds.{}", guid(77));
    let text = text.replacen(">root.hds<", &format!(">{left}<"), 1);
    folder.put("DiskDescriptor.xml.tmp", text.as_bytes());
    folder.put(&left, &[0; 999]);
    folder.put(
        &format!("root.hds.{}", guid(78)),
        &small(V2).folder().bytes("root.hds"),
    );
    disk.grow(Sectors(20 * 64)).unwrap();
    let names = folder.names();
    assert!(!names.contains(&left), "{names:?}");
    assert!(names.contains(&top) && names.contains(&"root.hds".to_owned()));
    assert!(names.contains(&format!("root.hds.{}", guid(78))));
    assert!(!names.contains(&"DiskDescriptor.xml.tmp".to_owned()));
    // Two unknown ones: this is not from an operation.
    let both = text.replacen(
        &format!(">/here/{top}<"),
        &format!(">root.hds.{}<", guid(78)),
        1,
    );
    folder.put("DiskDescriptor.xml.tmp", both.as_bytes());
    folder.put(&left, &[0; 999]);
    disk.grow(Sectors(21 * 64)).unwrap();
    assert!(folder.names().contains(&left));
    // Half a descriptor.
    folder.put("DiskDescriptor.xml.tmp", &both.as_bytes()[..99]);
    disk.grow(Sectors(22 * 64)).unwrap();
}

#[test]
fn what_somebody_may_miss_stays() {
    let complete = small(V2);
    fill(&complete, 0, CLUSTER, 1);
    let complete = complete.folder().bytes("root.hds");
    let mut marked = complete.clone();
    marked[44..48].copy_from_slice(b"Ynot");
    let empty = small(V2).folder().bytes("root.hds");
    let cases: [(&[u8], bool); 6] = [
        (&[], true),
        (&[0; 4096], true),
        (&empty, true),
        (&marked, false),
        (&complete, false),
        (b"what nobody knows", false),
    ];
    for (content, goes) in cases {
        let mut disk = small(V2);
        let folder = disk.folder().clone();
        let left = format!("root.hds.{}", guid(77));
        let text = disk.descriptor().to_string();
        let text = text.replacen(">root.hds<", &format!(">{left}<"), 1);
        folder.put("DiskDescriptor.xml.tmp", text.as_bytes());
        folder.put(&left, content);
        let what = &content[..content.len().min(20)];
        assert_eq!(disk.newer_elsewhere().unwrap().is_none(), goes, "{what:?}");
        let done = disk.grow(Sectors(20 * 64));
        let is_refused = matches!(done, Err(Error::Interrupted { .. }));
        assert_eq!(is_refused, !goes, "{what:?}: {done:?}");
        assert_eq!(
            matches!(disk.write(), Err(Error::Interrupted { .. })),
            !goes
        );
        let names = folder.names();
        assert_eq!(!names.contains(&left), goes, "{what:?}");
        // Nothing else says where the file belongs.
        assert_eq!(!names.contains(&"DiskDescriptor.xml.tmp".to_owned()), goes);
    }
}

#[test]
fn what_a_merge_had_made_goes_as_long_as_its_sources_are_there() {
    let mut disk = small(V2);
    fill(&disk, 0, CLUSTER, 1);
    disk.snapshot(guid(1)).unwrap();
    fill(&disk, CLUSTER, CLUSTER, 2);
    let (base, top) = (file(&disk, guid(1)), file(&disk, Guid::TOP));
    let merged = small(V2);
    fill(&merged, 0, 2 * CLUSTER, 3);
    let folder = disk.folder().clone();
    let left = format!("root.hds.{}", guid(77));
    let text = merged.descriptor().to_string();
    let text = text.replacen(">root.hds<", &format!(">{left}<"), 1);
    let image = merged.folder().bytes("root.hds");
    for missing in [&base, &top] {
        folder.put("DiskDescriptor.xml.tmp", text.as_bytes());
        folder.put(&left, &image);
        let source = folder.bytes(missing);
        folder.remove_name(missing);
        assert_eq!(disk.newer_elsewhere().unwrap().as_ref(), Some(&left));
        folder.put(missing, &source);
        assert_eq!(disk.newer_elsewhere().unwrap(), None);
    }
    disk.grow(Sectors(20 * 64)).unwrap();
    assert!(!folder.names().contains(&left));
    assert_eq!(read_top(&disk)[0], 1);
}

#[test]
fn the_statistics_go_where_the_disk_becomes_another() {
    let mut disk = small(Kind::Raw);
    disk.snapshot(guid(1)).unwrap();
    disk.folder().put(".statfs", b"cached");
    disk.grow(Sectors(20 * 64)).unwrap();
    assert!(disk.folder().names().contains(&".statfs".to_owned()));
    disk.switch(guid(1), None).unwrap();
    assert!(!disk.folder().names().contains(&".statfs".to_owned()));
    assert_eq!(disk.descriptor().size().bytes(), 12 * CLUSTER);
    let size = disk.read(Guid::TOP).unwrap().size();
    assert!(size.bytes() < MIB);
}

#[test]
fn the_statistics_go_where_the_disk_is_opened_to_be_written() {
    for kind in KINDS {
        let disk = small(kind);
        disk.folder().put(".statfs", b"cached");
        let has_them = || disk.folder().names().contains(&".statfs".to_owned());
        read_top(&disk);
        assert!(disk.begin_raw(Access::Read).unwrap() && has_them());
        disk.folder().link("root.hds", "clone.hds");
        assert!(matches!(disk.write(), Err(Error::Shared { .. })));
        assert!(has_them());
        disk.folder().remove_name("clone.hds");
        disk.write().unwrap().close().unwrap();
        assert!(!has_them());
        disk.folder().put(".statfs", b"cached");
        assert!(disk.begin_raw(Access::Write).unwrap() && !has_them());
    }
}

#[test]
fn the_folder_of_a_raw_disk_is_made_durable_only_for_who_writes() {
    let mut disk = small(Kind::Raw);
    disk.folder().take_steps();
    disk.folder().fail_after(0, false);
    assert!(disk.begin_raw(Access::Read).unwrap());
    assert!(!disk.folder().heal() && disk.folder().take_steps().is_empty());
    disk.folder().fail_after(0, false);
    let written = disk.begin_raw(Access::Write);
    assert!(disk.folder().heal() && matches!(written, Err(Error::Io { .. })));
    let before = Disk::open(disk.folder().clone()).unwrap();
    disk.snapshot(guid(1)).unwrap();
    for access in [Access::Read, Access::Write] {
        assert!(!before.begin_raw(access).unwrap());
    }
}
