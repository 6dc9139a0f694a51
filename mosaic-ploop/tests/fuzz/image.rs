// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any bytes as an image.
//!
//! The first four bytes are the file's length, up to half a MiB; the others are how it begins.

use std::cell::RefCell;

use mosaic_ploop::format::chain::Chain;
use mosaic_ploop::format::check::{Repair, Report, check};
use mosaic_ploop::format::delta::Delta;
use mosaic_ploop::format::layer::Layer;
use mosaic_ploop::format::units::{DiskOffset, Sectors};
use mosaic_ploop::format::writer::Writer;
use mosaic_ploop::format::{Error, Result};

use crate::sparse_file::SmallFile;

/// Opens, reads, checks, repairs and changes it; a word for how that went.
pub fn run(input: &[u8]) -> String {
    let Some((length, start)) = input.split_first_chunk() else {
        return "no image".to_owned();
    };
    let length = u32::from_le_bytes(*length) as usize % (512 * 1024 + 1);
    let mut image = start.to_vec();
    image.resize(length, 0);
    let bytes = RefCell::new(image);
    let mut words = Vec::new();
    words.push(word(&read(&bytes)));
    let looked = look(&bytes, None);
    words.push(word(&looked));
    for repair in [Repair::Safe, Repair::Hard] {
        let before = bytes.borrow().clone();
        let repaired = look(&bytes, Some(repair));
        words.push(word(&repaired));
        let is_repaired = repaired.as_ref().is_ok_and(|report| report.is_repaired);
        if is_repaired {
            let again = look(&bytes, None).unwrap();
            assert!(again.faults.is_empty(), "{repaired:?} {again:?}");
        } else if repaired.is_ok() {
            assert!(*bytes.borrow() == before, "{repaired:?}");
        }
    }
    let done = change(&bytes);
    words.push(word(&done));
    if let Ok(true) = done {
        let after = look(&bytes, None).unwrap();
        assert!(after.faults.is_empty(), "{after:?}");
    }
    words.join(" ")
}

fn look(bytes: &RefCell<Vec<u8>>, repair: Option<Repair>) -> Result<Report> {
    check("fuzz", SmallFile { bytes }, repair)
}

/// Reads where there is anything.
fn read(bytes: &RefCell<Vec<u8>>) -> Result<()> {
    let delta = Delta::open("fuzz", SmallFile { bytes })?;
    let known: Vec<_> = delta.allocated().take(20).collect();
    let chain = Chain::new(Vec::new(), Layer::Delta(delta))?;
    let (size, cluster) = (chain.size().bytes(), chain.cluster());
    let starts = known.iter().map(|known| cluster.start_on_disk(*known).0);
    for at in starts.chain([0, size / 2, size.saturating_sub(9)]) {
        let there = size.saturating_sub(at).min(1000);
        let mut buffer = vec![0; usize::try_from(there).unwrap_or_default()];
        chain.read(&mut buffer, DiskOffset(at))?;
        let extent = chain.extent(DiskOffset(at), there)?;
        assert!(extent.bytes <= there);
    }
    Ok(())
}

/// Writes to it, and gives it other sizes; whether it could be opened for that.
fn change(bytes: &RefCell<Vec<u8>>) -> Result<bool> {
    let delta = Delta::open("fuzz", SmallFile { bytes })?;
    let mut chain = match Writer::open(delta) {
        Ok(writer) => Chain::new(Vec::new(), Layer::Writer(Box::new(writer)))?,
        Err(_) => return Ok(false),
    };
    let (size, cluster) = (chain.size(), chain.cluster());
    let mut done = Vec::new();
    let end = DiskOffset(size.bytes().saturating_sub(1));
    for (at, byte) in [(DiskOffset(0), 1), (end, 2)] {
        if chain.write(&[byte], at).is_ok() {
            done.push((at, byte));
        }
    }
    chain.flush()?;
    if let Layer::Writer(writer) = chain.top_mut() {
        let grown = Sectors(size.0.saturating_add(9000 * u64::from(cluster.sectors())));
        let is_grown = size_error(writer.grow(grown))?;
        // A header may say that there is nothing, but no disk is made so.
        let is_shrunk = size_error(writer.shrink(size.max(Sectors(1))))?;
        assert!(is_shrunk || !is_grown, "{size}");
        writer.compact(|_| Ok(false))?;
    }
    for (at, byte) in done {
        let mut found = [0];
        if at.0 < chain.size().bytes() {
            chain.read(&mut found, at)?;
            assert_eq!(found, [byte], "{at:?}");
        }
    }
    chain.close()?;
    Ok(true)
}

/// Whether it was done; there are sizes that cannot be, and more than the file can hold.
fn size_error(done: Result<()>) -> Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(Error::Size(_) | Error::Resize { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}

/// What it was, without numbers.
fn word<T: std::fmt::Debug>(result: &Result<T>) -> String {
    let text = format!("{result:?}");
    let letters = text.chars().filter(char::is_ascii_alphabetic);
    letters.take(200).collect()
}
