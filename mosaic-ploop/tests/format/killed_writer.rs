// SPDX-License-Identifier: MIT OR Apache-2.0
//! A writer that is killed, and then more goes wrong: the power is cut, or there was no space.

use mosaic_ploop::format::Error;
use mosaic_ploop::format::chain::Chain;
use mosaic_ploop::format::check::Repair;
use mosaic_ploop::format::disk::{Disk, Kind};
use mosaic_ploop::format::storage::{Access, Folder};
use mosaic_ploop::format::units::{ClusterSize, DiskOffset, Sectors};

use crate::disk::{CLUSTER, CLUSTERS, V1, V2, assert_clean, fill, guid, new, small};
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
