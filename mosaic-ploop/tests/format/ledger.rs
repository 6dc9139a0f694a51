// SPDX-License-Identifier: MIT OR Apache-2.0
//! A writer that is killed while who wrote goes on: whoever comes after it has all that was written,
//! flushed or not.

use mosaic_ploop::files::DiskFile;
use mosaic_ploop::format::chain::Chain;
use mosaic_ploop::format::check::Repair;
use mosaic_ploop::format::delta::Delta;
use mosaic_ploop::format::disk::{Disk, Kind};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::storage::{Access, Folder};
use mosaic_ploop::format::units::{ClusterSize, DiskOffset, Sectors};
use mosaic_ploop::format::{Error, Result};

use crate::disk::{
    CLUSTER, CLUSTERS, KINDS, RealDisk, V1, V2, assert_clean, file, fill, guid, read_top, small,
    unclaimed,
};
use crate::storage::{Loss, MemFile, MemFolder, Step, after_crash};

/// Stands for memory that outlives a process.
pub const LEDGER: &str = "ledger";

pub type MemChain = Chain<MemFile>;

/// What is done, in this order.
const OPERATIONS: [fn(&mut Disk<MemFolder>, &mut MemChain); 14] = [
    |_, chain| put(chain, 2 * CLUSTER, 1),
    |_, chain| put(chain, 2 * CLUSTER + 512, 2),
    // Over what is in the snapshot.
    |_, chain| put(chain, 512, 3),
    |_, chain| chain.flush().unwrap(),
    |_, chain| put(chain, 5 * CLUSTER, 4),
    |_, chain| zero(chain, 2 * CLUSTER),
    |_, chain| put(chain, 6 * CLUSTER, 5),
    |_, chain| zero(chain, CLUSTER),
    |disk, chain| disk.snapshot_open(guid(7), chain, unclaimed).unwrap(),
    |_, chain| put(chain, 5 * CLUSTER + 512, 6),
    |disk, chain| {
        disk.grow_open(Sectors(9000 * CLUSTER / 512), chain)
            .unwrap()
    },
    |_, chain| put(chain, 8 * CLUSTER, 7),
    |_, chain| chain.flush().unwrap(),
    |_, chain| put(chain, 9 * CLUSTER, 8),
];

pub fn put(chain: &mut MemChain, at: u64, byte: u8) {
    chain.write(&[byte; 512], DiskOffset(at)).unwrap();
}

pub fn zero(chain: &mut MemChain, at: u64) {
    chain.write_zeroes(DiskOffset(at), CLUSTER).unwrap();
}

/// The beginning of the disk, where all is that is written.
pub fn seen(chain: &MemChain) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(CLUSTERS * CLUSTER).unwrap()];
    chain.read(&mut bytes, DiskOffset(0)).unwrap();
    bytes
}

/// Opens the disk as a server does that takes over.
pub fn take_over(folder: &MemFolder) -> (Disk<MemFolder>, MemChain) {
    try_to_take_over(folder).unwrap()
}

pub fn try_to_take_over(folder: &MemFolder) -> Result<(Disk<MemFolder>, MemChain)> {
    take_over_by(folder, folder)
}

/// As a server with notes that are elsewhere.
pub fn take_over_by(notes: &MemFolder, folder: &MemFolder) -> Result<(Disk<MemFolder>, MemChain)> {
    let mut disk = Disk::open(folder.clone())?;
    let notes = notes.open(LEDGER, Access::Write).unwrap();
    let chain = disk.serve(notes)?;
    Ok((disk, chain))
}

/// A disk whose clusters are not zeros before they are written.
pub fn with_data_below(kind: Kind) -> Disk<MemFolder> {
    let mut disk = small(kind);
    fill(&disk, 0, 8 * CLUSTER, 9);
    disk.snapshot(guid(1)).unwrap();
    disk
}

/// A disk whose writer has died with notes, and what it had answered. The steps since it was opened
/// can be taken.
pub fn killed(kind: Kind) -> (Disk<MemFolder>, Vec<u8>) {
    let mut disk = with_data_below(kind);
    disk.folder().take_steps();
    let notes = disk.folder().create(LEDGER, false).unwrap();
    let mut chain = disk.serve(notes).unwrap();
    put(&mut chain, 5 * CLUSTER, 4);
    zero(&mut chain, CLUSTER);
    put(&mut chain, 6 * CLUSTER, 5);
    (disk, seen(&chain))
}

#[test]
fn nothing_that_was_written_is_lost_with_its_writer() {
    for kind in KINDS {
        for has_snapshot in [false, true] {
            let mut disk = small(kind);
            fill(&disk, 0, 2 * CLUSTER, 9);
            if has_snapshot {
                disk.snapshot(guid(1)).unwrap();
            }
            let notes = disk.folder().create(LEDGER, false).unwrap();
            let mut chain = disk.serve(notes).unwrap();
            let start = disk.folder().content();
            disk.folder().take_steps();
            // After how many steps what was there.
            let mut answered = vec![(0, seen(&chain))];
            let mut steps = Vec::new();
            for operation in OPERATIONS {
                operation(&mut disk, &mut chain);
                steps.extend(disk.folder().take_steps());
                answered.push((steps.len(), seen(&chain)));
            }
            for done in 0..=steps.len() {
                let killed = after_crash(&start, &steps[..done], Loss::Nothing);
                let (mut disk, chain) = take_over(&killed);
                let now = seen(&chain);
                let last = answered.iter().rposition(|(at, _)| *at <= done).unwrap();
                let under_way = answered.get(last + 1).unwrap_or(&answered[last]);
                assert!(
                    now == answered[last].1 || now == under_way.1,
                    "{kind:?}, snapshot {has_snapshot}, killed after step {done} in operation {last}"
                );
                chain.close().unwrap();
                killed.remove_name(LEDGER);
                // The next change removes what an interrupted one left.
                disk.snapshot(guid(8)).unwrap();
                assert_clean(&mut disk);
            }
        }
    }
}

/// Whoever takes over may be killed too, at any step.
#[test]
fn who_takes_over_can_be_followed_by_another() {
    for kind in [V1, V2] {
        let (disk, answered) = killed(kind);
        let start = disk.folder().content();
        disk.folder().take_steps();
        let mut chain = take_over(disk.folder()).1;
        assert!(seen(&chain) == answered);
        let mut steps = disk.folder().take_steps();
        // It is durable already that the folder names them, and what is in the images.
        let is_write = |step: &Step| !matches!(step, Step::Sync | Step::Flush { .. });
        assert!(!steps.iter().any(is_write), "{steps:?}");
        let mut instants = vec![(steps.len(), answered)];
        let works: [fn(&mut MemChain); 5] = [
            |chain| put(chain, 7 * CLUSTER, 6),
            |chain| zero(chain, 5 * CLUSTER),
            |chain| chain.flush().unwrap(),
            |chain| put(chain, 9 * CLUSTER, 7),
            |chain| zero(chain, 9 * CLUSTER),
        ];
        for work in works {
            work(&mut chain);
            steps.extend(disk.folder().take_steps());
            instants.push((steps.len(), seen(&chain)));
        }
        assert!(steps.len() > 12, "{steps:?}");
        for done in 0..=steps.len() {
            let killed = after_crash(&start, &steps[..done], Loss::Nothing);
            let (_, chain) = take_over(&killed);
            let last = instants.iter().rposition(|(at, _)| *at <= done);
            let under_way = last.map_or(0, |last| (last + 1).min(works.len()));
            let now = seen(&chain);
            assert!(
                now == instants[last.unwrap_or(0)].1 || now == instants[under_way].1,
                "{kind:?}, killed after step {done}"
            );
            chain.close().unwrap();
        }
    }
}

/// Nor is anything lost if a step of it fails, or all from then on. What failed to reach the image's
/// storage is still read from the page cache: so who comes next writes nothing.
#[test]
fn who_takes_over_can_fail() {
    for kind in [V1, V2] {
        let (disk, answered) = killed(kind);
        // In memory, which does not fail with the storage.
        let noted = disk.folder().bytes(LEDGER);
        let notes = MemFolder::default();
        disk.folder().remove_name(LEDGER);
        let start = disk.folder().content();
        let image = start.names[&file(&disk, disk.descriptor().top())];
        disk.folder().take_steps();
        notes.put(LEDGER, &noted);
        let flush = |(_, mut chain): (_, MemChain)| chain.flush();
        flush(take_over_by(&notes, disk.folder()).unwrap()).unwrap();
        let steps = disk.folder().take_steps();
        let mut flushes = 0;
        for (good, step) in steps.iter().enumerate() {
            for stays_broken in [false, true] {
                let when = format!("{kind:?}, {step:?} failed, broken {stays_broken}");
                let folder = MemFolder::with(start.clone());
                folder.fail_after(good, stays_broken);
                notes.put(LEDGER, &noted);
                let first = take_over_by(&notes, &folder).and_then(flush);
                assert!(folder.heal(), "{when}: it did not come");
                if let Err(error) = &first {
                    let is_told = matches!(error, Error::Io { .. } | Error::Broken { .. });
                    assert!(is_told, "{when}: {error:?}");
                }
                let (mut disk, chain) = take_over_by(&notes, &folder).unwrap();
                assert!(seen(&chain) == answered, "{when}");
                let is_lost = match step {
                    Step::Flush { inode } => *inode == image,
                    Step::Sync => true,
                    // To give space back is a courtesy, which fails silently.
                    _ => first.is_err(),
                };
                if is_lost {
                    let refused = chain.close().unwrap_err();
                    let is_broken = matches!(refused, Error::Broken { .. });
                    assert!(is_broken, "{when}: {refused:?}");
                    let (_, chain) = take_over_by(&notes, &folder).unwrap();
                    assert!(chain.close().is_err(), "{when}: forgotten");
                    flushes += usize::from(matches!(step, Step::Flush { .. }));
                    continue;
                }
                chain.close().unwrap();
                assert_clean(&mut disk);
            }
        }
        // Before it begins, and twice for the table.
        assert_eq!(flushes, 2 * 3, "{kind:?}");
    }
}

/// Lets a disk's writer fail and die. Whoever takes over reads what it had answered, and writes nothing.
fn assert_stays_broken(kind: Kind, when: &str, fail: impl FnOnce(&MemFolder, &mut MemChain)) {
    let mut disk = with_data_below(kind);
    let notes = disk.folder().create(LEDGER, false).unwrap();
    let mut chain = disk.serve(notes).unwrap();
    put(&mut chain, 5 * CLUSTER, 4);
    chain.flush().unwrap();
    put(&mut chain, 5 * CLUSTER + 512, 6);
    fail(disk.folder(), &mut chain);
    let answered = seen(&chain);
    drop(chain);
    disk.folder().take_steps();
    for turn in 1..3 {
        let (mut disk, mut chain) = take_over(disk.folder());
        assert!(seen(&chain) == answered, "{kind:?}, {when}, turn {turn}");
        let refused = [
            chain.write(&[7; 512], DiskOffset(5 * CLUSTER)),
            chain.write(&[7; 512], DiskOffset(7 * CLUSTER)),
            chain.write_zeroes(DiskOffset(5 * CLUSTER), CLUSTER),
            chain.flush_in_place().map(drop),
            chain.flush(),
            disk.grow_open(Sectors(9000 * CLUSTER / 512), &mut chain),
            disk.snapshot_open(guid(7), &mut chain, unclaimed),
            chain.finish(),
        ];
        for refused in refused {
            let is_broken = matches!(refused, Err(Error::Broken { .. }));
            assert!(is_broken, "{kind:?}, {when}, turn {turn}: {refused:?}");
        }
        let image = disk.descriptor().file(Guid::TOP).unwrap().to_owned();
        let inode = disk.folder().content().names[&image];
        let mut steps = disk.folder().take_steps().into_iter();
        let is_write = |step: &Step| matches!(step, Step::Write { inode: at, .. } if *at == inode);
        assert!(!steps.any(|step| is_write(&step)), "{kind:?}, {when}");
    }
}

/// The kernel has told of it once, so whoever comes later would be told that all is well.
#[test]
fn who_takes_over_knows_that_a_write_has_failed() {
    for kind in [V1, V2] {
        for good in 0..3 {
            let when = format!("step {good} of a flush failed");
            assert_stays_broken(kind, &when, |folder, chain| {
                put(chain, 7 * CLUSTER, 5);
                folder.fail_after(good, false);
                chain.flush().unwrap_err();
                assert!(folder.heal(), "{when}: it did not come");
            });
        }
        assert_stays_broken(kind, "a flush of data failed", |folder, chain| {
            folder.fail_after(0, false);
            chain.flush_in_place().unwrap_err();
            assert!(folder.heal());
        });
        assert_stays_broken(kind, "given up", |_, chain| chain.give_up());
    }
}

/// A crash of the machine while somebody takes over: the notes go with it, what was durable does not.
#[test]
fn a_crash_of_who_takes_over_leaves_what_was_durable() {
    for kind in [V1, V2] {
        let durable = with_data_below(kind);
        let (before, start) = (read_top(&durable), durable.folder().content());
        // What the writer did that died may be lost too, as far as who takes over has not flushed it.
        let (disk, answered) = killed(kind);
        let (_, chain) = take_over(disk.folder());
        chain.close().unwrap();
        let steps = disk.folder().take_steps();
        let losses = (0..3).map(Loss::Half).chain([Loss::Nothing, Loss::All]);
        for (loss, done) in losses.flat_map(|loss| (0..=steps.len()).map(move |at| (loss, at))) {
            let when = format!("{kind:?}, crash before step {done}, {loss:?}");
            let folder = after_crash(&start, &steps[..done], loss);
            folder.remove_name(LEDGER);
            let mut disk = Disk::open(folder).unwrap();
            let repaired = disk.check(Some(Repair::Safe)).unwrap();
            assert!(repaired.is_clean(), "{when}: {repaired:?}");
            let now = read_top(&disk);
            let clusters = |data| <[u8]>::chunks(data, usize::try_from(CLUSTER).unwrap());
            let known = clusters(&before).zip(clusters(&answered));
            for (at, (now, (old, new))) in clusters(&now).zip(known).enumerate() {
                assert!(now == old || now == new, "{when}: cluster {at}");
            }
            assert!(done < steps.len() || now == answered, "{when}");
            assert_clean(&mut disk);
        }
    }
}

/// What was acknowledged is not dropped silently because somebody has closed the image in between.
#[test]
fn an_image_that_another_program_has_closed_is_not_taken_over() {
    for kind in [V1, V2] {
        let mut disk = small(kind);
        let notes = disk.folder().create(LEDGER, false).unwrap();
        let mut chain = disk.serve(notes).unwrap();
        put(&mut chain, 5 * CLUSTER, 4);
        drop(chain);
        assert!(disk.check(Some(Repair::Safe)).unwrap().is_clean());
        disk.write().unwrap().close().unwrap();
        for _ in 0..2 {
            let refused = try_to_take_over(disk.folder()).unwrap_err();
            assert!(matches!(refused, Error::Overtaken { .. }), "{refused:?}");
        }
        disk.folder().remove_name(LEDGER);
        assert_clean(&mut disk);
    }
}

/// Nothing keeps others from writing to the images of another branch, whose marks are theirs.
#[test]
fn a_server_repairs_only_what_it_shows() {
    for kind in [V1, V2] {
        let mut disk = with_data_below(kind);
        let dies_at_work = |disk: &Disk<MemFolder>| put(&mut disk.write().unwrap(), CLUSTER, 1);
        dies_at_work(&disk);
        disk.switch(guid(1), Some(guid(2))).unwrap();
        let other = file(&disk, guid(2));
        // A cluster that has no entry yet.
        let mut marked = disk.folder().bytes(&other);
        marked.resize(marked.len() + usize::try_from(CLUSTER).unwrap(), 1);
        disk.folder().put(&other, &marked);
        dies_at_work(&disk);
        assert!(!disk.is_closed().unwrap());
        let notes = disk.folder().create(LEDGER, false).unwrap();
        disk.serve(notes).unwrap().close().unwrap();
        assert!(disk.folder().bytes(&other) == marked, "{kind:?}");
    }
}

#[test]
fn notes_that_nobody_makes_durable_are_not_without_end() {
    const MANY: u64 = 133_000;
    let size = Sectors(MANY * CLUSTER / 512);
    let mut real = RealDisk::new(Kind::Raw, ClusterSize::MIN, size);
    real.disk.snapshot(guid(1)).unwrap();
    let notes = tempfile::tempfile().unwrap();
    let ledger = DiskFile::opened(notes.try_clone().unwrap().into());
    let mut chain = real.disk.serve(ledger).unwrap();
    // Each cluster is a note, 8 bytes of it.
    let zeroed = (MANY - 1000) * CLUSTER;
    chain.write_zeroes(DiskOffset(0), zeroed).unwrap();
    let length = notes.metadata().unwrap().len();
    assert!((1024..1 << 20).contains(&length), "{length}");
    chain
        .write_zeroes(DiskOffset(zeroed), 1000 * CLUSTER)
        .unwrap();
    let longer = notes.metadata().unwrap().len();
    assert_eq!(longer - length, 8 * 1000);
    // What has no note any more is in the image.
    let image = real.path(real.disk.descriptor().file(Guid::TOP).unwrap());
    let image = DiskFile::opened(std::fs::File::open(image).unwrap().into());
    let there = Delta::open("top", image).unwrap().bat().allocated().count();
    assert_eq!(there as u64 * 8 + longer - 1024, MANY * 8);
    chain.close().unwrap();
}
