// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing to the top of a chain: in place where it has the cluster, else a whole new cluster whose
//! rest comes from below.

use std::ops::Range;

use super::{Chain, Lower};
use crate::format::delta::Delta;
use crate::format::error::{Error, Result};
use crate::format::layer::Layer;
use crate::format::storage::{ImageFile, is_zero};
use crate::format::units::{DiskOffset, FileOffset, VirtualCluster};
use crate::format::writer::Writer;

/// A part of a cluster.
#[derive(Clone, Copy)]
struct Piece {
    cluster: VirtualCluster,
    within: u64,
    bytes: u64,
}

impl<F: ImageFile> Chain<F> {
    /// Writes to the disk. Durable after [`Chain::flush`].
    ///
    /// # Errors
    /// `Range`; `ReadOnly`; `Full`; `Broken`; `Entry`; `Io`.
    pub fn write(&mut self, data: &[u8], at: DiskOffset) -> Result<()> {
        self.check_range(at, data.len() as u64)?;
        if let Layer::Raw(raw) = &mut self.top {
            return raw.write(data, at);
        }
        let mut rest = data;
        for piece in self.pieces(at, data.len() as u64)? {
            let (part, after) = rest.split_at(usize::try_from(piece.bytes).unwrap_or(rest.len()));
            self.write_piece(piece, part)?;
            rest = after;
        }
        Ok(())
    }

    /// Writes to the disk if the top has all the clusters that it needs, and its mark; else nothing is
    /// written. Whether it was.
    ///
    /// The chain may be read and written like this by many at once.
    ///
    /// # Errors
    /// As [`Chain::write`].
    pub fn write_in_place(&self, data: &[u8], at: DiskOffset) -> Result<bool> {
        self.check_range(at, data.len() as u64)?;
        let writer = match &self.top {
            Layer::Writer(writer) if !writer.is_marked() => return Ok(false),
            Layer::Writer(writer) => writer,
            Layer::Raw(raw) => return raw.overwrite(data, at),
            Layer::Delta(_) => return Err(read_only(&self.top)),
        };
        for piece in self.pieces(at, data.len() as u64)? {
            if writer.delta().locate(piece.cluster)?.is_none() {
                return Ok(false);
            }
        }
        let (mut rest, mut at) = (data, at);
        while let Some((place, bytes)) = self.run_in(writer, at, rest.len() as u64)? {
            let (part, after) = rest.split_at(usize::try_from(bytes).unwrap_or(rest.len()));
            writer.overwrite(part, place)?;
            at = DiskOffset(at.0 + bytes);
            rest = after;
        }
        Ok(true)
    }

    /// The file that bytes of the disk can be written to in place, and where in it, if that is one
    /// place for all: what [`Chain::write_in_place`] would write to.
    ///
    /// # Errors
    /// As [`Chain::write`].
    pub fn place_in_top(&self, at: DiskOffset, bytes: usize) -> Result<Option<(&F, FileOffset)>> {
        let bytes = bytes as u64;
        self.check_range(at, bytes)?;
        let place = match &self.top {
            Layer::Writer(writer) if !writer.is_marked() => None,
            Layer::Writer(writer) => {
                writer.intact()?;
                let run = self.run_in(writer, at, bytes)?;
                run.filter(|run| run.1 == bytes).map(|run| run.0)
            }
            Layer::Raw(raw) => raw.has(at, bytes)?.then_some(FileOffset(at.0)),
            Layer::Delta(_) => None,
        };
        Ok(place.map(|place| (self.top.file(), place)))
    }

    /// Where the top has the disk's bytes from `at` on, and how many of them lie behind each other.
    fn run_in(
        &self,
        writer: &Writer<F>,
        at: DiskOffset,
        bytes: u64,
    ) -> Result<Option<(FileOffset, u64)>> {
        let mut run: Option<(FileOffset, u64)> = None;
        for piece in self.pieces(at, bytes)? {
            let place = writer.delta().locate(piece.cluster)?;
            let place = place.map(|place| place.plus(piece.within));
            run = match (run, place) {
                (None, Some(place)) => Some((place, piece.bytes)),
                (Some((start, there)), Some(place)) if place == start.plus(there) => {
                    Some((start, there + piece.bytes))
                }
                (run, _) => return Ok(run),
            };
        }
        Ok(run)
    }

    fn write_piece(&mut self, piece: Piece, data: &[u8]) -> Result<()> {
        let writer = writer(&mut self.top)?;
        if let Some(place) = writer.delta().locate(piece.cluster)? {
            return writer.overwrite(data, place.plus(piece.within));
        }
        // Zeros over zeros need no cluster.
        if is_zero(data) && self.lower.locate(piece.cluster)?.is_none() {
            return Ok(());
        }
        self.add_around(piece, Some(data))
    }

    /// Makes a range of the disk read as zeros, to the byte.
    ///
    /// # Errors
    /// As [`Chain::write`].
    pub fn write_zeroes(&mut self, at: DiskOffset, bytes: u64) -> Result<()> {
        self.check_range(at, bytes)?;
        if let Layer::Raw(raw) = &mut self.top {
            return raw.punch(at, bytes);
        }
        for piece in self.pieces(at, bytes)? {
            self.zero_piece(piece)?;
        }
        Ok(())
    }

    fn zero_piece(&mut self, piece: Piece) -> Result<()> {
        let is_whole = self.is_whole(piece);
        let is_below = self.lower.locate(piece.cluster)?.is_some();
        let writer = writer(&mut self.top)?;
        match writer.delta().locate(piece.cluster)? {
            Some(_) if is_whole && !is_below => writer.remove(piece.cluster),
            Some(place) => writer.punch(place.plus(piece.within), piece.bytes),
            None if !is_below => Ok(()),
            // There is no entry that says zeros, so a cluster of them hides what is below.
            None => self.add_around(piece, None),
        }
    }

    /// Adds a cluster to the top: the piece with this data, or zeros, around it what is below.
    fn add_around(&mut self, piece: Piece, data: Option<&[u8]>) -> Result<()> {
        let size = self.cluster().bytes();
        let (lower, scratch) = (&self.lower, self.scratch.bytes_mut());
        let is_below = lower.locate(piece.cluster)?.is_some();
        writer(&mut self.top)?.add(piece.cluster, |delta, at| match data {
            Some(data) if piece.bytes == size => write(delta, data, at),
            // Discards come this way too, and are not to take space.
            None if piece.bytes == size => hole(delta, at, size),
            _ if !is_below => {
                let zeroed = delta.file().zero(at, size);
                zeroed.map_err(delta.io("write"))?;
                data.map_or(Ok(()), |data| write(delta, data, at.plus(piece.within)))
            }
            _ => match scratch.get_mut(..usize::try_from(size).unwrap_or(usize::MAX)) {
                Some(whole) => {
                    patched(lower, piece, data, whole)?;
                    write(delta, whole, at)
                }
                None => {
                    let end = piece.within + piece.bytes;
                    copy(lower, piece.cluster, 0..piece.within, delta, at, scratch)?;
                    let middle = at.plus(piece.within);
                    match data {
                        Some(data) => write(delta, data, middle)?,
                        None => {
                            let zeroed = delta.file().zero(middle, piece.bytes);
                            zeroed.map_err(delta.io("write"))?;
                        }
                    }
                    copy(lower, piece.cluster, end..size, delta, at, scratch)
                }
            },
        })
    }

    /// Lets go of what a range holds: its whole clusters read as zeros afterwards, or still as they
    /// were; parts of clusters stay. A raw disk lets go of all of it.
    ///
    /// # Errors
    /// `Range`; `ReadOnly`; `Broken`; `Entry`; `Io`.
    pub fn discard(&mut self, at: DiskOffset, bytes: u64) -> Result<()> {
        self.check_range(at, bytes)?;
        if let Layer::Raw(raw) = &mut self.top {
            return raw.punch(at, bytes);
        }
        let is_single = self.lower.is_empty();
        for piece in self.pieces(at, bytes)? {
            if !self.is_whole(piece) {
                continue;
            }
            let writer = writer(&mut self.top)?;
            match writer.delta().locate(piece.cluster)? {
                None => {}
                Some(_) if is_single => writer.remove(piece.cluster)?,
                // Without the entry older data would be seen again.
                Some(place) => writer.punch(place, piece.bytes)?,
            }
        }
        Ok(())
    }

    /// Makes durable all that was written, if all that was in place; whether it was.
    ///
    /// # Errors
    /// `Broken`; `Io`.
    pub fn flush_in_place(&self) -> Result<bool> {
        match &self.top {
            Layer::Writer(writer) => writer.flush_data(),
            Layer::Raw(raw) => raw.flush().map(|()| true),
            Layer::Delta(_) => Ok(true),
        }
    }

    /// Makes durable all that was written.
    ///
    /// # Errors
    /// `Broken`; `Io`.
    pub fn flush(&mut self) -> Result<()> {
        match &mut self.top {
            Layer::Writer(writer) => writer.flush(),
            Layer::Raw(raw) => raw.flush(),
            Layer::Delta(_) => Ok(()),
        }
    }

    /// Whether nothing is written any more, since something has failed for good. What was written is
    /// made durable once more to find that out, but for a raw top, which is always written on: what it
    /// has lost is for who writes to hear.
    ///
    /// # Errors
    /// `Io`, and it is written on.
    pub fn is_broken(&mut self) -> Result<bool> {
        let Layer::Writer(writer) = &mut self.top else {
            return Ok(false);
        };
        let flushed = writer.flush();
        match writer.intact() {
            Err(_) => Ok(true),
            Ok(()) => flushed.map(|()| false),
        }
    }

    /// Makes all durable and takes the top's mark away.
    ///
    /// # Errors
    /// `Broken`; `Io`.
    pub fn close(mut self) -> Result<()> {
        self.finish()
    }

    /// Does what [`Chain::close`] does to a chain that others still have; nothing can be written to it
    /// afterwards.
    ///
    /// # Errors
    /// As [`Chain::close`].
    pub fn finish(&mut self) -> Result<()> {
        match &mut self.top {
            Layer::Writer(writer) => writer.finish(),
            Layer::Raw(raw) => raw.flush(),
            Layer::Delta(_) => Ok(()),
        }
    }

    /// The parts of a range, cluster by cluster.
    fn pieces(&self, at: DiskOffset, bytes: u64) -> Result<Pieces> {
        let (cluster, within) = self.split(at)?;
        Ok(Pieces {
            next: cluster,
            within,
            left: bytes,
            size: self.cluster().bytes(),
        })
    }

    /// Whether a piece is all that the disk has of its cluster.
    fn is_whole(&self, piece: Piece) -> bool {
        let size = self.cluster().bytes();
        let start = self.cluster().start_on_disk(piece.cluster).0;
        let there = self.size().bytes().saturating_sub(start).min(size);
        piece.within == 0 && piece.bytes == there
    }
}

/// Makes a range that nothing points to read as zeros, without taking space where that is possible.
fn hole<F: ImageFile>(delta: &Delta<F>, at: FileOffset, bytes: u64) -> Result<()> {
    let end = at.plus(bytes).0;
    if delta.length() < end {
        let extended = delta.file().set_length(end);
        extended.map_err(delta.io("extend"))?;
    }
    delta.file().punch(at, bytes).map_err(delta.io("write"))
}

fn write<F: ImageFile>(delta: &Delta<F>, data: &[u8], at: FileOffset) -> Result<()> {
    let written = delta.file().write_at(data, at);
    written.map_err(delta.io("write"))
}

/// Fills `whole` with a cluster as it is below, and in it the piece with data, or zeros.
fn patched<F: ImageFile>(
    lower: &Lower<F>,
    piece: Piece,
    data: Option<&[u8]>,
    whole: &mut [u8],
) -> Result<()> {
    // Both are within a buffer, whose length is a usize.
    let within = usize::try_from(piece.within).unwrap_or(whole.len());
    let (head, rest) = whole.split_at_mut(within);
    let bytes = usize::try_from(piece.bytes).unwrap_or(rest.len());
    let (middle, tail) = rest.split_at_mut(bytes);
    lower.read(piece.cluster, 0, head)?;
    match data {
        Some(data) => middle.copy_from_slice(data),
        None => middle.fill(0),
    }
    lower.read(piece.cluster, piece.within + piece.bytes, tail)
}

/// Copies a range of a cluster from what is below to the place `at` of the top's file.
fn copy<F: ImageFile>(
    lower: &Lower<F>,
    cluster: VirtualCluster,
    range: Range<u64>,
    delta: &Delta<F>,
    at: FileOffset,
    scratch: &mut [u8],
) -> Result<()> {
    let mut next = range.start;
    while next < range.end {
        let left = usize::try_from(range.end - next).unwrap_or(scratch.len());
        let part = left.min(scratch.len());
        let buffer = &mut scratch[..part];
        lower.read(cluster, next, buffer)?;
        let written = delta.file().write_at(buffer, at.plus(next));
        written.map_err(delta.io("write"))?;
        next += part as u64;
    }
    Ok(())
}

/// Iterator over the parts of a range.
struct Pieces {
    next: VirtualCluster,
    within: u64,
    left: u64,
    size: u64,
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let bytes = self.left.min(self.size - self.within);
        let piece = Piece {
            cluster: self.next,
            within: self.within,
            bytes,
        };
        self.left -= bytes;
        self.within = 0;
        self.next.0 = self.next.0.wrapping_add(1);
        (bytes != 0).then_some(piece)
    }
}

fn writer<F: ImageFile>(top: &mut Layer<F>) -> Result<&mut Writer<F>> {
    match top {
        Layer::Writer(writer) => {
            writer.mark()?;
            Ok(writer)
        }
        Layer::Delta(_) | Layer::Raw(_) => Err(read_only(top)),
    }
}

fn read_only<F: ImageFile>(top: &Layer<F>) -> Error {
    Error::ReadOnly {
        file: top.name().to_owned(),
    }
}
