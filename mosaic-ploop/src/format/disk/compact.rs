// SPDX-License-Identifier: MIT OR Apache-2.0
//! Giving back what the files of a disk have too much. Files that another disk may have too stay as
//! they are.

use super::Disk;
use crate::format::compact::Compacted;
use crate::format::descriptor::Base;
use crate::format::error::Result;
use crate::format::guid::Guid;
use crate::format::layer::Layer;
use crate::format::storage::{Access, Folder};
use crate::format::writer::Writer;

impl<S: Folder> Disk<S> {
    /// Compacts all deltas, but a raw or preallocated base.
    ///
    /// # Errors
    /// `Refused`; `InUse`, `Converting`, `NotWritable`, `Extension`, `Entry`, `Header`, `Io`. Some
    /// files may have been compacted.
    pub fn compact(&mut self) -> Result<Compacted> {
        self.begin()?;
        let shots: Vec<_> = self.descriptor.shots().iter().map(|s| s.guid).collect();
        let mut all = Compacted::default();
        for shot in shots {
            let done = self.compact_shot(shot)?;
            all.zeros += done.zeros;
            all.bytes += done.bytes;
        }
        Ok(all)
    }

    fn compact_shot(&self, shot: Guid) -> Result<Compacted> {
        let below = self.below(shot);
        let keeps_all = below == Guid::NONE && self.descriptor.base() != Base::Expanded;
        if keeps_all || self.is_shared(self.file_of(shot)?)? {
            return Ok(Compacted::default());
        }
        let Layer::Delta(delta) = self.layer(shot, Access::Write)? else {
            return Ok(Compacted::default());
        };
        delta.ensure_closed()?;
        let lower = match below {
            Guid::NONE => None,
            below => Some(self.read(below)?),
        };
        Writer::change(delta, |writer| {
            writer.compact(|cluster| match &lower {
                Some(lower) => Ok(lower.locate(cluster)?.is_some()),
                None => Ok(false),
            })
        })
    }
}
