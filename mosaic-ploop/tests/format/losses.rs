// SPDX-License-Identifier: MIT OR Apache-2.0
//! A writer that is killed while it is told of something lost: whoever comes after it is told too.

use mosaic_ploop::format::Error;
use mosaic_ploop::format::disk::Kind;
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::ledger;
use mosaic_ploop::format::storage::{Access, Folder};
use mosaic_ploop::format::units::DiskOffset;

use crate::disk::{CLUSTER, KINDS, V1, V2, file, guid, small, unclaimed};
use crate::ledger::{LEDGER, put, seen, take_over, try_to_take_over};
use crate::storage::{MemFile, MemFolder, Step};

/// What is done before each server that follows another, by whoever has the top open all the time.
fn remember_losses(folder: &MemFolder, held: &MemFile) {
    let notes = folder.open(LEDGER, Access::Write).unwrap();
    ledger::remember_losses(held, &notes).unwrap();
}

/// A server that is killed while its flush fails: the kernel has told it, and it could tell nobody. And
/// the top as who starts servers had it open before there was one.
fn killed_in_a_failing_flush(kind: Kind) -> (MemFolder, MemFile) {
    let mut disk = small(kind);
    let notes = disk.folder().create(LEDGER, false).unwrap();
    let top = file(&disk, Guid::TOP);
    let held = disk.folder().open(&top, Access::Read).unwrap();
    let mut chain = disk.serve(notes).unwrap();
    put(&mut chain, 5 * CLUSTER, 4);
    let noted = disk.folder().bytes(LEDGER);
    disk.folder().fail_after(0, false);
    chain.flush().unwrap_err();
    assert!(disk.folder().heal());
    disk.folder().put(LEDGER, &noted);
    (disk.folder().clone(), held)
}

#[test]
fn a_flush_that_failed_while_the_writer_was_killed_is_not_forgotten() {
    for kind in [V1, V2] {
        let (folder, _) = killed_in_a_failing_flush(kind);
        // Who opens the image anew is told that all is well.
        take_over(&folder).1.close().unwrap();
        let (folder, held) = killed_in_a_failing_flush(kind);
        for turn in 1..3 {
            remember_losses(&folder, &held);
            assert_broken(&folder, &format!("{kind:?}, turn {turn}"));
        }
    }
}

/// Whoever takes over writes nothing more.
fn assert_broken(folder: &MemFolder, when: &str) {
    let refused = take_over(folder).1.close().unwrap_err();
    let is_broken = matches!(refused, Error::Broken { .. });
    assert!(is_broken, "{when}: {refused:?}");
}

#[test]
fn a_raw_disk_whose_writer_was_killed_in_a_failing_flush_fails_the_next_one() {
    let (folder, held) = killed_in_a_failing_flush(Kind::Raw);
    // The second one cannot know whether the first one came to it.
    for turn in 1..3 {
        remember_losses(&folder, &held);
        let (_, mut chain) = take_over(&folder);
        let told = chain.flush_in_place().unwrap_err();
        assert!(matches!(told, Error::Io { .. }), "turn {turn}: {told:?}");
        put(&mut chain, 6 * CLUSTER, 5);
        chain.flush().unwrap();
        let at = usize::try_from(5 * CLUSTER).unwrap();
        assert_eq!(seen(&chain)[at], 4, "turn {turn}");
    }
    // A new top is another file.
    let (mut disk, mut chain) = take_over(&folder);
    chain.flush().unwrap_err();
    disk.snapshot_open(guid(7), &mut chain, unclaimed).unwrap();
    drop(chain);
    take_over(&folder).1.close().unwrap();
}

/// The kernel tells who takes over, who is killed too before that is noted, and all is well afterwards.
#[test]
fn a_flush_that_failed_is_not_forgotten_by_a_second_kill() {
    for kind in KINDS {
        let killed = || {
            let mut disk = small(kind);
            let notes = disk.folder().create(LEDGER, false).unwrap();
            let top = file(&disk, Guid::TOP);
            let held = disk.folder().open(&top, Access::Read).unwrap();
            put(&mut disk.serve(notes).unwrap(), 5 * CLUSTER, 4);
            let inode = disk.folder().content().names[&top];
            remember_losses(disk.folder(), &held);
            disk.folder().take_steps();
            (disk.folder().clone(), held, inode)
        };
        let work = |folder: &MemFolder| {
            let (_, mut chain) = try_to_take_over(folder)?;
            chain.write(&[6; 512], DiskOffset(7 * CLUSTER))?;
            chain.flush()
        };
        let (folder, _, top) = killed();
        work(&folder).unwrap();
        let steps = folder.take_steps().into_iter().enumerate();
        let flushes =
            steps.filter(|(_, step)| matches!(step, Step::Flush { inode } if *inode == top));
        let flushes: Vec<_> = flushes.map(|(at, _)| at).collect();
        // Before it begins, unless the disk is raw; for the data; for the table, if there is one to write.
        let expected = match kind {
            Kind::Raw => 1,
            Kind::Preallocated(_) => 2,
            Kind::Expanded(_) => 3,
        };
        assert_eq!(flushes.len(), expected, "{kind:?}");
        for good in flushes {
            let when = format!("{kind:?}, step {good} failed");
            let (folder, held, _) = killed();
            let noted = folder.bytes(LEDGER);
            folder.fail_after(good, false);
            let _ = work(&folder);
            assert!(folder.heal(), "{when}: it did not come");
            folder.put(LEDGER, &noted);
            remember_losses(&folder, &held);
            match kind {
                Kind::Raw => drop(take_over(&folder).1.flush().unwrap_err()),
                _ => assert_broken(&folder, &when),
            }
        }
    }
}
