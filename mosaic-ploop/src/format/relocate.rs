// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moving clusters within a file: copy, make that durable, repoint, make that durable; only then is
//! the old place anybody else's.

use std::ops::Range;

use super::copy::Copier;
use super::entry::Entry;
use super::error::Result;
use super::storage::ImageFile;
use super::units::{FileCluster, VirtualCluster};
use super::writer::Writer;

/// How many are moved between two flushes.
const BATCH: usize = 256;

/// A cluster that has been copied and is not repointed yet.
struct Move {
    cluster: VirtualCluster,
    from: FileCluster,
    to: FileCluster,
    entry: Entry,
}

impl<F: ImageFile> Writer<F> {
    /// Moves the clusters to the lowest free places below `end`, in their order. Their old places
    /// are free when this returns.
    ///
    /// # Errors
    /// `Full`; `Broken`; `Io`. Some may have been moved.
    pub(super) fn relocate(&mut self, clusters: &[VirtualCluster], end: u64) -> Result<()> {
        let mut copier = Copier::new(self.header().cluster);
        for batch in clusters.chunks(BATCH) {
            let mut moves = Vec::with_capacity(batch.len());
            for cluster in batch {
                if let Err(error) = self.copy_elsewhere(*cluster, end, &mut copier, &mut moves) {
                    for planned in moves {
                        self.space.free(planned.to);
                    }
                    return Err(error);
                }
            }
            // Where the table cannot be written now the new places are written to all the same.
            let mut noted = Ok(());
            for planned in moves {
                if noted.is_ok() {
                    noted = self.note(planned.cluster, planned.entry);
                }
                if noted.is_ok() {
                    self.delta.bat.set(planned.cluster, planned.entry);
                    self.space.give_up(planned.from);
                } else {
                    self.space.free(planned.to);
                }
            }
            noted?;
            self.flush()?;
        }
        Ok(())
    }

    fn copy_elsewhere(
        &mut self,
        cluster: VirtualCluster,
        end: u64,
        copier: &mut Copier,
        moves: &mut Vec<Move>,
    ) -> Result<()> {
        let Some(from) = self.delta.file_cluster(cluster)? else {
            return Ok(());
        };
        let to = self.space.take_lowest(end).ok_or_else(|| self.is_full())?;
        let entry = self.entry_for(to);
        moves.push(Move {
            cluster,
            from,
            to,
            // On an error only the place counts, which is freed.
            entry: entry.as_ref().copied().unwrap_or(Entry::NONE),
        });
        entry?;
        copier.copy_within(&mut self.delta, from, to)
    }

    /// The clusters of the disk whose data is in a part of the file, in the order of the file.
    pub(super) fn clusters_in(&self, part: Range<u64>) -> Result<Vec<VirtualCluster>> {
        let mut found = Vec::new();
        for cluster in self.delta.allocated() {
            if let Some(place) = self.delta.file_cluster(cluster)?
                && part.contains(&u64::from(place.0))
            {
                found.push((place, cluster));
            }
        }
        found.sort_unstable();
        Ok(found.into_iter().map(|(_, cluster)| cluster).collect())
    }

    /// Fills the holes of the file with its last clusters and cuts off what is free at its end.
    ///
    /// # Errors
    /// `Broken`; `Io`.
    pub(super) fn pack(&mut self) -> Result<()> {
        self.flush()?;
        let table = u64::from(self.header().table_clusters());
        let end = table + self.space.taken();
        let behind = self.clusters_in(end..u64::MAX)?;
        self.relocate(&behind, end)?;
        let length = end * self.header().cluster.bytes();
        if length < self.delta.length {
            let cut = self.delta.file.set_length(length);
            cut.map_err(self.delta.io("cut off"))?;
            self.delta.length = length;
            self.flush()?;
        }
        Ok(())
    }
}
