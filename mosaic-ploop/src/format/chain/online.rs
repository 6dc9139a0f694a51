// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes to a chain that stays open: another size, and a new top upon the old one.

use super::Chain;
use crate::format::delta::Delta;
use crate::format::error::{Error, Result};
use crate::format::layer::Layer;
use crate::format::ledger::Ledger;
use crate::format::raw_image::whole_size;
use crate::format::storage::ImageFile;
use crate::format::units::Sectors;
use crate::format::writer::Writer;

impl<F: ImageFile> Chain<F> {
    /// Makes the disk larger; rounded up to whole clusters. It is durable then.
    ///
    /// # Errors
    /// `Resize` if it is larger already; `Size`; `ReadOnly`; `Full`; `Broken`; `Io`.
    pub fn grow(&mut self, size: Sectors) -> Result<()> {
        let cluster = self.cluster();
        let old = self.size();
        match &mut self.top {
            Layer::Writer(writer) => writer.grow(size),
            Layer::Raw(raw) => {
                let new = whole_size(cluster, size)?;
                if new < old {
                    return Err(Error::Resize { from: old, to: new });
                }
                raw.resize(new)?;
                raw.flush()
            }
            Layer::Delta(delta) => Err(Error::ReadOnly {
                file: delta.name().to_owned(),
            }),
        }
    }

    /// Notes what is done to the top's BAT and not durable yet, in a file of the caller's. Goes on to
    /// the next top with [`Chain::push`].
    ///
    /// # Errors
    /// `Io`.
    pub fn keep_ledger(&mut self, file: F) -> Result<()> {
        if let Layer::Writer(writer) = &mut self.top {
            let name = writer.delta().name();
            let ledger = Ledger::begin(file, name);
            let ledger = ledger.map_err(|e| Error::io("note changes of", name, e))?;
            writer.keep_ledger(ledger);
        }
        Ok(())
    }

    /// Puts an empty delta upon the top, which is read from now on and closed: through `frozen`, the
    /// same file open for reading only, so that nobody takes us for a writer of it. The new file
    /// becomes no longer than `limit`.
    ///
    /// What was written before is durable then. If that fails the chain is as it was, but its top may
    /// not be written any more.
    ///
    /// # Errors
    /// `Mismatch`; as [`Writer::open`] for the new one and [`Chain::close`] for the old one.
    pub fn push(&mut self, delta: Delta<F>, limit: Option<Sectors>, frozen: F) -> Result<()> {
        let new = Layer::Delta(delta);
        new.fits_on(&self.top)?;
        let Layer::Delta(delta) = new else {
            return Ok(());
        };
        let mut writer = Writer::open(delta)?;
        writer.limit(limit);
        let finished = match &mut self.top {
            Layer::Writer(old) => old.finish(),
            Layer::Raw(raw) => raw.flush(),
            Layer::Delta(_) => Ok(()),
        };
        if let Err(error) = finished {
            // Only so that it has no mark: there is nothing in it.
            let _ = writer.close();
            return Err(error);
        }
        // All that was noted is durable. Noting goes on before anything is done to the new one.
        if let Layer::Writer(old) = &mut self.top
            && let Some(mut ledger) = old.take_ledger()
        {
            let name = writer.delta().name();
            let turned = ledger.turn_to(name);
            turned.map_err(|e| Error::io("note changes of", name, e))?;
            writer.keep_ledger(ledger);
        }
        let new = Layer::Writer(Box::new(writer));
        let old = match std::mem::replace(&mut self.top, new) {
            Layer::Writer(old) => Layer::Delta(old.into_delta_in(frozen)),
            Layer::Raw(raw) => Layer::Raw(raw.into_read_only(frozen)),
            delta @ Layer::Delta(_) => delta,
        };
        self.lower.push(old);
        Ok(())
    }
}
