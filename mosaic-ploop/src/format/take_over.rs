// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done in the place of a writer that died, while who wrote goes on.

use super::delta::Delta;
use super::entry::EntryFault;
use super::error::{Error, Result};
use super::header::Mark;
use super::ledger::{Ledger, Pending};
use super::storage::ImageFile;
use super::units::FileCluster;
use super::writer::{Writer, take_stock};

impl<F: ImageFile> Writer<F> {
    /// Goes on in the place of a writer that died at work on an image, with the mark and the notes of
    /// that one. What is in the file must be durable.
    ///
    /// Nothing is written, neither to the image nor to the notes: it needs no space, and who dies in it
    /// has changed nothing. What was noted goes to the file with the next flush.
    ///
    /// # Errors
    /// `Entry`.
    pub fn resume(mut delta: Delta<F>, pending: &Pending, notes: F) -> Result<Self> {
        let before = places(&delta, pending);
        apply(&mut delta, pending)?;
        let mut space = take_stock(&delta)?;
        // A power cut would bring back the entries that point there: whatever was written to these
        // places until the table is durable would be read in the place of what was there.
        for place in before {
            if space.take(place) {
                space.give_up(place);
            }
        }
        let mut writer = Self::of(delta, space);
        writer.keep_ledger(Ledger::resume(notes, pending.entries.len()));
        Ok(writer)
    }

    /// Shows an image that it had written until that failed: what it had noted is read, nothing is
    /// written.
    ///
    /// # Errors
    /// `Entry` if the notes do not fit the image; `Overtaken` if it has no mark and not what was
    /// noted; `Broken` if they are of another image.
    pub fn broken(mut delta: Delta<F>, pending: &Pending) -> Result<Self> {
        if !pending.entries.is_empty() {
            if pending.image != delta.name {
                return Err(Error::Broken { file: delta.name });
            }
            if delta.header.mark == Mark::InUse {
                apply(&mut delta, pending)?;
            } else {
                ensure_has(&delta, pending)?;
            }
        }
        let space = take_stock(&delta)?;
        let writer = Self::of(delta, space);
        writer.give_up();
        Ok(writer)
    }
}

/// Refuses an image that has not all that was noted: whoever took the mark away has dropped it.
pub(super) fn ensure_has<F: ImageFile>(delta: &Delta<F>, pending: &Pending) -> Result<()> {
    if pending.image == delta.name && pending.is_in(&delta.bat) {
        return Ok(());
    }
    let file = delta.name.clone();
    Err(Error::Overtaken { file })
}

/// Where the table has the clusters of which something was noted.
fn places<F: ImageFile>(delta: &Delta<F>, pending: &Pending) -> Vec<FileCluster> {
    let clusters = pending.entries.iter().map(|(cluster, _)| *cluster);
    // What leads nowhere keeps no place.
    let places = clusters.filter_map(|cluster| delta.file_cluster(cluster).ok().flatten());
    places.collect()
}

/// Applies what was noted to the table in memory.
fn apply<F: ImageFile>(delta: &mut Delta<F>, pending: &Pending) -> Result<()> {
    for (cluster, entry) in &pending.entries {
        if cluster.0 >= delta.header.entries {
            let past = EntryFault::PastEnd {
                at: 0,
                length: delta.length,
            };
            return Err(delta.wrong_entry(*cluster, past));
        }
        delta.bat.set(*cluster, *entry);
    }
    Ok(())
}
