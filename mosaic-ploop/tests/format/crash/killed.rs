// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writers that are killed, each at any step, and followed by another; at the end the power is cut.
//! A kill takes nothing, and the power cut nothing that was flushed.

use mosaic_ploop::format::chain::Chain;
use mosaic_ploop::format::disk::Disk;
use mosaic_ploop::format::storage::{Access, Folder};
use mosaic_ploop::format::units::DiskOffset;
use mosaic_tests::{Random, is_quick, left_out};

use super::writes::{Instant, SECTOR, assert_durable, flush, read, write};
use super::{repair, stride};
use crate::disk::{CLUSTER, CLUSTERS, MemDisk, V1, V2, fill, guid, read_top, small};
use crate::storage::{Content, Loss, MemFile, MemFolder, Step, after_crash};

/// Stands for memory that outlives a process.
const LEDGER: &str = "ledger";
/// Rows of works; each has so many.
const ROWS: u64 = 4;
const WORKS: u64 = 30;

/// A row of works by writers of which some are killed.
struct Row {
    chance: Random,
    start: Content,
    steps: Vec<Step>,
    folder: MemFolder,
    chain: Chain<MemFile>,
    instants: Vec<Instant>,
    kills: usize,
}

/// Opens the disk as a server does.
fn serve(folder: &MemFolder) -> Chain<MemFile> {
    let mut disk = Disk::open(folder.clone()).unwrap();
    let notes = folder.open(LEDGER, Access::Write);
    let notes = notes.unwrap_or_else(|_| folder.create(LEDGER, false).unwrap());
    disk.serve(notes).unwrap()
}

impl Row {
    fn new(disk: &MemDisk, seed: u64) -> Self {
        let folder = disk.folder().clone();
        let start = folder.content();
        folder.take_steps();
        let chain = serve(&folder);
        let first = Instant {
            steps: 0,
            data: read(&chain),
            is_flushed: true,
        };
        Self {
            chance: Random::new(seed),
            start,
            steps: folder.take_steps(),
            folder,
            chain,
            instants: vec![first],
            kills: 0,
        }
    }

    fn work(&mut self, number: u64) {
        let cluster = DiskOffset(self.chance.below(CLUSTERS - 1) * CLUSTER);
        let within = self.chance.below(CLUSTER / 512) * 512;
        let length = 512 * (1 + self.chance.below(64));
        let data = vec![u8::try_from(number + 1).unwrap(); index(length)];
        let what = self.chance.below(10);
        match what {
            0..=4 => write(&mut self.chain, &data, DiskOffset(cluster.0 + within)),
            5 | 6 => self.chain.write_zeroes(cluster, CLUSTER).unwrap(),
            7 => self.chain.discard(cluster, 2 * CLUSTER).unwrap(),
            _ => drop(flush(&mut self.chain)),
        }
        let done = self.folder.take_steps();
        match self.chance.below(4) {
            0 => {
                let steps = self.chance.below(done.len() as u64 + 1);
                self.kill(&done[..index(steps)]);
            }
            _ => {
                self.steps.extend(done);
                self.note(what > 7);
            }
        }
    }

    fn note(&mut self, is_flushed: bool) {
        self.instants.push(Instant {
            steps: self.steps.len(),
            data: read(&self.chain),
            is_flushed,
        });
    }

    /// As if the writer had been killed when it had done no more than that of its last work.
    fn kill(&mut self, done: &[Step]) {
        let answered = &self.instants.last().unwrap().data;
        let under_way = read(&self.chain);
        self.steps.extend_from_slice(done);
        self.folder = after_crash(&self.start, &self.steps, Loss::Nothing);
        self.chain = serve(&self.folder);
        let now = read(&self.chain);
        let known = answered.chunks(SECTOR).zip(under_way.chunks(SECTOR));
        for (at, (now, (old, new))) in now.chunks(SECTOR).zip(known).enumerate() {
            assert!(
                now == old || now == new,
                "sector {at} is lost with its writer"
            );
        }
        self.steps.extend(self.folder.take_steps());
        self.note(false);
        self.kills += 1;
    }

    fn cut_power_everywhere(&self, what: &str) {
        for (at, loss) in cuts((0..=self.steps.len()).step_by(stride())) {
            let when = format!("{what}, power cut before step {at}, {loss:?}");
            let folder = after_crash(&self.start, &self.steps[..at], loss);
            folder.remove_name(LEDGER);
            let mut disk = Disk::open(folder).unwrap();
            repair(&mut disk, &when);
            assert_durable(&self.instants, at, &read_top(&disk), &when);
        }
    }
}

fn survives(disk: &MemDisk, what: &str) {
    let start = disk.folder().content();
    let mut kills = 0;
    for seed in 0..ROWS {
        let disk = Disk::open(MemFolder::with(start.clone())).unwrap();
        let mut row = Row::new(&disk, seed);
        for number in 0..WORKS {
            row.work(number);
        }
        row.cut_power_everywhere(&format!("{what}, row {seed}"));
        kills += row.kills;
    }
    assert!(kills > 20, "{kills}");
    if is_quick() {
        left_out("3 of 4 steps");
    }
}

/// The old place is in the table on storage, whatever the notes and the page cache say.
#[test]
fn what_is_written_after_a_kill_is_not_seen_in_the_place_of_what_was_removed() {
    for kind in [V1, V2] {
        let disk = small(kind);
        fill(&disk, 0, 3 * CLUSTER, 0xff);
        let start = disk.folder().content();
        disk.folder().take_steps();
        let mut chain = serve(disk.folder());
        chain.write_zeroes(DiskOffset(CLUSTER), CLUSTER).unwrap();
        chain.flush().unwrap();
        let steps = disk.folder().take_steps();
        for killed in 0..=steps.len() {
            let folder = after_crash(&start, &steps[..killed], Loss::Nothing);
            if !folder.names().iter().any(|name| name == LEDGER) {
                continue;
            }
            let mut chain = serve(&folder);
            for cluster in 8..10 {
                write(&mut chain, &[7; 1024], DiskOffset(cluster * CLUSTER));
            }
            let mut steps = steps[..killed].to_vec();
            steps.extend(folder.take_steps());
            for (at, loss) in cuts(killed..=steps.len()) {
                let when = format!("{kind:?}, killed after {killed}, cut after {at}, {loss:?}");
                let folder = after_crash(&start, &steps[..at], loss);
                folder.remove_name(LEDGER);
                let mut disk = Disk::open(folder).unwrap();
                repair(&mut disk, &when);
                let removed = &read_top(&disk)[index(CLUSTER)..index(2 * CLUSTER)];
                let is_known = removed.iter().all(|byte| [0, 0xff].contains(byte));
                assert!(is_known, "{when}");
            }
        }
    }
}

/// A power cut at each of these steps, with each loss.
fn cuts(steps: impl Iterator<Item = usize>) -> impl Iterator<Item = (usize, Loss)> {
    steps.flat_map(|at| {
        let losses = [Loss::Nothing, Loss::All, Loss::Half(at as u64)];
        losses.map(|loss| (at, loss))
    })
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

#[test]
fn a_single_delta() {
    for kind in [V1, V2] {
        let disk = small(kind);
        fill(&disk, 0, 6 * CLUSTER, 0xff);
        survives(&disk, &format!("{kind:?}"));
    }
}

#[test]
fn a_chain() {
    for kind in [V1, V2] {
        let mut disk = small(kind);
        fill(&disk, 0, 3 * CLUSTER, 0xff);
        disk.snapshot(guid(1)).unwrap();
        fill(&disk, 2 * CLUSTER, 4 * CLUSTER, 0xfe);
        survives(&disk, &format!("upon {kind:?}"));
    }
}
