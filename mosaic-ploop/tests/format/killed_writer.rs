// SPDX-License-Identifier: MIT OR Apache-2.0
//! A writer that is killed, and then more goes wrong: the power is cut, or there was no space.

use std::cell::{Cell, RefCell};

use mosaic_core::ErrorKind;
use mosaic_ploop::format::Error;
use mosaic_ploop::format::chain::Chain;
use mosaic_ploop::format::check::Repair;
use mosaic_ploop::format::disk::{Deletion, Disk, Kind};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::storage::{Access, Folder, ImageFile};
use mosaic_ploop::format::units::{ClusterSize, DiskOffset, FileOffset, Sectors};

use crate::disk::{
    CLUSTER, CLUSTERS, MemDisk, V1, V2, assert_clean, file, fill, guid, new, read, read_top, small,
    unclaimed,
};
use crate::storage::{Loss, MemFile, MemFolder, Step, after_crash};

/// Stands for memory that outlives a process.
const LEDGER: &str = "ledger";

type MemChain = Chain<MemFile>;
type Change = fn(&mut Disk<MemFolder>, &mut MemChain, u64) -> Result<(), Error>;

/// What changes the descriptor of an open disk; a growth to so many clusters.
const CHANGES: [(&str, Change); 2] = [
    ("snapshot", |disk, chain, _| {
        disk.snapshot_open(guid(7), chain, unclaimed)
    }),
    ("growth", |disk, chain, clusters| {
        disk.grow_open(Sectors(clusters * CLUSTER / 512), chain)
    }),
];

fn put(chain: &mut MemChain, at: u64, byte: u8) {
    chain.write(&[byte; 512], DiskOffset(at)).unwrap();
}

/// What is on the disk from there on.
fn seen(chain: &MemChain, at: u64, clusters: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(clusters * CLUSTER).unwrap()];
    chain.read(&mut bytes, DiskOffset(at)).unwrap();
    bytes
}

/// Opens the disk as a server does, the first or one that takes over.
fn serve(folder: &MemFolder, notes: &MemFolder) -> (Disk<MemFolder>, MemChain) {
    let mut disk = Disk::open(folder.clone()).unwrap();
    let notes = match notes.open(LEDGER, Access::Write) {
        Ok(notes) => notes,
        Err(_) => notes.create(LEDGER, false).unwrap(),
    };
    let chain = disk.serve(notes).unwrap();
    (disk, chain)
}

/// The new descriptor is what the next one sees, and perhaps not what is on storage.
#[test]
fn what_is_flushed_after_a_kill_is_there_after_a_power_cut() {
    for kind in [V1, V2, Kind::Raw] {
        for (name, change) in CHANGES {
            let disk = small(kind);
            fill(&disk, 0, 8 * CLUSTER, 9);
            let folder = disk.folder().clone();
            let start = folder.content();
            folder.take_steps();
            let (mut disk, mut chain) = serve(&folder, &folder);
            put(&mut chain, 9 * CLUSTER, 5);
            chain.flush().unwrap();
            let before = folder.take_steps();
            change(&mut disk, &mut chain, 2 * CLUSTERS).unwrap();
            let steps = folder.take_steps();
            let renames = steps
                .iter()
                .filter(|step| matches!(step, Step::Rename { .. }));
            assert_eq!(renames.count(), 1, "{kind:?}, {name}");
            for done in 0..=steps.len() {
                let when = format!("{kind:?}, killed after step {done} of a {name}");
                let mut first = before.clone();
                first.extend_from_slice(&steps[..done]);
                let killed = after_crash(&start, &first, Loss::Nothing);
                let (_, mut chain) = serve(&killed, &killed);
                put(&mut chain, 10 * CLUSTER, 7);
                put(&mut chain, 512, 8);
                chain.flush().unwrap();
                let answered = seen(&chain, 0, CLUSTERS);
                first.append(&mut killed.take_steps());
                let cut = after_crash(&start, &first, Loss::All);
                cut.remove_name(LEDGER);
                let mut disk = Disk::open(cut).unwrap();
                disk.check(Some(Repair::Safe)).unwrap();
                let now = disk.read(disk.descriptor().top()).unwrap();
                assert!(seen(&now, 0, CLUSTERS) == answered, "{when}");
            }
        }
    }
}

/// Kills a change of a disk after each of its steps, lets who comes next do something, and cuts the
/// power: what he has to say, if that is anything, and the disk that is left.
fn cut_after_each<T>(
    disk: &mut MemDisk,
    change: impl FnOnce(&mut MemDisk),
    follow: impl Fn(&MemFolder) -> Option<T>,
) -> Vec<(T, MemDisk)> {
    let start = disk.folder().content();
    disk.folder().take_steps();
    change(disk);
    let steps = disk.folder().take_steps();
    let is_rename = |step: &Step| matches!(step, Step::Rename { .. });
    let renamed = steps.iter().rposition(is_rename).unwrap() + 1;
    let mut left = Vec::new();
    for done in 0..=steps.len() {
        let killed = after_crash(&start, &steps[..done], Loss::Nothing);
        let Some(said) = follow(&killed) else {
            assert_ne!(done, renamed, "the case that it is about");
            continue;
        };
        let mut all = steps[..done].to_vec();
        all.append(&mut killed.take_steps());
        let cut = after_crash(&start, &all, Loss::All);
        left.push((said, Disk::open(cut).unwrap()));
    }
    left
}

/// With data in a snapshot, in part under newer ones.
fn with_snapshot(kind: Kind) -> MemDisk {
    let mut disk = small(kind);
    fill(&disk, 0, 4 * CLUSTER, 9);
    disk.snapshot(guid(1)).unwrap();
    fill(&disk, CLUSTER, 2 * CLUSTER, 8);
    disk
}

/// Who comes next; what is on the disk then, if he can do anything to it.
type Follow = fn(&MemFolder) -> Option<Vec<u8>>;

/// As a loop device does that is bound to the only file.
fn write_to_file(folder: &MemFolder) -> Option<Vec<u8>> {
    let disk = Disk::open(folder.clone()).unwrap();
    let (_, file) = disk.only_raw(Access::Write).unwrap()?;
    assert!(disk.begin_raw(Access::Write).unwrap());
    file.write_at(&[7; 512], FileOffset(CLUSTER)).unwrap();
    file.flush().unwrap();
    Some(read_top(&disk))
}

fn write_to_disk(folder: &MemFolder) -> Option<Vec<u8>> {
    let mut disk = Disk::open(folder.clone()).unwrap();
    disk.settle().unwrap();
    let mut chain = disk.write().unwrap();
    put(&mut chain, CLUSTER, 7);
    chain.flush().unwrap();
    Some(seen(&chain, 0, CLUSTERS))
}

/// Who puts the descriptor in place is killed before he has made that durable.
#[test]
fn what_is_flushed_after_a_killed_change_is_there_after_a_power_cut() {
    let merge = |disk: &mut MemDisk| assert_eq!(disk.delete(guid(1)).unwrap(), Deletion::Done);
    let cases = [
        (V2, write_to_disk as Follow),
        (Kind::Raw, write_to_disk),
        (Kind::Raw, write_to_file),
    ];
    for (kind, follow) in cases {
        for (seen, mut disk) in cut_after_each(&mut with_snapshot(kind), merge, follow) {
            disk.check(Some(Repair::Safe)).unwrap();
            assert!(read_top(&disk) == seen, "{kind:?}");
        }
    }
}

/// A snapshot that is merged has the mark before its data changes, on storage too.
#[test]
fn what_is_merged_after_a_killed_merge_is_marked_after_a_power_cut() {
    for kind in [V2, Kind::Raw] {
        for good in 0.. {
            let merge = |disk: &mut MemDisk| assert!(disk.delete(guid(1)).is_ok());
            let has_failed = Cell::new(false);
            let merge_again = |folder: &MemFolder| {
                let mut disk = Disk::open(folder.clone()).unwrap();
                disk.settle().unwrap();
                folder.fill_after(good, true);
                let _ = disk.delete(guid(1));
                has_failed.set(has_failed.get() | folder.heal());
                Some(())
            };
            let mut start = with_snapshot(kind);
            let before = read(&start, guid(1));
            for ((), disk) in cut_after_each(&mut start, merge, merge_again) {
                let shot = disk.descriptor().shot(guid(1));
                if shot.is_some_and(|shot| shot.temporary.is_none()) {
                    assert!(read(&disk, guid(1)) == before, "{kind:?}, {good}");
                }
            }
            if !has_failed.get() {
                assert!(good > 4, "{kind:?}, {good}");
                break;
            }
        }
    }
}

/// Zeros that hide what was beneath are given back only where nothing is beneath, on storage too.
#[test]
fn what_is_compacted_after_a_killed_merge_is_there_after_a_power_cut() {
    let mut disk = small(V2);
    fill(&disk, 0, 4 * CLUSTER, 9);
    disk.snapshot(guid(1)).unwrap();
    fill(&disk, CLUSTER, CLUSTER, 0);
    disk.folder().link("root.hds", "clone.hds");
    let upper = file(&disk, Guid::TOP);
    let before = read_top(&disk);
    let merge = |disk: &mut MemDisk| {
        assert_eq!(disk.delete(guid(1)).unwrap(), Deletion::Done);
        assert_eq!(file(disk, Guid::TOP), upper);
    };
    let zeros = Cell::new(0);
    let compact = |folder: &MemFolder| {
        let mut disk = Disk::open(folder.clone()).unwrap();
        disk.settle().unwrap();
        zeros.set(zeros.get() + disk.compact().unwrap().zeros);
        Some(())
    };
    for ((), mut disk) in cut_after_each(&mut disk, merge, compact) {
        disk.check(Some(Repair::Safe)).unwrap();
        assert!(read_top(&disk) == before);
    }
    assert!(zeros.get() > 0);
}

/// Another disk has the files then, so that this one must not go on writing to them.
#[test]
fn what_is_shared_after_a_killed_snapshot_is_one_after_a_power_cut() {
    for kind in [V1, V2, Kind::Raw] {
        let snapshot = |disk: &mut MemDisk| disk.snapshot(guid(2)).unwrap();
        let share = |folder: &MemFolder| {
            let mut disk = Disk::open(folder.clone()).unwrap();
            disk.settle().unwrap();
            let shot = disk.freeze(guid(3)).unwrap();
            Some(file(&disk, shot))
        };
        for (shared, disk) in cut_after_each(&mut with_snapshot(kind), snapshot, share) {
            assert_ne!(file(&disk, Guid::TOP), shared, "{kind:?}");
        }
    }
}

/// Entries that lie in the second half of a page of the table: of a write that fails the first half is
/// done.
const FAR: u64 = 900 * CLUSTER;

/// What the location has no space for is refused, and nothing else comes of it: who goes on writing, and
/// is killed then, has lost nothing.
#[test]
fn a_change_without_space_loses_nothing_with_its_writer() {
    let cases = [V1, V2].map(|kind| [(kind, false), (kind, true)]);
    for (kind, stays_full) in cases.into_iter().flatten() {
        for (name, change) in CHANGES {
            let mut refused = 0;
            for good in 0.. {
                let when = format!("{kind:?}, full after {good} steps of a {name}: {stays_full}");
                let disk = new(kind, ClusterSize::MIN, 1000 * CLUSTER);
                fill(&disk, FAR, CLUSTER, 9);
                let (folder, notes) = (disk.folder().clone(), MemFolder::default());
                let (mut disk, mut chain) = serve(&folder, &notes);
                put(&mut chain, FAR + CLUSTER, 5);
                folder.fill_after(good, stays_full);
                // The table needs one more cluster.
                let done = change(&mut disk, &mut chain, 9000);
                if stays_full {
                    // Who writes meanwhile is refused what needs space, and no more.
                    let tried = [
                        chain.write(&[3; 512], DiskOffset(FAR + 512)),
                        chain.flush(),
                        chain.is_broken().map(|is_broken| assert!(!is_broken)),
                    ];
                    let is_right = |tried: &Result<(), Error>| match tried {
                        Ok(()) => true,
                        Err(error) => error.kind() == ErrorKind::NoSpace,
                    };
                    assert!(tried.iter().all(is_right), "{when}: {tried:?}");
                }
                if !folder.heal() {
                    done.unwrap();
                    break;
                }
                let flushing = matches!(&done, Err(Error::Io { action, .. }) if *action == "flush");
                let is_new = disk.descriptor().shots().len() > 1;
                let written = chain.write(&[3; 512], DiskOffset(FAR + 512));
                if (flushing || is_new)
                    && !stays_full
                    && matches!(written, Err(Error::Broken { .. }))
                {
                    // Storage without space, such as a thin pool's; or it is not known whether the new
                    // top is one after a power cut.
                    continue;
                }
                assert!(written.is_ok(), "{when}: {written:?} after {done:?}");
                refused += usize::from(done.is_err());
                put(&mut chain, FAR + 2 * CLUSTER, 4);
                let answered = seen(&chain, FAR, 3);
                drop(chain);
                let (mut disk, mut chain) = serve(&folder, &notes);
                assert!(seen(&chain, FAR, 3) == answered, "{when}");
                chain.flush().unwrap();
                chain.close().unwrap();
                let now = disk.read(disk.descriptor().top()).unwrap();
                assert!(seen(&now, FAR, 3) == answered, "{when}");
                // The next change removes what one left that was refused.
                disk.snapshot(guid(8)).unwrap();
                assert_clean(&mut disk);
            }
            assert!(refused > 4, "{kind:?}, {name}, {stays_full}: {refused}");
        }
    }
}

type Operation = fn(&mut MemDisk, &mut MemChain) -> Result<(), Error>;

/// What is done to a disk with a cluster at 0 and none at the next one.
const OPERATIONS: [Operation; 7] = [
    |_, chain| chain.write(&[3; 512], DiskOffset(512)),
    |_, chain| chain.write(&[3; 512], DiskOffset(CLUSTER)),
    |_, chain| chain.write_zeroes(DiskOffset(0), 512),
    |_, chain| chain.discard(DiskOffset(0), CLUSTER),
    |disk, chain| disk.grow_open(Sectors(9000 * CLUSTER / 512), chain),
    |disk, chain| disk.snapshot_open(guid(8), chain, unclaimed),
    |_, chain| chain.finish(),
];

/// The old top has ended when there is no space for the new descriptor, nor for the mark.
#[test]
fn nothing_is_written_to_a_top_before_it_has_its_mark_again() {
    let cases = [V1, V2].map(|kind| [(kind, false), (kind, true)]);
    for (kind, was_tried) in cases.into_iter().flatten() {
        for (number, operation) in OPERATIONS.into_iter().enumerate() {
            let when = format!("{kind:?}, operation {number}, tried {was_tried}");
            let disk = small(kind);
            fill(&disk, 0, CLUSTER, 9);
            let (folder, notes) = (disk.folder().clone(), MemFolder::default());
            let (mut disk, mut chain) = serve(&folder, &notes);
            for good in 0.. {
                folder.fill_after(good, true);
                let refused = disk
                    .snapshot_open(guid(7), &mut chain, unclaimed)
                    .unwrap_err();
                if matches!(
                    refused,
                    Error::Io {
                        action: "replace",
                        ..
                    }
                ) {
                    break;
                }
                folder.heal();
            }
            if was_tried {
                // A write that fails leaves a part of it.
                chain.write(&[3; 512], DiskOffset(0)).unwrap_err();
            }
            let image = "root.hds";
            let inode = folder.content().names[image];
            let page = 4096;
            let before = folder.bytes(image);
            // Durable is all that there is, and in place is nothing to be written.
            chain.flush().unwrap();
            assert!(chain.flush_in_place().is_ok());
            assert!(!chain.write_in_place(&[3; 512], DiskOffset(0)).unwrap());
            assert!(chain.place_in_top(DiskOffset(0), 512).unwrap().is_none());
            let refused = operation(&mut disk, &mut chain).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::NoSpace, "{when}: {refused:?}");
            assert!(folder.bytes(image)[page..] == before[page..], "{when}");
            folder.heal();
            folder.take_steps();
            operation(&mut disk, &mut chain).unwrap();
            let steps = folder.take_steps();
            let mut of_image = steps.iter().filter(|step| match step {
                Step::Write { inode: of, .. }
                | Step::SetLength { inode: of, .. }
                | Step::Flush { inode: of } => *of == inode,
                _ => false,
            });
            let first = of_image.next();
            let is_header = matches!(first, Some(Step::Write { at: 0, .. }));
            let is_durable = matches!(of_image.next(), Some(Step::Flush { .. }));
            assert!(is_header && is_durable, "{when}");
            if number < OPERATIONS.len() - 1 {
                let top = file(&disk, disk.descriptor().top());
                assert_eq!(folder.bytes(&top)[44..48], *b"Ynot", "{when}");
            }
            let answered = seen(&chain, 0, CLUSTERS);
            drop(chain);
            let (_, chain) = serve(&folder, &notes);
            assert!(seen(&chain, 0, CLUSTERS) == answered, "{when}");
        }
    }
}

/// A growth that a table of several clusters needs, refused; what was tried has then to be as if it had
/// not been.
fn refuse_growths(
    kind: Kind,
    clusters: u64,
    fill_up: impl Fn(&MemFolder, &MemFolder, usize),
    look: impl Fn(&str, MemDisk, MemChain, &MemFolder),
) {
    let mut refused = 0;
    for good in 0.. {
        let disk = small(kind);
        fill(&disk, 0, clusters * CLUSTER, 9);
        let (folder, notes) = (disk.folder().clone(), MemFolder::default());
        let (mut disk, mut chain) = serve(&folder, &notes);
        folder.take_steps();
        fill_up(&folder, &notes, good);
        let done = disk.grow_open(Sectors(30_000 * CLUSTER / 512), &mut chain);
        if !(folder.heal() | notes.heal()) {
            done.unwrap();
            break;
        }
        // A failed flush breaks the disk, and to give space back is a courtesy.
        let Err(Error::Io { action, .. }) = done else {
            continue;
        };
        if action != "flush" {
            refused += 1;
            let when = format!("{kind:?}, {clusters} clusters, cannot {action} after {good} steps");
            look(&when, disk, chain, &notes);
        }
    }
    assert!(refused > 2, "{kind:?}, {clusters} clusters: {refused}");
}

#[test]
fn a_disk_whose_growth_was_refused_has_room_for_all_its_clusters() {
    let cases = [1, 3, CLUSTERS].map(|clusters| [(clusters, false), (clusters, true)]);
    let cases = cases.into_iter().flatten();
    for (kind, (clusters, stays_full)) in cases.flat_map(|case| [(V1, case), (V2, case)]) {
        let full = |folder: &MemFolder, _: &MemFolder, good| folder.fill_after(good, stays_full);
        refuse_growths(kind, clusters, full, |when, mut disk, mut chain, _| {
            for cluster in 0..CLUSTERS {
                let done = chain.write(&[7; 512], DiskOffset(cluster * CLUSTER));
                assert!(done.is_ok(), "{when}: {done:?}");
            }
            let answered = seen(&chain, 0, CLUSTERS);
            chain.close().unwrap();
            let now = disk.read(Guid::TOP).unwrap();
            assert!(seen(&now, 0, CLUSTERS) == answered, "{when}");
            disk.snapshot(guid(8)).unwrap();
            assert_clean(&mut disk);
        });
    }
}

/// The file is as long as the header wants that is perhaps in it.
#[test]
fn a_disk_that_is_closed_after_a_refused_growth_is_whole() {
    for kind in [V1, V2] {
        let mut refused = 0;
        for good in 0.. {
            let disk = small(kind);
            let (folder, notes) = (disk.folder().clone(), MemFolder::default());
            let (mut disk, mut chain) = serve(&folder, &notes);
            folder.fill_after(good, true);
            let grown = disk.grow_open(Sectors(30_000 * CLUSTER / 512), &mut chain);
            let closed = chain.close();
            if !folder.heal() {
                grown.and(closed).unwrap();
                break;
            }
            refused += usize::from(grown.is_err());
            let mut disk = Disk::open(folder).unwrap();
            let repaired = disk.check(Some(Repair::Safe)).unwrap();
            assert!(repaired.is_clean(), "{kind:?}, {good}: {repaired:?}");
        }
        assert!(refused > 2, "{kind:?}: {refused}");
    }
}

/// Of the header that there was no space for a part may come to storage, and the room that it takes for
/// the table is used by clusters again.
#[test]
fn a_crash_after_a_refused_growth_leaves_what_was_durable() {
    for kind in [V1, V2] {
        let start = RefCell::default();
        let full = |folder: &MemFolder, _: &MemFolder, good| {
            *start.borrow_mut() = folder.content();
            folder.fill_after(good, true);
        };
        refuse_growths(kind, 3, full, |when, disk, mut chain, _| {
            let before = seen(&chain, 0, 3);
            for cluster in 3..CLUSTERS {
                put(&mut chain, cluster * CLUSTER, 7);
            }
            let steps = disk.folder().take_steps();
            let losses = (0..20).map(Loss::Half).chain([Loss::Nothing, Loss::All]);
            for loss in losses {
                let folder = after_crash(&start.borrow(), &steps, loss);
                let mut disk = Disk::open(folder).unwrap();
                let repaired = disk.check(Some(Repair::Safe)).unwrap();
                assert!(repaired.is_clean(), "{when}, {loss:?}: {repaired:?}");
                let now = seen(&disk.read(Guid::TOP).unwrap(), 0, 3);
                assert!(now == before, "{when}, {loss:?}");
            }
        });
    }
}

/// The copies are there, and some of them are noted.
#[test]
fn a_growth_whose_notes_have_no_space_loses_nothing_with_its_writer() {
    for kind in [V1, V2] {
        let full = |_: &MemFolder, notes: &MemFolder, good| notes.fill_after(good, true);
        refuse_growths(kind, 6, full, |when, disk, mut chain, notes| {
            // Two of them new: more would want places that only a flush makes free.
            for (cluster, byte) in (0..8).zip(20..) {
                put(&mut chain, cluster * CLUSTER, byte);
            }
            let answered = seen(&chain, 0, CLUSTERS);
            drop(chain);
            let (mut disk, mut chain) = serve(disk.folder(), notes);
            assert!(seen(&chain, 0, CLUSTERS) == answered, "{when}");
            let grown = disk.grow_open(Sectors(30_000 * CLUSTER / 512), &mut chain);
            assert!(grown.is_ok(), "{when}: {grown:?}");
            assert!(seen(&chain, 0, CLUSTERS) == answered, "{when}");
            chain.close().unwrap();
            assert_clean(&mut disk);
        });
    }
}
