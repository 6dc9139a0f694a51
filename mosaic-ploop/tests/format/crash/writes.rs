// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing to the open disk: after a crash all that was flushed is there, and each sector that was
//! written since is the old one or the new one.

use mosaic_ploop::format::chain::Chain;
use mosaic_ploop::format::disk::{Disk, Kind};
use mosaic_ploop::format::units::DiskOffset;
use mosaic_tests::{is_quick, left_out};

use super::{repair, stride};
use crate::disk::{CLUSTER, CLUSTERS, MemDisk, V1, V2, fill, guid, read_top, small};
use crate::storage::{Loss, MemFile, after_crash};

pub(super) const SECTOR: usize = 512;

/// The disk's data at an instant.
pub(super) struct Instant {
    /// Steps until then.
    pub(super) steps: usize,
    pub(super) data: Vec<u8>,
    pub(super) is_flushed: bool,
}

/// Writes as a server does: in place, if all of it has a place.
pub(super) fn write(chain: &mut Chain<MemFile>, data: &[u8], at: DiskOffset) {
    if !chain.write_in_place(data, at).unwrap() {
        chain.write(data, at).unwrap();
    }
}

/// Makes durable as a server does: the data alone, if nothing else has changed. Whether that was so.
pub(super) fn flush(chain: &mut Chain<MemFile>) -> bool {
    let is_in_place = chain.flush_in_place().unwrap();
    if !is_in_place {
        chain.flush().unwrap();
    }
    is_in_place
}

/// What is done to the open disk; whether all is durable then.
fn work(chain: &mut Chain<MemFile>, number: u8) -> bool {
    let at = u64::from(number) * 7919 * 512 % ((CLUSTERS - 2) * CLUSTER);
    let (at, cluster) = (DiskOffset(at), DiskOffset(at / CLUSTER * CLUSTER));
    let data = vec![number + 1; usize::from(number) * 700 + 100];
    match number % 6 {
        0..=2 => write(chain, &data, at),
        3 => chain.write_zeroes(cluster, CLUSTER).unwrap(),
        4 => chain.discard(cluster, 2 * CLUSTER).unwrap(),
        // All is durable, and the table stays as it is.
        _ => {
            overwrite(chain, &data[..2000]);
            assert!(flush(chain));
            return true;
        }
    }
    let is_flush = number % 6 == 4 || number % 4 == 3;
    if is_flush {
        flush(chain);
    }
    is_flush
}

/// Writes within the first cluster that has a place.
fn overwrite(chain: &mut Chain<MemFile>, data: &[u8]) {
    let mut places = (0..CLUSTERS).map(|cluster| DiskOffset(cluster * CLUSTER + 700));
    let done = places.any(|at| chain.write_in_place(data, at).unwrap());
    assert!(done, "nothing is allocated");
}

pub(super) fn read(chain: &Chain<MemFile>) -> Vec<u8> {
    let mut data = vec![0; usize::try_from(chain.size().bytes()).unwrap()];
    chain.read(&mut data, DiskOffset(0)).unwrap();
    data
}

fn survives(disk: &MemDisk) {
    let start = disk.folder().content();
    disk.folder().take_steps();
    let mut steps = Vec::new();
    let mut instants = vec![Instant {
        steps: 0,
        data: read_top(disk),
        is_flushed: true,
    }];
    let mut chain = disk.write().unwrap();
    for number in 0..30 {
        let is_flushed = work(&mut chain, number);
        steps.extend(disk.folder().take_steps());
        instants.push(Instant {
            steps: steps.len(),
            data: read(&chain),
            is_flushed,
        });
    }
    drop(chain);
    if is_quick() {
        left_out("3 of 4 steps");
    }
    for at in (0..=steps.len()).step_by(stride()) {
        for loss in [Loss::Nothing, Loss::All, Loss::Half(at as u64)] {
            let when = format!("crash before step {at}, {loss:?}");
            let mut disk = Disk::open(after_crash(&start, &steps[..at], loss)).unwrap();
            repair(&mut disk, &when);
            assert_durable(&instants, at, &read_top(&disk), &when);
        }
    }
}

/// Each sector has the value that it had at an instant since the last flush, up to the work that was
/// going on.
pub(super) fn assert_durable(instants: &[Instant], at: usize, data: &[u8], when: &str) {
    let flushed = instants
        .iter()
        .rposition(|instant| instant.is_flushed && instant.steps <= at)
        .unwrap();
    let last = instants.iter().position(|instant| instant.steps >= at);
    // A flush may have had no step.
    let possible = &instants[flushed..=last.unwrap().max(flushed)];
    for (number, sector) in data.chunks(SECTOR).enumerate() {
        let place = number * SECTOR..number * SECTOR + sector.len();
        let is_known = possible
            .iter()
            .any(|instant| instant.data[place.clone()] == *sector);
        assert!(is_known, "{when}: sector {number} was never so");
    }
}

#[test]
fn a_single_delta() {
    for kind in [V1, V2] {
        let disk = small(kind);
        fill(&disk, 0, 3 * CLUSTER, 0xff);
        survives(&disk);
    }
}

#[test]
fn a_chain() {
    for kind in [V2, Kind::Raw] {
        let mut disk = small(kind);
        fill(&disk, 0, 3 * CLUSTER, 0xff);
        disk.snapshot(guid(1)).unwrap();
        fill(&disk, 2 * CLUSTER, 2 * CLUSTER, 0xfe);
        survives(&disk);
    }
}
