// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading a few bytes of a disk without its tables, which may be as large as their owner likes: of
//! each only the entries that are needed are read.

use super::Disk;
use crate::format::delta::read_header;
use crate::format::entry::Entry;
use crate::format::error::{Error, Result};
use crate::format::header::{ENTRY_BYTES, Flags, HEADER_BYTES, Header};
use crate::format::raw_image::size_of;
use crate::format::storage::{Access, Folder, ImageFile};
use crate::format::units::{ClusterSize, DiskOffset, FileOffset, Sectors, VirtualCluster};

/// A disk that is looked at.
#[derive(Debug)]
pub struct Glance<F> {
    /// From the base up.
    images: Vec<Image<F>>,
    cluster: ClusterSize,
    size: Sectors,
}

#[derive(Debug)]
struct Image<F> {
    name: String,
    file: F,
    /// `None`: it is raw.
    header: Option<Header>,
    length: u64,
}

impl<S: Folder> Disk<S> {
    /// The disk as it is now, to look at.
    ///
    /// # Errors
    /// As [`Disk::read`].
    pub fn glance(&self) -> Result<Glance<S::File>> {
        let cluster = self.descriptor.cluster();
        let mut images: Vec<Image<_>> = Vec::new();
        for shot in self.descriptor.chain(self.descriptor.top()) {
            let name = self.file_of(shot)?.to_owned();
            let file = self.open_file(&name, Access::Read)?;
            let (header, length) = if self.is_raw(shot) {
                (
                    None,
                    file.length().map_err(|e| Error::io("read", &name, e))?,
                )
            } else {
                let (header, length) = read_header(&name, &file)?;
                (Some(header), length)
            };
            if header
                .as_ref()
                .is_some_and(|header| header.flags.has(Flags::CONVERTING))
            {
                return Err(Error::Converting { file: name });
            }
            if header
                .as_ref()
                .is_some_and(|header| header.cluster != cluster)
            {
                return Err(Error::Mismatch {
                    file: name,
                    what: "another cluster size than the descriptor has",
                });
            }
            images.push(Image {
                name,
                file,
                header,
                length,
            });
        }
        let size = images.last().map_or(Sectors(0), |top| match &top.header {
            Some(header) => header.size,
            None => size_of(cluster, top.length),
        });
        Ok(Glance {
            images,
            cluster,
            size,
        })
    }
}

impl<F: ImageFile> Glance<F> {
    /// Size of the disk.
    pub fn size(&self) -> Sectors {
        self.size
    }

    /// Reads from the disk.
    ///
    /// # Errors
    /// `Range`; `Entry`; `Io`.
    pub fn read(&self, buffer: &mut [u8], at: DiskOffset) -> Result<()> {
        let end = at.0.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.size.bytes()) {
            return Err(Error::Range {
                at: at.0,
                bytes: buffer.len() as u64,
                size: self.size.bytes(),
            });
        }
        let cluster = self.cluster.bytes();
        let (mut rest, mut at) = (buffer, at.0);
        while !rest.is_empty() {
            let left = usize::try_from(cluster - at % cluster).unwrap_or(rest.len());
            let (part, after) = rest.split_at_mut(left.min(rest.len()));
            self.read_piece(part, at)?;
            at += part.len() as u64;
            rest = after;
        }
        Ok(())
    }

    /// Reads what is in one cluster.
    fn read_piece(&self, part: &mut [u8], at: u64) -> Result<()> {
        let cluster = self.cluster.bytes();
        part.fill(0);
        for image in self.images.iter().rev() {
            let Some(place) = image.place(at / cluster, self.cluster)? else {
                continue;
            };
            let place = place.plus(at % cluster);
            let there = image.length.saturating_sub(place.0).min(part.len() as u64);
            if there == 0 {
                return Ok(());
            }
            let part = &mut part[..usize::try_from(there).unwrap_or_default()];
            let read = image.file.read_at(part, place);
            return read.map_err(|e| Error::io("read", &image.name, e));
        }
        Ok(())
    }
}

impl<F: ImageFile> Image<F> {
    /// Where a cluster begins; `None` if it is not in the file.
    fn place(&self, number: u64, size: ClusterSize) -> Result<Option<FileOffset>> {
        let Some(header) = &self.header else {
            // What is past a raw image's end is zeros, and nothing is beneath it.
            return Ok(number.checked_mul(size.bytes()).map(FileOffset));
        };
        let Some(cluster) = u32::try_from(number).ok().filter(|at| *at < header.entries) else {
            return Ok(None);
        };
        let mut entry = [0; 4];
        let at = FileOffset(HEADER_BYTES + ENTRY_BYTES * u64::from(cluster));
        let read = self.file.read_at(&mut entry, at);
        read.map_err(|e| Error::io("read", &self.name, e))?;
        let place = header.place(Entry(u32::from_le_bytes(entry)), self.length);
        place.map_err(|fault| Error::Entry {
            file: self.name.clone(),
            entry: VirtualCluster(cluster),
            fault,
        })
    }
}
