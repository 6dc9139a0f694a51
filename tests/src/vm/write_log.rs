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

use super::disk::Disk;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const SECTOR: u64 = 512;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// What was written to a blank [`Disk`].
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

    /// Makes the disk that may be left if the power is cut before request `at`: everything up to
    /// the last flush, and of what came after it what the seed chooses, about a half; what was
    /// written through the disk's cache always. Discarded data stay.
    ///
    /// # Errors
    /// There is no such request; the image exists, or cannot be written.
    pub fn cut(&self, at: usize, seed: u64, image: &Path) -> Result<Disk> {
        let Some(entries) = self.entries.get(..at) else {
            bail!("there are only {} requests", self.len());
        };
        let disk = Disk::create(image)?;
        let to = File::options().write(true).open(image)?;
        let flushed = entries.iter().rposition(|entry| entry.is(FLUSH));
        let safe = flushed.map_or(0, |flush| flush + 1);
        let mut random = seed;
        for (number, entry) in entries.iter().enumerate() {
            let chosen = next_random(&mut random) & 1 == 0;
            let is_there = number < safe || entry.is(FUA) || chosen;
            if is_there && !entry.is(DISCARD) {
                let mut data = vec![0; usize::try_from(entry.length)?];
                self.file.read_exact_at(&mut data, entry.data)?;
                to.write_all_at(&data, entry.to)?;
            }
        }
        Ok(disk)
    }
}

fn word(file: &File, at: u64) -> Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at)
        .context("the log is too short")?;
    Ok(u64::from_le_bytes(bytes))
}

/// SplitMix64: the same row of numbers from the same seed on any machine.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scratch;

    /// A log of one-sector requests: where to, flags, and the byte that the data are made of.
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
            put(at, &[*to, count, *flags, 0]);
            at += SECTOR;
            if count == 1 && flags & DISCARD == 0 {
                file.write_all_at(&[*byte; 512], at).unwrap();
                at += SECTOR;
            }
        }
        file.set_len(at).unwrap();
    }

    #[test]
    fn what_was_flushed_is_there_and_of_the_rest_a_part() {
        let scratch = Scratch::new("write-log").unwrap();
        let path = scratch.path().join("log");
        let mut requests = vec![(0, 0, 1), (1, DISCARD, 0), (0, FLUSH, 0), (2, FUA, 2)];
        requests.extend((10..74).map(|to| (to, 0, 3)));
        log(&path, &requests);
        let log = WriteLog::open(&path).unwrap();
        assert_eq!((log.len(), log.cuts()), (68, vec![2, 68]));
        let sectors = |at: usize, seed: u64| -> Vec<u8> {
            let image = scratch.path().join("image");
            log.cut(at, seed, &image).unwrap();
            let mut all = vec![0; 74 * 512];
            File::open(&image)
                .unwrap()
                .read_exact_at(&mut all, 0)
                .unwrap();
            std::fs::remove_file(image).unwrap();
            all.chunks(512).map(|sector| sector[0]).collect()
        };
        let found = sectors(68, 7);
        assert_eq!(found[..3], [1, 0, 2]);
        let kept = found[10..].iter().filter(|byte| **byte == 3).count();
        assert!((10..54).contains(&kept), "{kept}");
        assert_eq!(found, sectors(68, 7));
        assert_ne!(found, sectors(68, 8));
        assert_eq!(sectors(4, 7)[..4], [1, 0, 2, 0]);
        assert!(log.cut(69, 7, &scratch.path().join("none")).is_err());
    }
}
