// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mending what a check found.

use super::{Found, visit_behind_table};
use crate::format::cluster_set::ClusterSet;
use crate::format::copy::Copier;
use crate::format::delta::Delta;
use crate::format::entry::Entry;
use crate::format::error::{Error, Result};
use crate::format::header::{Flags, Mark};
use crate::format::storage::ImageFile;
use crate::format::units::{FileCluster, FileOffset, Sectors, VirtualCluster};

/// Mends all that was found.
pub(super) fn repair<F: ImageFile>(mut delta: Delta<F>, mut found: Found) -> Result<()> {
    delta.ensure_changeable()?;
    // Other writers than we may not have kept the extension, and its clusters are free now.
    delta.header.extension = Sectors(0);
    set_mark(&mut delta, Mark::InUse)?;
    extend(&delta)?;
    for cluster in &found.doubled {
        give_copy(&mut delta, *cluster, &mut found.taken)?;
    }
    flush(&delta)?;
    for cluster in &found.wrong {
        delta.bat.set(*cluster, Entry::NONE);
    }
    write_table(&mut delta, found.has_strays)?;
    cut_off(&mut delta, &found.taken)?;
    let is_empty = delta.bat.is_empty();
    delta.header.flags = delta.header.flags.with(Flags::EMPTY, is_empty);
    set_mark(&mut delta, Mark::Closed)
}

/// Makes the file as long as it was taken to be, without a hole or space that was never written: old
/// drivers want none.
fn extend<F: ImageFile>(delta: &Delta<F>) -> Result<()> {
    let length = delta.file.length().map_err(delta.io("read"))?;
    let missing = delta.length.saturating_sub(length);
    let extended = delta.file.write_zeros(FileOffset(length), missing);
    extended.map_err(delta.io("extend"))
}

/// Gives an entry, in memory, a place of its own with a copy of what it pointed to.
fn give_copy<F: ImageFile>(
    delta: &mut Delta<F>,
    cluster: VirtualCluster,
    taken: &mut ClusterSet,
) -> Result<()> {
    let Some(from) = delta.file_cluster(cluster)? else {
        return Ok(());
    };
    if taken.insert(from) {
        // Only the extension had it too, which is no more.
        return Ok(());
    }
    let full = || Error::Full {
        file: delta.name.clone(),
    };
    let first = FileCluster(delta.header.table_clusters());
    let to = taken.first_absent(first).ok_or_else(full)?;
    let entry = delta.header.entry_for(to).ok_or_else(full)?;
    taken.insert(to);
    Copier::new(delta.header.cluster).copy_within(delta, from, to)?;
    delta.bat.set(cluster, entry);
    Ok(())
}

/// Writes all of the table, and zeros behind it. What once could not be written reads as if it had
/// been, and is not written again unless it changes: its page is clean afterwards (fs/ext4/page-io.c,
/// `ext4_finish_bio`, Linux 6.6). Such may be the table of a writer that failed.
///
/// A kill or an error in between leaves the mark, and with it a repair as this one.
fn write_table<F: ImageFile>(delta: &mut Delta<F>, has_strays: bool) -> Result<()> {
    if has_strays {
        visit_behind_table(delta, |at, bytes| {
            let zeroed = delta.file.write_zeros(at, bytes as u64);
            zeroed.map_err(delta.io("write"))
        })?;
    }
    let doubted = delta.bat.doubt(&delta.file, &delta.header);
    doubted.map_err(delta.io("read"))?;
    let written = delta.bat.write(&delta.file, &delta.header);
    written.map_err(delta.io("write"))?;
    flush(delta)
}

/// Cuts off what is lost at the end of the file.
fn cut_off<F: ImageFile>(delta: &mut Delta<F>, taken: &ClusterSet) -> Result<()> {
    let end = taken.end().max(delta.header.table_clusters().into());
    let length = end * delta.header.cluster.bytes();
    if length < delta.length {
        let cut = delta.file.set_length(length);
        cut.map_err(delta.io("cut off"))?;
        delta.length = length;
    }
    Ok(())
}

fn set_mark<F: ImageFile>(delta: &mut Delta<F>, mark: Mark) -> Result<()> {
    delta.header.mark = mark;
    delta.write_header()?;
    flush(delta)
}

fn flush<F: ImageFile>(delta: &Delta<F>) -> Result<()> {
    delta.file.flush().map_err(delta.io("flush"))
}
