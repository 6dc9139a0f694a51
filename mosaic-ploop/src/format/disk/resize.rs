// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another size for a disk: the top's header has it first, then the descriptor. In between, the
//! header is right, and a check puts the descriptor in order.

use super::Disk;
use crate::format::descriptor::Base;
use crate::format::error::{Error, Refusal, Result};
use crate::format::layer::Layer;
use crate::format::raw_image::whole_size;
use crate::format::storage::{Access, Folder};
use crate::format::units::Sectors;
use crate::format::writer::Writer;

impl<S: Folder> Disk<S> {
    /// Makes the disk larger; rounded up to whole clusters. Only the top is changed.
    ///
    /// # Errors
    /// `Resize` if it is larger already; `Size`; `Refused`; `Shared`; `InUse`, `Converting`,
    /// `NotWritable`, `Extension`, `Entry`, `Full`, `Header`, `Io`.
    pub fn grow(&mut self, size: Sectors) -> Result<()> {
        let new = self.new_size(size)?;
        let old = self.read(self.descriptor.top())?.size();
        if new < old {
            return Err(Error::Resize {
                from: old,
                to: size,
            });
        }
        let is_preallocated = self.descriptor.base() == Base::Preallocated;
        let is_alone = self.descriptor.images().len() == 1;
        self.resize_top(new, |writer| {
            writer.grow(new)?;
            if is_preallocated && is_alone {
                writer.preallocate()?;
            }
            Ok(())
        })
    }

    /// Makes the disk smaller; rounded up to whole clusters. What is beyond is lost.
    ///
    /// # Errors
    /// As [`Disk::grow`]; `Refused` if there are snapshots.
    pub fn shrink(&mut self, size: Sectors) -> Result<()> {
        if self.descriptor.images().len() != 1 {
            return Err(Refusal::HasSnapshots.into());
        }
        let new = self.new_size(size)?;
        let old = self.read(self.descriptor.top())?.size();
        if new > old {
            return Err(Error::Resize {
                from: old,
                to: size,
            });
        }
        self.forget_statistics()?;
        self.resize_top(new, |writer| writer.shrink(new))
    }

    /// The size that a disk of about that size has.
    fn new_size(&self, size: Sectors) -> Result<Sectors> {
        match self.layer(self.descriptor.top(), Access::Read)? {
            Layer::Raw(raw) => whole_size(raw.cluster(), size),
            Layer::Delta(delta) => {
                delta.ensure_closed()?;
                let mut header = delta.header().clone();
                header.resize(size)?;
                Ok(header.size)
            }
            Layer::Writer(_) => Ok(size),
        }
    }

    fn resize_top(
        &mut self,
        size: Sectors,
        work: impl FnOnce(&mut Writer<S::File>) -> Result<()>,
    ) -> Result<()> {
        let mut new = self.begin()?;
        new.set_size(size)?;
        let top = self.descriptor.top();
        self.replace(new, None, |disk| match disk.layer(top, Access::Write)? {
            Layer::Raw(mut raw) => {
                raw.resize(size)?;
                raw.flush()
            }
            Layer::Delta(delta) => Writer::change(delta, work),
            Layer::Writer(_) => Ok(()),
        })
    }
}
