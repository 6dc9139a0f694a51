// SPDX-License-Identifier: MIT OR Apache-2.0
//! The partition that follows its disk: whatever comes between, another program finds a whole table,
//! with the partition as it was or as it is to be.

use mosaic_core::Result;
use mosaic_ploop::format::disk::{Disk, Kind};
use mosaic_ploop::format::units::{DiskOffset, Sectors};
use mosaic_ploop::{gpt, partition};
use mosaic_tests::{is_quick, left_out};

use super::{HALVES, flushes, repair, stride};
use crate::disk::{CLUSTER, CLUSTERS, MemDisk, V1, V2, change, fill, guid, read_top, small};
use crate::storage::{Content, Loss, MemFolder, Step, after_crash};

const SECTOR: u64 = 512;
/// Sectors of the disk and of what is beside the partition.
const SIZE: u64 = CLUSTERS * CLUSTER / SECTOR;
const BESIDE: u64 = 2 * CLUSTER / SECTOR;

/// A disk with a partition, and some data at its start.
fn partitioned(kind: Kind) -> MemDisk {
    let disk = small(kind);
    change(&disk, |chain| {
        let window = gpt::partition(chain.size(), chain.cluster()).unwrap();
        let new = gpt::new_table(chain.size(), window, [1; 16], [2; 16]);
        chain.write(&new.front, DiskOffset(0)).unwrap();
        chain.write(&new.back, DiskOffset(new.back_at)).unwrap();
    });
    fill(&disk, CLUSTER, CLUSTER, 3);
    disk
}

fn follow(disk: &MemDisk, size: Sectors) -> Result<()> {
    let mut chain = disk.write()?;
    let done = partition::follow(&mut chain, size);
    let closed = chain.close();
    done?;
    Ok(closed?)
}

fn grow(disk: &mut MemDisk, size: Sectors) -> Result<()> {
    let now = disk.read(disk.descriptor().top())?.size();
    follow(disk, now)?;
    disk.grow(size)?;
    follow(disk, size)
}

fn grow_open(disk: &mut MemDisk, size: Sectors) -> Result<()> {
    let mut chain = disk.write()?;
    let now = chain.size();
    let mended = partition::follow(&mut chain, now);
    let grown = mended.and_then(|_| Ok(disk.grow_open(size, &mut chain)?));
    let done = grown.and_then(|()| {
        let size = chain.size();
        partition::follow(&mut chain, size)
    });
    let closed = chain.close();
    done?;
    Ok(closed?)
}

fn shrink(disk: &mut MemDisk, size: Sectors) -> Result<()> {
    follow(disk, size)?;
    Ok(disk.shrink(size)?)
}

/// First sector of the first partition, and the one behind it, as a program finds them that looks in
/// front, and at the end if that is damaged.
fn found_by_others(disk: &[u8]) -> Option<(u64, u64)> {
    let last = disk.len() as u64 / SECTOR - 1;
    table_at(disk, 1).or_else(|| table_at(disk, last))
}

fn table_at(disk: &[u8], sector: u64) -> Option<(u64, u64)> {
    let at = |sector: u64| usize::try_from(sector * SECTOR).unwrap();
    let number =
        |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let half = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut header = disk[at(sector)..at(sector + 1)].to_vec();
    let entries = disk.get(at(number(&header, 72))..)?.get(..128 * 128)?;
    let crc = half(&header, 16);
    header[16..20].fill(0);
    let is_whole = header.starts_with(b"EFI PART")
        && crc32(&header[..92]) == crc
        && crc32(entries) == half(&header, 88)
        && number(&header, 24) == sector;
    let partition = (number(entries, 32), number(entries, 40) + 1);
    let usable = number(&header, 40)..=number(&header, 48) + 1;
    assert!(!is_whole || usable.contains(&partition.0) && usable.contains(&partition.1));
    is_whole.then_some(partition)
}

/// Thousands of tables are looked at: the remainder of each byte is worked out once.
static REMAINDERS: [u32; 256] = {
    let mut all = [0; 256];
    let mut byte = 0;
    let mut value = 0_u32;
    while byte < 256 {
        let mut crc = value;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
            bit += 1;
        }
        all[byte] = crc;
        byte += 1;
        value += 1;
    }
    all
};

fn crc32(bytes: &[u8]) -> u32 {
    let byte =
        |crc: u32, byte: &u8| REMAINDERS[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8);
    !bytes.iter().fold(u32::MAX, byte)
}

type Resize = fn(&mut MemDisk, Sectors) -> Result<()>;

/// Something that gives the disk another size.
struct Change {
    start: Content,
    steps: Vec<Step>,
    to: Sectors,
    run: Resize,
}

impl Change {
    fn survives(disk: MemDisk, clusters: u64, run: Resize) {
        let to = Sectors(clusters * CLUSTER / SECTOR);
        let start = disk.folder().content();
        disk.folder().take_steps();
        let mut disk = disk;
        run(&mut disk, to).unwrap();
        let steps = disk.folder().take_steps();
        let change = Self {
            start,
            steps,
            to,
            run,
        };
        change.assert_done(&disk, "undisturbed");
        assert!(change.crash_everywhere() > 40 / stride());
        change.fail_everywhere();
        if is_quick() {
            left_out("3 of 4 steps of a change");
        }
    }

    fn crash_everywhere(&self) -> usize {
        let mut count = 0;
        let mut crash = |at: usize, loss: Loss| {
            let folder = after_crash(&self.start, &self.steps[..at], loss);
            self.verify(folder, &format!("crash before step {at}, {loss:?}"));
            count += 1;
        };
        for at in (0..=self.steps.len()).step_by(stride()) {
            crash(at, Loss::Nothing);
        }
        for (at, _) in flushes(&self.steps) {
            crash(at, Loss::All);
            for seed in 0..2 * HALVES / stride() as u64 {
                crash(at, Loss::Half(seed + 2 * HALVES * at as u64));
            }
        }
        count
    }

    fn fail_everywhere(&self) {
        for good in (0..self.steps.len()).step_by(stride()) {
            let folder = MemFolder::with(self.start.clone());
            let mut disk = Disk::open(folder.clone()).unwrap();
            folder.fail_after(good, true);
            let done = (self.run)(&mut disk, self.to);
            folder.heal();
            self.verify(folder, &format!("step {good} failed: {done:?}"));
        }
    }

    fn verify(&self, folder: MemFolder, when: &str) {
        let mut disk = Disk::open(folder).unwrap();
        repair(&mut disk, when);
        let content = read_top(&disk);
        let sectors = content.len() as u64 / SECTOR;
        assert!([SIZE, self.to.0].contains(&sectors), "{when}");
        let found = found_by_others(&content).unwrap_or_else(|| panic!("{when}: no table"));
        let possible = [SIZE, self.to.0].map(|size| (BESIDE / 2, size - BESIDE / 2));
        assert!(possible.contains(&found), "{when}: {found:?}");
        assert!(found.1 + 33 <= sectors, "{when}: {found:?} of {sectors}");
        let ours = disk.read(disk.descriptor().top()).unwrap();
        let ours = partition::find(&ours).unwrap().unwrap().partition();
        let bytes = (found.1 - found.0) * SECTOR;
        assert_eq!((ours.at, ours.bytes), (found.0 * SECTOR, bytes), "{when}");
        // The same call does the rest.
        (self.run)(&mut disk, self.to).unwrap_or_else(|e| panic!("{when}: {}", e.chain()));
        self.assert_done(&disk, when);
    }

    fn assert_done(&self, disk: &MemDisk, when: &str) {
        let content = read_top(disk);
        let last = content.len() as u64 / SECTOR - 1;
        assert_eq!(last + 1, self.to.0, "{when}");
        let partition = (BESIDE / 2, self.to.0 - BESIDE / 2);
        for copy in [1, last] {
            assert_eq!(table_at(&content, copy), Some(partition), "{when}: {copy}");
        }
        let data = usize::try_from(CLUSTER).unwrap();
        assert!(content[data..2 * data].iter().all(|byte| *byte == 3));
    }
}

#[test]
fn a_partition_grows_with_its_idle_disk() {
    for kind in [V1, V2, Kind::Raw] {
        Change::survives(partitioned(kind), 3 * CLUSTERS, grow);
    }
    let mut disk = partitioned(V2);
    disk.snapshot(guid(1)).unwrap();
    Change::survives(disk, CLUSTERS + 1, grow);
}

#[test]
fn a_table_that_is_damaged_in_front_is_lost_at_no_instant() {
    let cases: [(u64, Resize); 3] = [(3 * CLUSTERS, grow), (3 * CLUSTERS, grow_open), (5, shrink)];
    for (to, run) in cases {
        let disk = partitioned(V2);
        // Its checksum does not fit any more.
        change(&disk, |chain| {
            chain.write(&[7], DiskOffset(1024 + 60)).unwrap();
        });
        Change::survives(disk, to, run);
    }
}

#[test]
fn a_partition_grows_with_its_open_disk() {
    for kind in [V1, V2, Kind::Raw] {
        Change::survives(partitioned(kind), 3 * CLUSTERS, grow_open);
    }
}

#[test]
fn a_partition_shrinks_before_its_disk() {
    for (kind, clusters) in [(V1, 3), (V2, CLUSTERS - 1), (Kind::Raw, CLUSTERS / 2)] {
        Change::survives(partitioned(kind), clusters, shrink);
    }
}

#[test]
fn a_table_that_is_right_is_not_written() {
    let disk = partitioned(V2);
    disk.folder().take_steps();
    follow(&disk, Sectors(SIZE)).unwrap();
    let steps = disk.folder().take_steps();
    // The header's mark alone.
    let is_data = |step: &Step| matches!(step, Step::Write { at, .. } if *at >= CLUSTER);
    assert!(!steps.iter().any(is_data), "{steps:?}");
}
