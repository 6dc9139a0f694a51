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
        let name = self.top.name();
        let ledger = Ledger::begin(file, name);
        let ledger = ledger.map_err(|e| Error::io("note changes of", name, e))?;
        match &mut self.top {
            Layer::Writer(writer) => writer.keep_ledger(ledger),
            Layer::Raw(_) | Layer::Delta(_) => self.ledger = Some(ledger),
        }
        Ok(())
    }

    /// As [`Chain::keep_ledger`], in a file with notes on this very top, which has none of a BAT.
    pub(in crate::format) fn resume_ledger(&mut self, file: F) {
        self.ledger = Some(Ledger::resume(file, 0));
    }

    /// Lets the next flush of a raw top fail, since something that was written before it is lost.
    pub(in crate::format) fn has_lost(&self) {
        if let Layer::Raw(raw) = &self.top {
            raw.has_lost();
        }
    }

    /// Does work that somebody else wants than who writes. A flush of a raw top that fails meanwhile is
    /// told to who writes too, with his next one: what is lost is his, and the kernel tells it once.
    pub fn for_another<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.failed_flushes();
        let done = work(self);
        if self.failed_flushes() != before {
            self.has_lost();
        }
        done
    }

    fn failed_flushes(&self) -> u64 {
        match &self.top {
            Layer::Raw(raw) => raw.failed_flushes(),
            Layer::Writer(_) | Layer::Delta(_) => 0,
        }
    }

    /// Ends the top: all of it is durable, it has no mark, and nothing is written to it any more. The
    /// empty delta is ready to be written in its place, no longer than `limit`.
    ///
    /// If that fails the chain is as it was, but its top may not be written any more.
    ///
    /// # Errors
    /// `Mismatch`; as [`Writer::open`] for the new one and [`Chain::close`] for the old one.
    pub fn end_top(&mut self, delta: Delta<F>, limit: Option<Sectors>) -> Result<NextTop<F>> {
        let new = Layer::Delta(delta);
        new.fits_on(&self.top)?;
        let Layer::Delta(delta) = new else {
            let file = self.top.name().to_owned();
            return Err(Error::ReadOnly { file });
        };
        let mut next = Writer::open(delta)?;
        next.limit(limit);
        match &mut self.top {
            Layer::Writer(old) => {
                old.finish()?;
                // All that was noted is durable.
                self.ledger = old.take_ledger();
            }
            Layer::Raw(raw) => raw.flush()?,
            Layer::Delta(_) => {}
        }
        if let Some(ledger) = self.ledger.take() {
            next.go_on_with(ledger)?;
        }
        Ok(NextTop(Box::new(next)))
    }

    /// Puts the next top upon the one that was ended. That is read from now on through `frozen`, the
    /// same file open for reading only, so that nobody takes us for a writer of it.
    pub fn push(&mut self, next: NextTop<F>, frozen: F) {
        let old = match std::mem::replace(&mut self.top, Layer::Writer(next.0)) {
            Layer::Writer(old) => Layer::Delta(old.into_delta_in(frozen)),
            Layer::Raw(raw) => Layer::Raw(raw.into_read_only(frozen)),
            delta @ Layer::Delta(_) => delta,
        };
        self.lower.push(old);
    }

    /// Goes on with the top that was ended.
    ///
    /// # Errors
    /// `Io`, and then it is not written any more, or for want of space not before there is some.
    pub fn reopen_top(&mut self, mut next: NextTop<F>) -> Result<()> {
        let ledger = next.0.take_ledger();
        let Layer::Writer(old) = &mut self.top else {
            self.ledger = ledger;
            return Ok(());
        };
        if let Some(ledger) = ledger {
            old.go_on_with(ledger)?;
        }
        old.reopen()
    }

    /// Writes nothing more, nor does whoever takes over: it is not known what the disk is on storage.
    pub fn give_up(&self) {
        if let Layer::Writer(writer) = &self.top {
            writer.give_up();
        }
    }
}

/// A delta that is to be the next top of a chain: empty, and marked in use.
#[derive(Debug)]
pub struct NextTop<F>(Box<Writer<F>>);
