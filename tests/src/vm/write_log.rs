// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every write to a disk, in order, and the disks that a power cut may have left.
//!
//! QEMU's driver blklogwrites writes the log, in the format of the kernel's dm-log-writes
//! (Documentation/admin-guide/device-mapper/log-writes.rst): a header, then for each request an
//! entry of one sector with its data after it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FallocateFlags, fallocate};

use super::disk::Disk;
use crate::Random;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const SECTOR: u64 = 512;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// What a disk writes as a whole: a physical sector.
const PIECE: u64 = 4096;

/// What was written to a [`Disk`].
#[derive(Debug)]
pub struct WriteLog {
    file: File,
    entries: Vec<Entry>,
}

/// One request; offsets and lengths in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    to: u64,
    length: u64,
    flags: u64,
    data: u64,
}

impl Entry {
    fn is(self, flag: u64) -> bool {
        self.flags & flag != 0
    }
}

impl WriteLog {
    /// Reads a log, also of a machine whose power was cut.
    ///
    /// # Errors
    /// It is no such log.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        ensure!(
            word(&file, 0)? == MAGIC,
            "{} is no log of writes",
            path.display()
        );
        let (count, mut at) = (word(&file, 16)?, SECTOR);
        let mut entries = Vec::new();
        for _ in 0..count {
            let [to, length, flags] = [0, 8, 16].map(|field| word(&file, at + field));
            let (to, length, flags) = (to? * SECTOR, length? * SECTOR, flags?);
            let data = at + SECTOR;
            entries.push(Entry {
                to,
                length,
                flags,
                data,
            });
            at = data + if flags & DISCARD == 0 { length } else { 0 };
        }
        Ok(Self { file, entries })
    }

    /// How many requests there were.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The places just before each flush, when most is at stake, and the end.
    pub fn cuts(&self) -> Vec<usize> {
        let numbered = self.entries.iter().enumerate();
        let flushes = numbered.filter(|(_, entry)| entry.is(FLUSH));
        flushes.map(|(at, _)| at).chain([self.len()]).collect()
    }

    /// What was written to one place, request after request: the numbers of the requests, and the
    /// data. A job that writes there says by that how far it is.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn written_at(&self, place: u64) -> Result<Vec<(usize, Vec<u8>)>> {
        let numbered = self.entries.iter().enumerate();
        let found = numbered
            .filter(|(_, entry)| entry.to == place && entry.length > 0 && !entry.is(DISCARD));
        found
            .map(|(number, entry)| Ok((number, self.data(*entry)?)))
            .collect()
    }

    /// Makes the disk that may be left of a blank one if the power is cut before request `at`:
    /// everything up to the last flush, and of what came after it what the seed chooses. That is
    /// nothing, or all, or a part, also of a single request; what was written through the disk's
    /// cache always. What was discarded is zeroes.
    ///
    /// # Errors
    /// There is no such request; the image exists, or cannot be written.
    pub fn cut(&self, at: usize, seed: u64, image: &Path) -> Result<Disk> {
        let disk = Disk::create(image)?;
        self.cut_onto(at, seed, &disk)?;
        Ok(disk)
    }

    /// The same with a disk that is as it was when the log was begun.
    ///
    /// # Errors
    /// There is no such request; the disk cannot be written.
    pub fn cut_onto(&self, at: usize, seed: u64, disk: &Disk) -> Result<()> {
        let Some(entries) = self.entries.get(..at) else {
            bail!("there are only {} requests", self.len());
        };
        let to = File::options().write(true).open(disk.image())?;
        let flushed = entries.iter().rposition(|entry| entry.is(FLUSH));
        let safe = flushed.map_or(0, |flush| flush + 1);
        let mut luck = Luck::new(seed);
        for (number, entry) in entries.iter().enumerate() {
            let is_safe = number < safe || entry.is(FUA);
            if entry.is(DISCARD) {
                if is_safe || luck.keeps() {
                    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                    fallocate(&to, hole, entry.to, entry.length)?;
                }
                continue;
            }
            let data = self.data(*entry)?;
            let mut at = 0;
            while at < data.len() {
                let place = entry.to + at as u64;
                let end = data.len().min(at + usize::try_from(PIECE - place % PIECE)?);
                if is_safe || luck.keeps() {
                    to.write_all_at(&data[at..end], place)?;
                }
                at = end;
            }
        }
        Ok(())
    }

    fn data(&self, entry: Entry) -> Result<Vec<u8>> {
        let mut data = vec![0; usize::try_from(entry.length)?];
        self.file.read_exact_at(&mut data, entry.data)?;
        Ok(data)
    }
}

/// Which of the writes that were not flushed were on their way.
struct Luck {
    random: Random,
    /// How many of eight.
    kept: u64,
}

impl Luck {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let kept = *random.pick(&[0, 1, 4, 4, 7, 8]);
        Self { random, kept }
    }

    fn keeps(&mut self) -> bool {
        self.random.below(8) < self.kept
    }
}

fn word(file: &File, at: u64) -> Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at)
        .context("the log is too short")?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scratch;

    /// A log of requests of one piece each: where to, in pieces, flags, and the byte that the data
    /// are made of.
    fn log(path: &Path, requests: &[(u64, u64, u8)]) {
        let file = File::create(path).unwrap();
        let put = |at: u64, words: &[u64]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            file.write_all_at(&bytes, at).unwrap();
        };
        put(0, &[MAGIC, 1, requests.len() as u64, SECTOR]);
        let mut at = SECTOR;
        for (to, flags, byte) in requests {
            let count = u64::from(flags & FLUSH == 0);
            put(at, &[*to * 8, count * 8, *flags, 0]);
            at += SECTOR;
            if count == 1 && flags & DISCARD == 0 {
                file.write_all_at(&[*byte; 4096], at).unwrap();
                at += PIECE;
            }
        }
        file.set_len(at).unwrap();
    }

    /// The first bytes of the pieces of a file.
    fn pieces(image: &Path) -> Vec<u8> {
        let mut all = vec![0; 74 * 4096];
        let file = File::open(image).unwrap();
        file.read_exact_at(&mut all, 0).unwrap();
        all.chunks(4096).map(|piece| piece[0]).collect()
    }

    #[test]
    fn what_was_flushed_is_there_and_of_the_rest_a_part() {
        let scratch = Scratch::new("write-log").unwrap();
        let path = scratch.path().join("log");
        let mut requests = vec![(0, 0, 1), (1, 0, 9), (1, DISCARD, 0), (0, FLUSH, 0)];
        requests.push((2, FUA, 2));
        requests.extend((10..74).map(|to| (to, 0, 3)));
        log(&path, &requests);
        let log = WriteLog::open(&path).unwrap();
        assert_eq!((log.len(), log.cuts()), (69, vec![3, 69]));
        let cut = |at: usize, seed: u64| -> Vec<u8> {
            let image = scratch.path().join("image");
            log.cut(at, seed, &image).unwrap();
            let found = pieces(&image);
            std::fs::remove_file(image).unwrap();
            found
        };
        let mut counts = Vec::new();
        for seed in 0..32 {
            let found = cut(69, seed);
            assert_eq!(found[..3], [1, 0, 2]);
            assert_eq!(found, cut(69, seed));
            assert_eq!(cut(5, seed)[..4], [1, 0, 2, 0]);
            counts.push(found[10..].iter().filter(|byte| **byte == 3).count());
        }
        for (what, range) in [("no", 0..1), ("some", 16..48), ("every", 64..65)] {
            assert!(
                counts.iter().any(|n| range.contains(n)),
                "{what}: {counts:?}"
            );
        }
        assert!(log.cut(70, 7, &scratch.path().join("none")).is_err());
        assert_eq!(log.written_at(0).unwrap(), [(0, vec![1; 4096])]);
    }

    #[test]
    fn a_request_can_be_torn_and_a_disk_need_not_have_been_blank() {
        let scratch = Scratch::new("write-log").unwrap();
        let path = scratch.path().join("log");
        log(&path, &[(0, 0, 1)]);
        let file = File::options().write(true).open(&path).unwrap();
        // One of 32 pieces, from the middle of the first one.
        file.write_all_at(&4_u64.to_le_bytes(), SECTOR).unwrap();
        file.write_all_at(&256_u64.to_le_bytes(), SECTOR + 8)
            .unwrap();
        file.write_all_at(&[1; 32 * 4096], 2 * SECTOR).unwrap();
        let log = WriteLog::open(&path).unwrap();
        let disk = Disk::create(&scratch.path().join("image")).unwrap();
        let image = File::options().write(true).open(disk.image()).unwrap();
        let mut torn = 0;
        for seed in 0..32 {
            image.write_all_at(&[5; 74 * 4096], 0).unwrap();
            log.cut_onto(1, seed, &disk).unwrap();
            let found = pieces(disk.image());
            assert!(found[0] == 5 && found[33..].iter().all(|byte| *byte == 5));
            let written = found[1..33].iter().filter(|byte| **byte == 1).count();
            torn += usize::from((1..31).contains(&written));
        }
        assert!(torn > 0);
    }
}
