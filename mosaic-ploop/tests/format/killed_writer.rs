// SPDX-License-Identifier: MIT OR Apache-2.0
//! A writer that is killed, and then more goes wrong: the power is cut, or there was no space.

use mosaic_ploop::format::Error;
use mosaic_ploop::format::chain::Chain;
use mosaic_ploop::format::check::Repair;
use mosaic_ploop::format::disk::{Deletion, Disk, Kind};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::storage::{Access, Folder, ImageFile};
use mosaic_ploop::format::units::{ClusterSize, DiskOffset, FileOffset, Sectors};

use crate::disk::{
    CLUSTER, CLUSTERS, MemDisk, V1, V2, assert_clean, file, fill, guid, new, read_top, small,
};
use crate::storage::{Loss, MemFile, MemFolder, Step, after_crash};

/// Stands for memory that outlives a process.
const LEDGER: &str = "ledger";

type MemChain = Chain<MemFile>;
type Change = fn(&mut Disk<MemFolder>, &mut MemChain, u64) -> Result<(), Error>;

/// What changes the descriptor of an open disk; a growth to so many clusters.
const CHANGES: [(&str, Change); 2] = [
    ("snapshot", |disk, chain, _| {
        disk.snapshot_open(guid(7), chain)
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
    assert!(disk.is_current().unwrap());
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
    for kind in [V1, V2] {
        for (name, change) in CHANGES {
            let mut refused = 0;
            for good in 0.. {
                let when = format!("{kind:?}, no space after {good} steps of a {name}");
                let disk = new(kind, ClusterSize::MIN, 1000 * CLUSTER);
                fill(&disk, FAR, CLUSTER, 9);
                let (folder, notes) = (disk.folder().clone(), MemFolder::default());
                let (mut disk, mut chain) = serve(&folder, &notes);
                put(&mut chain, FAR + CLUSTER, 5);
                folder.fill_after(good);
                // The table needs one more cluster.
                let done = change(&mut disk, &mut chain, 9000);
                if !folder.heal() {
                    done.unwrap();
                    break;
                }
                let flushing = matches!(&done, Err(Error::Io { action, .. }) if *action == "flush");
                let is_new = disk.descriptor().shots().len() > 1;
                let written = chain.write(&[3; 512], DiskOffset(FAR + 512));
                if (flushing || is_new) && matches!(written, Err(Error::Broken { .. })) {
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
            assert!(refused > 4, "{kind:?}, {name}: {refused}");
        }
    }
}
