// SPDX-License-Identifier: MIT OR Apache-2.0
//! From V1 to V2 and back, all images of a disk.
//!
//! Header and BAT of each are copied to a file beside it first; then each gets the flag that says
//! so, and only then its table is rewritten. So as long as any image has the flag, all can be put
//! back as they were, and that is what a crash leads to. When the last flag is gone the disk has
//! been converted.

use std::ops::Range;

use super::Disk;
use crate::format::bat::Bat;
use crate::format::delta::{Delta, read_header};
use crate::format::error::{Error, Result};
use crate::format::guid::Guid;
use crate::format::header::{Flags, Header, Mark, SizeFault, Version};
use crate::format::layer::Layer;
use crate::format::storage::{Access, Folder, ImageFile};
use crate::format::units::{FileOffset, SECTOR, Sectors};
use crate::format::writer::take_stock;

/// How much is copied at once.
const STEP: usize = 1 << 20;

/// An image and what its header and table are to be.
struct Conversion<F> {
    delta: Delta<F>,
    header: Header,
    bat: Bat,
}

impl<S: Folder> Disk<S> {
    /// Converts all images to a version. A raw base has none and stays as it is.
    ///
    /// # Errors
    /// `Size`, `Full` if V1 has no numbers for the disk or its clusters; `Shared`; `InUse`,
    /// `Converting`, `NotWritable`, `Extension`, `Refused`, `Entry`, `Header`, `Io`. After an error
    /// of the storage, a check with repair undoes what was done.
    pub fn convert(&mut self, version: Version) -> Result<()> {
        self.begin()?;
        let mut conversions = Vec::new();
        for shot in self.descriptor.shots() {
            conversions.extend(self.plan(shot.guid, version)?);
        }
        if conversions.is_empty() {
            return Ok(());
        }
        // Those of a conversion that was over: an image that is not converted now must have none.
        for image in self.descriptor.images() {
            self.discard_file(&backup_of(&image.file))?;
        }
        for conversion in &conversions {
            self.back_up(&conversion.delta)?;
        }
        self.sync_backups()?;
        for conversion in &mut conversions {
            conversion.announce()?;
        }
        for conversion in &mut conversions {
            conversion.rewrite()?;
        }
        for conversion in &mut conversions {
            conversion.end()?;
        }
        for conversion in &conversions {
            self.discard_file(&backup_of(conversion.delta.name()))?;
        }
        Ok(())
    }

    /// What is to be done to a shot's file; `None` if nothing.
    fn plan(&self, shot: Guid, version: Version) -> Result<Option<Conversion<S::File>>> {
        let layer = self.layer(shot, Access::Read)?;
        layer.delta().map_or(Ok(()), Delta::ensure_closed)?;
        if layer.version().is_none_or(|now| now == version) {
            return Ok(None);
        }
        match self.layer(shot, Access::Write)? {
            Layer::Delta(delta) => Conversion::new(delta, version).map(Some),
            Layer::Raw(_) | Layer::Writer(_) => Ok(None),
        }
    }

    /// Copies header and BAT to a file beside the image.
    fn back_up(&self, delta: &Delta<S::File>) -> Result<()> {
        let name = backup_of(delta.name());
        let failed = |e| Error::io("write", &name, e);
        let backup = self.folder.create(&name, false).map_err(failed)?;
        let end = delta.header().data_start().0;
        let copied = copy(delta.file(), &backup, 0..end);
        copied.and_then(|()| backup.flush()).map_err(failed)
    }

    fn sync_backups(&self) -> Result<()> {
        for image in self.descriptor.images() {
            let synced = self.folder.sync(&image.file);
            synced.map_err(|e| Error::io("sync the folder of", &image.file, e))?;
        }
        Ok(())
    }

    /// Puts all images back as they were before a conversion that did not end; whether there was
    /// one. Also takes away what a conversion that did end left.
    pub(super) fn undo_conversion(&mut self) -> Result<bool> {
        let mut flagged = Vec::new();
        let mut others = Vec::new();
        for (file, name) in self.images_with_header()? {
            let (header, _) = read_header(&name, &file)?;
            let is_flagged = header.flags.has(Flags::CONVERTING);
            if is_flagged {
                &mut flagged
            } else {
                &mut others
            }
            .push(name);
        }
        let is_needed = !flagged.is_empty();
        if is_needed {
            self.changeable()?;
            // Those without the flag first: as long as one has it, this can be begun again.
            for name in others.iter().chain(&flagged) {
                self.restore(name, flagged.contains(name))?;
            }
        }
        for name in others.iter().chain(&flagged) {
            self.discard_file(&backup_of(name))?;
        }
        Ok(is_needed)
    }

    fn images_with_header(&self) -> Result<Vec<(S::File, String)>> {
        let mut files = Vec::new();
        for shot in self.descriptor.shots() {
            let name = self.file_of(shot.guid)?;
            if !self.is_raw(shot.guid) {
                files.push((self.open_file(name, Access::Read)?, name.to_owned()));
            }
        }
        Ok(files)
    }

    /// Puts header and BAT of an image back; its first sector, which has the flag, last. One without
    /// the flag may not have been part of the conversion.
    fn restore(&self, name: &str, is_flagged: bool) -> Result<()> {
        let lost = || Error::Converting {
            file: name.to_owned(),
        };
        let backup_name = backup_of(name);
        let backup = match self.folder.open(&backup_name, Access::Read) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return if is_flagged { Err(lost()) } else { Ok(()) };
            }
            other => other.map_err(|e| Error::io("open", &backup_name, e))?,
        };
        let file = self.open_file(name, Access::Write)?;
        let (now, _) = read_header(name, &file)?;
        let (before, length) = read_header(&backup_name, &backup)?;
        let is_same = before.cluster == now.cluster
            && before.size == now.size
            && before.entries == now.entries
            && before.first_block == now.first_block;
        if !is_same || length < now.data_start().0 || before.flags.has(Flags::CONVERTING) {
            return Err(lost());
        }
        let end = now.data_start().0;
        let restored = copy(&backup, &file, SECTOR..end)
            .and_then(|()| file.flush())
            .and_then(|()| copy(&backup, &file, 0..SECTOR))
            .and_then(|()| file.flush());
        restored.map_err(|e| Error::io("restore", name, e))
    }
}

impl<F: ImageFile> Conversion<F> {
    /// Works out the new table; nothing is written.
    fn new(delta: Delta<F>, version: Version) -> Result<Self> {
        delta.ensure_closed()?;
        delta.ensure_changeable()?;
        take_stock(&delta)?;
        let mut header = delta.header().clone();
        header.version = version;
        header.mark = Mark::InUse;
        header.flags = header.flags.with(Flags::CONVERTING, true);
        header.extension = Sectors(0);
        let (size, max) = (header.size, version.max_size(header.cluster));
        if size > max {
            return Err(SizeFault::TooLarge { size, max }.into());
        }
        let mut bat = Bat::new(header.entries);
        for cluster in delta.allocated() {
            let place = delta.file_cluster(cluster)?;
            let entry = place.and_then(|place| header.entry_for(place));
            bat.set(
                cluster,
                entry.ok_or_else(|| Error::Full {
                    file: delta.name().to_owned(),
                })?,
            );
        }
        Ok(Self { delta, header, bat })
    }

    /// Sets the flag.
    fn announce(&mut self) -> Result<()> {
        let old = self.delta.header.version;
        self.delta.header = self.header.clone();
        self.delta.header.version = old;
        self.delta.write_header()?;
        self.flush()
    }

    fn rewrite(&mut self) -> Result<()> {
        let written = self.bat.write(&self.delta.file, &self.header);
        written.map_err(self.delta.io("write"))?;
        self.write_header()
    }

    /// Takes the flag away.
    fn end(&mut self) -> Result<()> {
        self.header.flags = self.header.flags.with(Flags::CONVERTING, false);
        self.header.mark = Mark::Closed;
        self.write_header()
    }

    fn write_header(&mut self) -> Result<()> {
        let written = self.bat.write_header(&self.delta.file, &self.header);
        written.map_err(self.delta.io("write"))?;
        self.flush()
    }

    fn flush(&self) -> Result<()> {
        self.delta.file.flush().map_err(self.delta.io("flush"))
    }
}

/// The file that header and BAT are copied to.
fn backup_of(image: &str) -> String {
    format!("{image}.idx")
}

/// Copies a range from one file to the same place in another.
fn copy(from: &impl ImageFile, to: &impl ImageFile, range: Range<u64>) -> std::io::Result<()> {
    let mut buffer = vec![0; STEP];
    let mut at = range.start;
    while at < range.end {
        let left = usize::try_from(range.end - at).unwrap_or(STEP);
        let piece = &mut buffer[..left.min(STEP)];
        from.read_at(piece, FileOffset(at))?;
        to.write_at(piece, FileOffset(at))?;
        at += piece.len() as u64;
    }
    Ok(())
}
