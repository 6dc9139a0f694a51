// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another size for a delta that is open for writing.
//!
//! Grow: the BAT takes clusters away from the data, so those are moved first. The header with the
//! new size is one sector, so before it everything is of the old size, and after it of the new. The
//! descriptor follows: where who grows a disk in use is killed before that, with whoever asked for it,
//! it has the old size until a check or the next growth. The header's is the one that counts.

use super::entry::Entry;
use super::error::{Error, Result};
use super::header::Header;
use super::storage::ImageFile;
use super::units::{Sectors, VirtualCluster};
use super::writer::Writer;

impl<F: ImageFile> Writer<F> {
    /// Makes the disk larger; rounded up to whole clusters.
    ///
    /// # Errors
    /// `Size`; `Resize` if it is larger already; `Full`; `Broken`; `Io`. It has the old size then, and
    /// some clusters may have been moved: in a disk that is nearly full to places where the kernel's
    /// newer driver does not look for any of a disk of the old size, until they are moved again.
    pub fn grow(&mut self, size: Sectors) -> Result<()> {
        // Before the header is copied: the new one has the mark then.
        self.mark()?;
        let mut new = self.header().clone();
        new.resize(size)?;
        let old = self.header().size;
        if new.size < old {
            return Err(Error::Resize {
                from: old,
                to: size,
            });
        }
        if new.size == old && new.entries == self.header().entries {
            return Ok(());
        }
        self.flush()?;
        let (entries, table) = (self.header().entries, self.header().table_clusters());
        let done = self.make_room(&new).and_then(|()| {
            self.delta.bat.resize(new.entries);
            self.change_header(|header| *header = new)
        });
        if done.is_err() {
            self.delta.bat.resize(entries);
            self.space.give_back(table);
        }
        done
    }

    /// Clears the part of the file that the new BAT takes.
    fn make_room(&mut self, new: &Header) -> Result<()> {
        let table = new.table_clusters();
        let end = u64::from(table) + u64::from(new.entries);
        self.space.reserve(table);
        let within = self.clusters_in(0..u64::from(table))?;
        let start = new.data_start().0;
        self.extend(start)?;
        self.relocate(&within, end)?;
        // From the last entry on: the slots up to the data were not part of anything.
        let from = self.header().table_end();
        let zeroed = (self.delta.file).write_zeros(from, start.saturating_sub(from.0));
        zeroed.map_err(self.delta.io("write"))?;
        self.flush_file()
    }

    /// Makes the file at least that long.
    fn extend(&mut self, length: u64) -> Result<()> {
        if self.delta.length < length {
            let extended = self.delta.file.set_length(length);
            extended.map_err(self.delta.io("extend"))?;
            self.delta.length = length;
        }
        Ok(())
    }

    /// Allocates all clusters that are not there, as zeros.
    ///
    /// Only for a delta with nothing beneath.
    ///
    /// # Errors
    /// `Full`; `Broken`; `Io`.
    pub fn preallocate(&mut self) -> Result<()> {
        let size = self.header().cluster.bytes();
        for number in 0..self.header().entries {
            let cluster = VirtualCluster(number);
            if self.bat().get(cluster) == Entry::NONE {
                self.add(cluster, |delta, at| {
                    delta.file().zero(at, size).map_err(delta.io("write"))
                })?;
            }
        }
        Ok(())
    }

    /// Makes the disk smaller: what is beyond is lost, and the file becomes as short as it can. The
    /// BAT keeps its place, which is legal and needs no cluster to move.
    ///
    /// Only for a delta with nothing beneath and nothing above it.
    ///
    /// # Errors
    /// `Size`; `Resize` if it is smaller already; `Broken`; `Io`.
    pub fn shrink(&mut self, size: Sectors) -> Result<()> {
        self.mark()?;
        let old = self.header().size;
        let mut new = self.header().clone();
        new.resize(size)?;
        if new.size > old {
            return Err(Error::Resize {
                from: old,
                to: size,
            });
        }
        self.flush()?;
        let entries = new.entries;
        let lost: Vec<_> = self.delta.allocated().filter(|c| c.0 >= entries).collect();
        let mut places = Vec::with_capacity(lost.len());
        for cluster in lost {
            places.extend(self.delta.file_cluster(cluster)?);
        }
        // The header is the instant at which the disk is small; stray entries behind it are safe.
        self.change_header(|header| *header = new)?;
        self.delta.bat.resize(entries);
        for place in places {
            self.space.give_up(place);
        }
        self.flush()?;
        self.pack()
    }
}
