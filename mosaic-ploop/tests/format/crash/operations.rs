// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations on disks.

use mosaic_ploop::format::check::Repair;
use mosaic_ploop::format::disk::{Disk, Kind};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::header::Version;
use mosaic_ploop::format::units::{DiskOffset, Sectors};

use super::{Operation, flushes, survives};
use crate::disk::{
    CLUSTER, KINDS, MIB, MemDisk, V1, V2, change, file, fill, guid, read_top, small, unclaimed,
};
use crate::storage::{Content, Loss, after_crash};

/// Data in some clusters, a snapshot, and other data in some upon it.
pub fn with_snapshot(kind: Kind) -> MemDisk {
    let mut disk = small(kind);
    fill(&disk, 0, 3 * CLUSTER, 1);
    fill(&disk, 7 * CLUSTER, CLUSTER, 2);
    disk.snapshot(guid(1)).unwrap();
    fill(&disk, CLUSTER, CLUSTER, 3);
    fill(&disk, 5 * CLUSTER + 5, 10, 4);
    disk
}

/// One more snapshot, and a branch.
fn with_branch(kind: Kind) -> MemDisk {
    let mut disk = with_snapshot(kind);
    disk.switch(guid(1), Some(guid(2))).unwrap();
    fill(&disk, 2 * CLUSTER, CLUSTER, 5);
    disk
}

fn grow(disk: &mut MemDisk, bytes: u64) -> mosaic_ploop::format::Result<()> {
    disk.grow(Sectors(bytes / 512))
}

#[test]
fn create() {
    for kind in KINDS {
        let steps = small(kind).folder().take_steps();
        for at in 0..=steps.len() {
            let losses = (0..8).map(Loss::Half);
            for loss in losses.chain([Loss::Nothing, Loss::All]) {
                let folder = after_crash(&Content::default(), &steps[..at], loss);
                // There is no disk yet, or all of it.
                let Ok(mut disk) = Disk::open(folder.clone()) else {
                    let names = folder.names();
                    assert!(!names.contains(&"DiskDescriptor.xml".to_owned()));
                    assert!(at < steps.len(), "{loss:?}");
                    continue;
                };
                assert!(disk.check(None).unwrap().is_clean(), "{at} {loss:?}");
                assert!(read_top(&disk) == read_top(&small(kind)));
            }
        }
    }
}

#[test]
fn snapshot() {
    for kind in [V1, V2, Kind::Raw] {
        let setup = match kind {
            V1 => || with_snapshot(V1),
            V2 => || with_snapshot(V2),
            _ => || small(Kind::Raw),
        };
        survives(setup, |disk| disk.snapshot(guid(9)));
    }
}

#[test]
fn snapshot_and_grow_of_an_open_disk() {
    survives(
        || with_snapshot(V2),
        |disk| {
            let mut chain = disk.write()?;
            let done = disk.snapshot_open(guid(9), &mut chain, unclaimed);
            chain.close().and(done)
        },
    );
    survives(
        || with_snapshot(V1),
        |disk| {
            let mut chain = disk.write()?;
            let done = disk.grow_open(Sectors(600 * MIB / 512), &mut chain);
            chain.close().and(done)
        },
    );
}

#[test]
fn switch() {
    // Done again it makes one more empty top, which is no other disk.
    survives(|| with_snapshot(V2), |disk| disk.switch(guid(1), None));
    survives(
        || with_snapshot(Kind::Raw),
        |disk| disk.switch(guid(1), None),
    );
    survives(
        || with_branch(V1),
        |disk| disk.switch(guid(2), Some(guid(8))),
    );
}

#[test]
fn delete_the_last_of_a_branch() {
    survives(|| with_branch(V2), |disk| disk.delete(guid(2)).map(drop));
}

#[test]
fn delete_the_top() {
    let setup = || {
        let mut disk = with_snapshot(V2);
        disk.snapshot(guid(2)).unwrap();
        fill(&disk, 0, CLUSTER, 6);
        disk
    };
    survives(setup, |disk| {
        // Done again it would delete one more.
        if disk.descriptor().shots().len() == 3 {
            disk.delete(Guid::TOP)?;
        }
        Ok(())
    });
}

#[test]
fn merge_down() {
    survives(|| with_snapshot(V2), |disk| disk.delete(guid(1)).map(drop));
    survives(|| with_snapshot(V1), |disk| disk.delete(guid(1)).map(drop));
}

#[test]
fn merge_down_into_a_raw_base() {
    let setup = || {
        let mut disk = with_snapshot(Kind::Raw);
        grow(&mut disk, 14 * CLUSTER).unwrap();
        fill(&disk, 13 * CLUSTER, 1, 1);
        disk
    };
    survives(setup, |disk| disk.delete(guid(1)).map(drop));
}

#[test]
fn merge_down_of_a_grown_child() {
    let setup = || {
        let mut disk = with_snapshot(V2);
        grow(&mut disk, 300 * MIB).unwrap();
        fill(&disk, 299 * MIB, 1, 1);
        disk
    };
    survives(setup, |disk| disk.delete(guid(1)).map(drop));
}

#[test]
fn merge_in_the_middle_of_a_chain() {
    let setup = || {
        let mut disk = with_snapshot(V2);
        disk.snapshot(guid(2)).unwrap();
        fill(&disk, 3 * CLUSTER, CLUSTER, 7);
        disk.snapshot(guid(3)).unwrap();
        disk
    };
    survives(setup, |disk| disk.delete(guid(2)).map(drop));
}

/// The base has another name, as that of a clone.
fn cloned(kind: Kind) -> MemDisk {
    let disk = with_snapshot(kind);
    disk.folder().link("root.hds", "clone.hds");
    disk
}

#[test]
fn merge_up() {
    survives(|| cloned(V2), |disk| disk.delete(guid(1)).map(drop));
    survives(|| cloned(Kind::Raw), |disk| disk.delete(guid(1)).map(drop));
    survives(
        || cloned(Kind::Preallocated(Version::V1)),
        |disk| disk.delete(guid(1)).map(drop),
    );
}

#[test]
fn merge_into_a_new_file() {
    let setup = || {
        let mut disk = with_snapshot(V2);
        disk.snapshot(guid(2)).unwrap();
        let middle = file(&disk, guid(2));
        disk.folder().link("root.hds", "clone.hds");
        disk.folder().link(&middle, "clone.hds.1");
        disk
    };
    survives(setup, |disk| disk.delete(guid(1)).map(drop));
}

#[test]
fn a_snapshot_that_waits_is_marked() {
    survives(|| with_branch(V2), |disk| disk.delete(guid(1)).map(drop));
}

#[test]
fn grow_without_and_with_moving_clusters() {
    survives(|| with_snapshot(V2), |disk| grow(disk, 20 * CLUSTER));
    let setup = || {
        let disk = small(V1);
        fill(&disk, 0, 3 * CLUSTER, 1);
        disk
    };
    survives(setup, |disk| grow(disk, 600 * MIB));
}

#[test]
fn grow_a_preallocated_and_a_raw_disk() {
    let preallocated = || small(Kind::Preallocated(Version::V2));
    survives(preallocated, |disk| grow(disk, 15 * CLUSTER));
    survives(|| small(Kind::Raw), |disk| grow(disk, 15 * CLUSTER));
}

#[test]
fn shrink() {
    let setup = || {
        let disk = small(V2);
        fill(&disk, 9 * CLUSTER, 2 * CLUSTER, 2);
        fill(&disk, 0, 3 * CLUSTER, 1);
        disk
    };
    survives(setup, |disk| disk.shrink(Sectors(4 * 64)));
    survives(|| small(Kind::Raw), |disk| disk.shrink(Sectors(4 * 64)));
}

#[test]
fn convert() {
    survives(|| with_branch(V1), |disk| disk.convert(Version::V2));
    survives(|| with_branch(V2), |disk| disk.convert(Version::V1));
}

#[test]
fn undo_a_conversion() {
    Operation::new(with_branch(V1), |disk| disk.convert(Version::V2)).crash_twice();
}

#[test]
fn compact() {
    let setup = || {
        let disk = with_snapshot(V2);
        change(&disk, |chain| {
            chain.write_zeroes(DiskOffset(CLUSTER), CLUSTER).unwrap();
        });
        fill(&disk, 8 * CLUSTER, CLUSTER, 1);
        fill(&disk, 8 * CLUSTER, CLUSTER, 0);
        fill(&disk, 9 * CLUSTER, CLUSTER, 1);
        disk
    };
    survives(setup, |disk| disk.compact().map(drop));
}

#[test]
fn repair_of_doubled_entries() {
    let disk = small(V2);
    fill(&disk, 0, 3 * CLUSTER, 7);
    let mut image = disk.folder().bytes("root.hds");
    // Entries 3 and 4 as entries 0 and 1.
    image.copy_within(64..72, 76);
    disk.folder().put("root.hds", &image);
    let (data, start) = (read_top(&disk), disk.folder().content());
    let mut disk = Disk::open(disk.folder().clone()).unwrap();
    disk.folder().take_steps();
    let report = disk.check(Some(Repair::Hard)).unwrap();
    assert!(report.is_clean() && read_top(&disk) == data);
    let steps = disk.folder().take_steps();
    for (at, seed) in flushes(&steps) {
        for loss in [Loss::Nothing, Loss::All, Loss::Half(seed)] {
            let folder = after_crash(&start, &steps[..at], loss);
            let mut disk = Disk::open(folder).unwrap();
            let report = disk.check(Some(Repair::Hard)).unwrap();
            assert!(report.is_clean(), "{at} {loss:?}");
            assert!(read_top(&disk) == data, "{at} {loss:?}");
            // Each has its own: to write to one changes no other.
            fill(&disk, 3 * CLUSTER, CLUSTER, 9);
            let now = read_top(&disk);
            assert_eq!((now[0], now[data.len() / 4]), (7, 9), "{at} {loss:?}");
        }
    }
}

#[test]
fn repair() {
    let setup = || {
        let disk = with_snapshot(V2);
        let mut image = disk.folder().bytes("root.hds");
        image[44..48].copy_from_slice(b"Ynot");
        // Behind the table, and a last cluster that is not whole.
        image[200] = 1;
        image.extend([7; 1000]);
        disk.folder().put("root.hds", &image);
        disk
    };
    survives(setup, |disk| disk.check(Some(Repair::Safe)).map(drop));
}
