// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes to a disk that is open.

use std::io;

use mosaic_ploop::format::Error;
use mosaic_ploop::format::disk::{Disk, Kind};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::storage::{Access, Folder};
use mosaic_ploop::format::units::{DiskOffset, Sectors};

use crate::disk::{
    CLUSTER, CLUSTERS, KINDS, V2, assert_clean, change, fill, guid, read, read_top, small,
    unclaimed,
};
use crate::storage::{Loss, after_crash};

#[test]
fn a_snapshot_of_an_open_disk_has_all_that_was_written_before() {
    for kind in KINDS {
        let mut disk = small(kind);
        fill(&disk, 0, CLUSTER, 1);
        let start = disk.folder().content();
        disk.folder().take_steps();
        let mut chain = disk.write().unwrap();
        chain.write(&[2; 100], DiskOffset(50)).unwrap();
        chain.write(&[3; 100], DiskOffset(3 * CLUSTER)).unwrap();
        disk.snapshot_open(guid(1), &mut chain, unclaimed).unwrap();
        let old = read_top(&disk);
        let steps = disk.folder().take_steps();
        chain.write(&[4; 100], DiskOffset(60)).unwrap();
        disk.snapshot_open(guid(2), &mut chain, unclaimed).unwrap();
        chain.write(&[5; 100], DiskOffset(70)).unwrap();
        let mut now = vec![0; old.len()];
        chain.read(&mut now, DiskOffset(0)).unwrap();
        chain.close().unwrap();
        assert_eq!((old[49], old[50], old[60], old[70]), (1, 2, 2, 2));
        assert_eq!((now[50], now[60], now[70], now[170]), (2, 4, 5, 1));
        assert!(read(&disk, guid(1)) == old && read_top(&disk) == now);
        assert_clean(&mut disk);
        // What was written before the snapshot was durable when that was made.
        let crashed = after_crash(&start, &steps, Loss::All);
        let crashed = Disk::open(crashed).unwrap();
        assert!(read(&crashed, guid(1)) == old, "{kind:?}");
    }
}

#[test]
fn nothing_is_put_upon_what_a_dead_writer_left() {
    let mut disk = small(V2);
    fill(&disk, 0, CLUSTER, 1);
    let mut chain = disk.write().unwrap();
    chain.write(&[2; 100], DiskOffset(0)).unwrap();
    chain.flush().unwrap();
    drop(chain);
    // Shown for reading, which is no reason to repair it.
    let mut chain = disk.read(Guid::TOP).unwrap();
    let before = disk.folder().names();
    let refused = disk.snapshot_open(guid(1), &mut chain, unclaimed);
    assert!(matches!(refused, Err(Error::InUse { .. })), "{refused:?}");
    assert_eq!(disk.folder().names(), before);
    assert!(disk.descriptor().shot(guid(1)).is_none());
}

#[test]
fn an_open_disk_grows() {
    for kind in KINDS {
        for has_snapshot in [false, true] {
            let mut disk = small(kind);
            if has_snapshot {
                disk.snapshot(guid(1)).unwrap();
            }
            let mut chain = disk.write().unwrap();
            chain.write(&[1], DiskOffset(0)).unwrap();
            let size = 9000 * CLUSTER;
            disk.grow_open(Sectors(size / 512 - 1), &mut chain).unwrap();
            chain.write(&[2], DiskOffset(size - 1)).unwrap();
            let smaller = disk.grow_open(Sectors(1), &mut chain);
            assert!(matches!(smaller, Err(Error::Resize { .. })));
            chain.close().unwrap();
            assert_eq!(disk.descriptor().size().bytes(), size);
            let chain = disk.read(Guid::TOP).unwrap();
            let mut ends = [0; 2];
            let (first, last) = ends.split_at_mut(1);
            chain.read(first, DiskOffset(0)).unwrap();
            chain.read(last, DiskOffset(size - 1)).unwrap();
            assert_eq!(ends, [1, 2], "{kind:?}");
            assert_clean(&mut disk);
        }
    }
}

#[test]
fn after_a_failed_snapshot_nothing_is_lost() {
    let mut steps = 0;
    for good in 0.. {
        let mut disk = small(V2);
        fill(&disk, 0, CLUSTER, 1);
        let mut chain = disk.write().unwrap();
        chain.write(&[2], DiskOffset(0)).unwrap();
        chain.flush().unwrap();
        disk.folder().fail_after(good, false);
        let done = disk.snapshot_open(guid(1), &mut chain, unclaimed);
        if !disk.folder().heal() {
            done.unwrap();
            steps = good;
            break;
        }
        // The chain may go on, or it says that it does not: with this snapshot and the next one.
        let mut now = [0; 4];
        chain.read(&mut now, DiskOffset(0)).unwrap();
        assert_eq!(now, [2, 1, 1, 1], "{good}: {done:?}");
        let written = chain.write(&[3], DiskOffset(1));
        let again = disk.snapshot_open(guid(2), &mut chain, unclaimed);
        let after = chain.write(&[4], DiskOffset(2));
        chain.read(&mut now, DiskOffset(0)).unwrap();
        let byte = |done: &Result<(), Error>, byte| if done.is_ok() { byte } else { 1 };
        let expected = [2, byte(&written, 3), byte(&after, 4), 1];
        assert_eq!(now, expected, "{good}: {done:?} {written:?} {again:?}");
        let closed = chain.close();
        let mut disk = Disk::open(disk.folder().clone()).unwrap();
        let repair = Some(mosaic_ploop::format::check::Repair::Safe);
        assert!(disk.check(repair).unwrap().is_clean(), "{good}: {done:?}");
        let now = read_top(&disk);
        let is_all = now[..4] == expected;
        assert!(
            is_all || now[..4] == [2, 1, 1, 1] && closed.is_err(),
            "{good}: {done:?} {written:?} {again:?} {after:?} {closed:?}"
        );
        // What is called a snapshot is not written any more.
        for (shot, frozen) in [(1, [2, 1]), (2, [2, byte(&written, 3)])] {
            if disk.descriptor().shot(guid(shot)).is_some() {
                let found = read(&disk, guid(shot));
                assert_eq!(found[..2], frozen, "{good}: {done:?} {again:?}");
            }
        }
    }
    assert!(steps > 10, "{steps}");
}

/// What must be so before the disk has the new top, and is not.
#[test]
fn a_new_top_that_is_refused_leaves_the_old_one_written_on() {
    for kind in KINDS {
        let mut disk = small(kind);
        let notes = disk.folder().create("ledger", false).unwrap();
        let mut chain = disk.serve(notes).unwrap();
        chain.write(&[2], DiskOffset(0)).unwrap();
        let mut named = String::new();
        let refused = disk.snapshot_open(guid(1), &mut chain, |folder, name| {
            assert!(folder.names().contains(&name.to_owned()));
            name.clone_into(&mut named);
            Err(Error::io("lock", name, io::ErrorKind::WouldBlock.into()))
        });
        let is_refusal = matches!(refused, Err(Error::Io { action: "lock", .. }));
        assert!(is_refusal, "{kind:?}: {refused:?}");
        assert!(!disk.folder().names().contains(&named));
        assert!(disk.descriptor().shot(guid(1)).is_none());
        chain.write(&[3], DiskOffset(1)).unwrap();
        assert!(!chain.is_broken().unwrap());
        // Killed: whoever comes next knows of no new top.
        chain.write(&[4], DiskOffset(2)).unwrap();
        drop(chain);
        let notes = disk.folder().open("ledger", Access::Write).unwrap();
        let chain = disk.serve(notes).unwrap();
        let mut found = [0; 3];
        chain.read(&mut found, DiskOffset(0)).unwrap();
        assert_eq!(found, [2, 3, 4], "{kind:?}");
        chain.close().unwrap();
        disk.folder().remove_name("ledger");
        assert_clean(&mut disk);
    }
}

#[test]
fn a_read_chain_is_not_changed() {
    let mut disk = small(Kind::Raw);
    disk.snapshot(guid(1)).unwrap();
    let mut chain = disk.read(guid(1)).unwrap();
    let read_only = [
        chain.grow(Sectors(CLUSTERS * 64 + 64)),
        chain.write(&[1], DiskOffset(0)),
        chain.write_zeroes(DiskOffset(0), 1),
        chain.discard(DiskOffset(0), CLUSTER),
    ];
    for refused in read_only {
        assert!(
            matches!(refused, Err(Error::ReadOnly { .. })),
            "{refused:?}"
        );
    }
    let mut chain = disk.read(Guid::TOP).unwrap();
    let refused = chain.write(&[1], DiskOffset(0));
    assert!(
        matches!(refused, Err(Error::ReadOnly { .. })),
        "{refused:?}"
    );
    change(&disk, |chain| chain.write(&[1], DiskOffset(0)).unwrap());
}
