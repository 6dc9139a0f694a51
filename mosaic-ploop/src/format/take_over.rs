// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done in the place of a writer that died, while who wrote goes on.

use super::delta::Delta;
use super::entry::EntryFault;
use super::error::{Error, Result};
use super::header::Mark;
use super::ledger::Pending;
use super::storage::ImageFile;
use super::writer::{Writer, take_stock};

impl<F: ImageFile> Writer<F> {
    /// Ends what it had begun on an image: applies what it had noted, makes it durable and takes the
    /// mark away. An image without the mark was closed by whoever did all that, and has it.
    ///
    /// # Errors
    /// As [`Writer::broken`]; `Io`.
    pub fn take_over(mut delta: Delta<F>, pending: &Pending) -> Result<()> {
        if is_over(&mut delta, pending)? {
            return Ok(());
        }
        let space = take_stock(&delta)?;
        Self::of(delta, space).close().map(drop)
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
            is_over(&mut delta, pending)?;
        }
        let space = take_stock(&delta)?;
        let writer = Self::of(delta, space);
        writer.give_up();
        Ok(writer)
    }
}

/// Applies what was noted to the table in memory; whether it is in the image already, and that is
/// closed.
fn is_over<F: ImageFile>(delta: &mut Delta<F>, pending: &Pending) -> Result<bool> {
    if delta.header.mark != Mark::InUse {
        if pending.is_in(&delta.bat) {
            return Ok(true);
        }
        let file = delta.name.clone();
        return Err(Error::Overtaken { file });
    }
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
    Ok(false)
}
