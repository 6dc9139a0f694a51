// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading and writing the disk.

use mosaic_ploop::format::disk::Kind;
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::storage::ImageFile;
use mosaic_ploop::format::units::{DiskOffset, FileOffset};
use mosaic_ploop::format::{Error, chain::Extent};

use crate::disk::{
    CLUSTER, CLUSTERS, KINDS, MemDisk, V2, assert_clean, bat, change, file, fill, guid, read,
    read_top, small, write,
};

const SIZE: u64 = CLUSTERS * CLUSTER;

#[test]
fn what_is_written_is_read_in_every_kind_of_disk() {
    for kind in KINDS {
        let mut disk = small(kind);
        let mut model = vec![0; usize::try_from(SIZE).unwrap()];
        assert!(read_top(&disk) == model);
        for (number, at) in [
            (1, 0),
            (2, CLUSTER - 3),
            (3, 5 * CLUSTER + 7),
            (4, SIZE - 9),
        ] {
            write(&disk, at, &[number; 9]);
            let at = usize::try_from(at).unwrap();
            model[at..at + 9].fill(number);
        }
        assert!(read_top(&disk) == model, "{kind:?}");
        assert_clean(&mut disk);
    }
}

#[test]
fn a_write_to_a_part_of_a_cluster_keeps_the_rest_from_below() {
    for kind in KINDS {
        let mut disk = small(kind);
        fill(&disk, 0, 2 * CLUSTER, 1);
        disk.snapshot(guid(1)).unwrap();
        write(&disk, CLUSTER - 1, &[2, 2]);
        let (top, shot) = (read_top(&disk), read(&disk, guid(1)));
        let edge = usize::try_from(CLUSTER).unwrap();
        assert_eq!(top[edge - 2..edge + 2], [1, 2, 2, 1]);
        assert!(shot[..2 * edge].iter().all(|byte| *byte == 1));
        assert_eq!(bat(&disk, Guid::TOP).len(), 2);
        assert_clean(&mut disk);
    }
}

#[test]
fn zeros_hide_what_is_below_and_are_nothing_above_nothing() {
    for kind in KINDS {
        let mut disk = small(kind);
        fill(&disk, 0, 2 * CLUSTER, 1);
        disk.snapshot(guid(1)).unwrap();
        change(&disk, |chain| {
            chain.write_zeroes(DiskOffset(0), CLUSTER).unwrap();
            chain.write_zeroes(DiskOffset(CLUSTER + 1), 1).unwrap();
            if kind == V2 {
                chain.write_zeroes(DiskOffset(4 * CLUSTER), 5).unwrap();
                chain.write(&[0; 512], DiskOffset(5 * CLUSTER)).unwrap();
            }
        });
        let top = read_top(&disk);
        let edge = usize::try_from(CLUSTER).unwrap();
        assert!(top[..edge].iter().all(|byte| *byte == 0));
        assert_eq!(top[edge..edge + 3], [1, 0, 1]);
        assert_eq!(bat(&disk, Guid::TOP).len(), 2, "{kind:?}");
        assert_clean(&mut disk);
    }
}

#[test]
fn discard_frees_a_cluster_of_a_single_delta_and_uncovers_nothing_in_a_chain() {
    let mut disk = small(V2);
    fill(&disk, 0, 3 * CLUSTER, 1);
    // Whole clusters only.
    change(&disk, |chain| {
        chain.discard(DiskOffset(1), 2 * CLUSTER).unwrap()
    });
    assert_eq!(bat(&disk, Guid::TOP), [(0, 1), (2, 3)]);
    // The hole is filled by the next one.
    fill(&disk, 9 * CLUSTER, 1, 1);
    assert_eq!(bat(&disk, Guid::TOP), [(0, 1), (2, 3), (9, 2)]);
    disk.snapshot(guid(1)).unwrap();
    fill(&disk, 0, CLUSTER, 2);
    change(&disk, |chain| {
        chain.discard(DiskOffset(0), 3 * CLUSTER).unwrap()
    });
    let top = read_top(&disk);
    assert_eq!(top[0], 0);
    assert_eq!(top[usize::try_from(2 * CLUSTER).unwrap()], 1);
    assert_clean(&mut disk);
}

#[test]
fn a_discarded_cluster_is_used_again_only_after_a_flush() {
    let disk = small(V2);
    fill(&disk, 0, CLUSTER, 1);
    change(&disk, |chain| {
        chain.discard(DiskOffset(0), CLUSTER).unwrap();
        chain.write(&[2], DiskOffset(CLUSTER)).unwrap();
        let place = |chain: &mut mosaic_ploop::format::chain::Chain<_>, at| {
            chain.extent(DiskOffset(at), 1).unwrap().source.unwrap().1
        };
        assert_eq!(place(chain, CLUSTER), FileOffset(2 * CLUSTER));
        chain.flush().unwrap();
        chain.write(&[3], DiskOffset(2 * CLUSTER)).unwrap();
        assert_eq!(place(chain, 2 * CLUSTER), FileOffset(CLUSTER));
    });
}

#[test]
fn in_place_is_written_only_what_is_there() {
    for kind in KINDS {
        let mut disk = small(kind);
        fill(&disk, 0, 2 * CLUSTER, 1);
        if kind == V2 {
            disk.snapshot(guid(1)).unwrap();
            fill(&disk, 0, 2 * CLUSTER, 1);
        }
        let has_all = matches!(kind, Kind::Preallocated(_) | Kind::Raw);
        change(&disk, |chain| {
            let (edge, end) = (DiskOffset(CLUSTER - 1), DiskOffset(2 * CLUSTER - 1));
            assert!(chain.write_in_place(&[2; 2], edge).unwrap());
            assert!(chain.flush_in_place().unwrap());
            assert_eq!(chain.write_in_place(&[3; 2], end).unwrap(), has_all);
            chain.write(&[4], DiskOffset(5 * CLUSTER)).unwrap();
            assert_eq!(chain.flush_in_place().unwrap(), has_all, "{kind:?}");
            chain.flush().unwrap();
            assert!(chain.flush_in_place().unwrap());
            chain.discard(DiskOffset(5 * CLUSTER), CLUSTER).unwrap();
        });
        let data = read_top(&disk);
        let edge = usize::try_from(CLUSTER).unwrap();
        assert_eq!(data[edge - 2..edge + 2], [1, 2, 2, 1]);
        let third = if has_all { 3 } else { 1 };
        assert_eq!(data[2 * edge - 1], third, "{kind:?}");
        assert_clean(&mut disk);
    }
}

#[test]
fn a_chain_is_read_and_written_in_place_by_several_threads() {
    let disk = small(V2);
    fill(&disk, 0, 8 * CLUSTER, 1);
    let chain = disk.write().unwrap();
    std::thread::scope(|scope| {
        for number in 0..8_u8 {
            let chain = &chain;
            scope.spawn(move || {
                let at = DiskOffset(u64::from(number) * CLUSTER);
                for round in 0..20 {
                    let data = [number * 20 + round; 1000];
                    assert!(chain.write_in_place(&data, at).unwrap());
                    let mut found = [0; 1000];
                    chain.read(&mut found, at).unwrap();
                    assert_eq!(found, data);
                    assert!(chain.flush_in_place().unwrap());
                }
            });
        }
    });
    chain.close().unwrap();
}

#[test]
fn after_a_failed_flush_nothing_is_written() {
    let disk = small(V2);
    fill(&disk, 0, CLUSTER, 1);
    let mut chain = disk.write().unwrap();
    assert!(chain.write_in_place(&[2], DiskOffset(0)).unwrap());
    disk.folder().fail_after(0, false);
    assert!(matches!(chain.flush_in_place(), Err(Error::Io { .. })));
    assert!(disk.folder().heal());
    let broken = [
        chain.flush_in_place().map(drop),
        chain.flush(),
        chain.write_in_place(&[3], DiskOffset(0)).map(drop),
        chain.write(&[3], DiskOffset(0)),
        chain.write(&[3], DiskOffset(CLUSTER)),
        chain.discard(DiskOffset(0), CLUSTER),
        chain.close(),
    ];
    for refused in broken {
        assert!(matches!(refused, Err(Error::Broken { .. })), "{refused:?}");
    }
}

#[test]
fn an_extent_goes_as_far_as_one_place_does() {
    let mut disk = small(V2);
    fill(&disk, 0, 3 * CLUSTER, 1);
    disk.snapshot(guid(1)).unwrap();
    fill(&disk, 2 * CLUSTER, CLUSTER, 2);
    let chain = disk.read(Guid::TOP).unwrap();
    let extent = |at, bytes| chain.extent(DiskOffset(at), bytes).unwrap();
    let below = Extent {
        bytes: 2 * CLUSTER - 5,
        source: Some((0, FileOffset(CLUSTER + 5))),
    };
    assert_eq!(extent(5, SIZE - 5), below);
    let above = extent(2 * CLUSTER, SIZE - 2 * CLUSTER);
    assert_eq!((above.bytes, above.source.unwrap().0), (CLUSTER, 1));
    let nothing = extent(3 * CLUSTER, 4 * CLUSTER);
    assert_eq!((nothing.bytes, nothing.source), (4 * CLUSTER, None));
}

#[test]
fn what_is_not_within_the_disk_is_refused() {
    for kind in KINDS {
        let disk = small(kind);
        change(&disk, |chain| {
            for at in [SIZE - 1, SIZE, u64::MAX] {
                let at = DiskOffset(at);
                let faults = [
                    chain.read(&mut [0; 2], at),
                    chain.write(&[0; 2], at),
                    chain.write_zeroes(at, 2),
                    chain.discard(at, 2),
                    chain.extent(at, 2).map(drop),
                ];
                for fault in faults {
                    assert!(matches!(fault, Err(Error::Range { .. })), "{fault:?}");
                }
            }
        });
    }
}

#[test]
fn a_disk_in_use_is_not_opened_twice() {
    for kind in [V2, KINDS[0]] {
        let mut disk = small(kind);
        let chain = disk.write().unwrap();
        assert!(matches!(disk.write(), Err(Error::InUse { .. })));
        assert!(matches!(disk.snapshot(guid(1)), Err(Error::InUse { .. })));
        assert!(matches!(disk.grow(chain.size()), Err(Error::InUse { .. })));
        assert!(disk.read(Guid::TOP).is_ok());
        chain.close().unwrap();
        assert!(disk.write().is_ok());
    }
}

#[test]
fn a_file_with_two_names_is_not_written() {
    for kind in [V2, Kind::Raw] {
        let mut disk = small(kind);
        disk.folder().link("root.hds", "clone.hds");
        let before = disk.folder().content();
        assert!(matches!(disk.write(), Err(Error::Shared { .. })));
        let grown = disk.grow(mosaic_ploop::format::units::Sectors(1 << 20));
        assert!(matches!(grown, Err(Error::Shared { .. })));
        assert!(disk.folder().content().inodes[0] == before.inodes[0]);
        // Upon it there is a file of its own.
        disk.snapshot(guid(1)).unwrap();
        fill(&disk, 0, CLUSTER, 1);
        assert!(disk.folder().bytes("clone.hds") == before.inodes[0]);
        assert_ne!(file(&disk, Guid::TOP), "root.hds");
    }
}

#[test]
fn a_chain_is_as_long_as_the_limit_of_its_top_allows() {
    let text = small(V2).descriptor().to_string();
    let limit = format!("<Max_delta_size>{}</Max_delta_size><Padding>", 3 * 64);
    let disk = small(V2);
    let limited = text.replace("<Padding>", &limit);
    disk.folder().put("DiskDescriptor.xml", limited.as_bytes());
    let disk = mosaic_ploop::format::disk::Disk::open(disk.folder().clone()).unwrap();
    change(&disk, |chain| {
        chain.write(&[1], DiskOffset(0)).unwrap();
        chain.write(&[1], DiskOffset(CLUSTER)).unwrap();
        let full = chain.write(&[1], DiskOffset(2 * CLUSTER));
        assert!(matches!(full, Err(Error::Full { .. })));
        chain.write(&[2], DiskOffset(CLUSTER)).unwrap();
    });
}

#[test]
fn a_range_has_a_place_if_it_lies_in_one_piece() {
    for kind in KINDS {
        let mut disk = small(kind);
        // In the image the clusters 0 and 1 lie behind each other, and 3 behind them.
        for cluster in [0, 1, 3] {
            fill(&disk, cluster * CLUSTER, CLUSTER, 1);
        }
        let is_whole = matches!(kind, Kind::Raw | Kind::Preallocated(_));
        let both = places(&disk, 7, 2 * CLUSTER - 9);
        assert!(both[0].is_some() && both[0] == both[1], "{kind:?}");
        for (at, bytes) in [(CLUSTER, CLUSTER + 1), (2 * CLUSTER, 1)] {
            assert_eq!(places(&disk, at, bytes)[0].is_some(), is_whole, "{kind:?}");
            assert_eq!(places(&disk, at, bytes)[1].is_some(), is_whole, "{kind:?}");
        }
        let [_, written] = places(&disk, 3 * CLUSTER, CLUSTER);
        change(&disk, |chain| {
            let there = chain.top().file();
            there.write_at(&[9; 3], written.unwrap()).unwrap();
        });
        let at = usize::try_from(3 * CLUSTER).unwrap();
        assert_eq!(read_top(&disk)[at..at + 4], [9, 9, 9, 1], "{kind:?}");
        // What a snapshot has is read from it, and not written.
        disk.snapshot(guid(1)).unwrap();
        assert_eq!(places(&disk, 7, CLUSTER), [both[0], None], "{kind:?}");
    }
}

/// Where a range is read from, and where it is written to.
fn places(disk: &MemDisk, at: u64, bytes: u64) -> [Option<FileOffset>; 2] {
    let bytes = usize::try_from(bytes).unwrap();
    change(disk, |chain| {
        let read = chain.place(DiskOffset(at), bytes).unwrap();
        let written = chain.place_in_top(DiskOffset(at), bytes).unwrap();
        [read, written].map(|found| found.map(|(_, at)| at))
    })
}
