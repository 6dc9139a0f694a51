// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk: a folder with a descriptor and the files of its deltas, and what is done to them as a
//! whole.
//!
//! Every operation has an instant before which the disk is the old one and after which it is the
//! new one: the renaming of the descriptor, or one sector of a header. The new descriptor is
//! written under another name first, then the work is done, then it is renamed;
//! so what an interrupted operation leaves is known from there and removed by the next one.
//!
//! Nobody else may change the disk meanwhile: locks are the caller's.

mod check;
mod compact;
mod convert;
mod create;
mod delete;
mod freeze;
mod glance;
mod holes;
mod interrupted;
mod merge;
mod names;
mod online;
mod replace;
mod resize;
mod snapshot;

use std::io;

use super::chain::Chain;
use super::delta::{Delta, read_header};
use super::descriptor::{Base, DESCRIPTOR, Descriptor, MAX_BYTES, Temporary};
use super::error::{Error, Refusal, Result};
use super::guid::Guid;
use super::header::Mark;
use super::layer::Layer;
use super::raw_image::RawImage;
use super::storage::{Access, Folder, ImageFile as _};
use super::units::FileOffset;
use super::writer::Writer;

pub use check::DiskReport;
pub use create::{Kind, NewDisk};
pub use delete::Deletion;
pub use freeze::Branch;
pub use glance::Glance;

/// The cached statistics of an unmounted disk: wrong as soon as it is written, or another one.
const STATISTICS: &str = ".statfs";

/// A disk in its folder.
#[derive(Debug)]
pub struct Disk<S> {
    folder: S,
    descriptor: Descriptor,
}

impl<S: Folder> Disk<S> {
    /// Reads the descriptor.
    ///
    /// # Errors
    /// `Descriptor`; `Io`, also where there is no descriptor.
    pub fn open(folder: S) -> Result<Self> {
        let descriptor = load(&folder, DESCRIPTOR)?;
        Ok(Self { folder, descriptor })
    }

    /// Reads the descriptor again.
    ///
    /// # Errors
    /// As [`Disk::open`].
    pub fn reopen(self) -> Result<Self> {
        Self::open(self.folder)
    }

    /// Makes the descriptor name the files by their names in the folder, where it has their paths: so
    /// that the folder can be moved.
    ///
    /// # Errors
    /// As for every change.
    pub fn forget_paths(&mut self) -> Result<()> {
        let stored = load_as_it_is(&self.folder, DESCRIPTOR)?;
        if stored.images() == self.descriptor.images() {
            return Ok(());
        }
        let new = self.begin()?;
        self.store(new)
    }

    /// The folder.
    pub fn folder(&self) -> &S {
        &self.folder
    }

    /// The descriptor.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The disk as a shot has it, for reading. Its top may be in use.
    ///
    /// # Errors
    /// `Refused` if there is no such shot; `Converting`, `Mismatch`, `Header`, `Io`.
    pub fn read(&self, shot: Guid) -> Result<Chain<S::File>> {
        self.file_of(shot)?;
        let mut layers = self.layers(shot)?;
        let top = layers.pop().ok_or(Refusal::NoSnapshot(shot))?;
        Chain::new(layers, top)
    }

    /// The disk for reading and writing. Its top is marked in use until [`Chain::close`], and its cached
    /// statistics go.
    ///
    /// The folder is made durable first: who put the descriptor there may have been killed before he
    /// did that, and what is flushed from now on is of the disk that it describes.
    ///
    /// # Errors
    /// `InUse` if a delta is marked so; `Refused` and `Interrupted` as for every change;
    /// `Converting`, `Mismatch`, `Shared`, `Entry`, `Extension`, `NotWritable`, `Header`, `Io`.
    pub fn write(&self) -> Result<Chain<S::File>> {
        self.sync()?;
        self.write_durable(Writer::open)
    }

    /// As [`Disk::write`], of a disk whose folder is durable, with a top that is opened like this if it
    /// has a header.
    fn write_durable(
        &self,
        open: impl FnOnce(Delta<S::File>) -> Result<Writer<S::File>>,
    ) -> Result<Chain<S::File>> {
        self.changeable()?;
        self.refuse_older()?;
        let top = self.descriptor.top();
        // As a whole and before the mark: a top that does not fit is left alone.
        let (lower, _) = self.read(top)?.into_layers();
        for delta in lower.iter().filter_map(Layer::delta) {
            delta.ensure_closed()?;
        }
        let top = self.layer(top, Access::Write)?;
        self.forget_statistics()?;
        let top = match top {
            Layer::Delta(delta) => {
                let mut writer = open(delta)?;
                writer.limit(self.descriptor.max_delta());
                Layer::Writer(Box::new(writer))
            }
            other => other,
        };
        Chain::new(lower, top)
    }

    /// The only file of a disk that is a raw base and nothing else, and its name, for who locks and
    /// writes it himself; `None`: it is another disk.
    ///
    /// Whoever has locked it calls [`Disk::begin_raw`].
    ///
    /// # Errors
    /// `Shared` for writing; `Io`.
    pub fn only_raw(&self, access: Access) -> Result<Option<(&str, S::File)>> {
        let top = self.descriptor.top();
        if !self.is_raw(top) || self.descriptor.shots().len() != 1 {
            return Ok(None);
        }
        let name = self.file_of(top)?;
        Ok(Some((name, self.open_file(name, access)?)))
    }

    /// Begins the use of what [`Disk::only_raw`] has opened, once it is locked; `false` if the disk is
    /// another one by now. Who writes finds it as it is after a power cut too: what he flushes is not
    /// hidden by what an earlier descriptor names. Its statistics go.
    ///
    /// # Errors
    /// As [`Disk::open`].
    pub fn begin_raw(&self, access: Access) -> Result<bool> {
        let is_same = load(&self.folder, DESCRIPTOR)? == self.descriptor;
        // Where nothing can be written there may be no fsync of a folder (squashfs, erofs).
        if is_same && access == Access::Write {
            self.sync()?;
            self.forget_statistics()?;
        }
        Ok(is_same)
    }

    /// Whether the last writer of the top came to its end.
    ///
    /// # Errors
    /// `Header`, `Io`.
    pub fn is_closed(&self) -> Result<bool> {
        let top = self.descriptor.top();
        if self.is_raw(top) {
            return Ok(true);
        }
        let name = self.file_of(top)?;
        let (header, _) = read_header(name, &self.open_file(name, Access::Read)?)?;
        Ok(header.mark != Mark::InUse)
    }

    /// The layers from the base up to a shot, for reading.
    fn layers(&self, shot: Guid) -> Result<Vec<Layer<S::File>>> {
        let chain = self.descriptor.chain(shot);
        let layers = chain.into_iter().map(|guid| {
            let layer = self.layer(guid, Access::Read)?;
            if let Some(delta) = layer.delta() {
                delta.ensure_converted()?;
            }
            Ok(layer)
        });
        layers.collect()
    }

    fn is_raw(&self, shot: Guid) -> bool {
        self.below(shot) == Guid::NONE && self.descriptor.base() == Base::Raw
    }

    /// Opens the file of a shot.
    fn layer(&self, shot: Guid, access: Access) -> Result<Layer<S::File>> {
        let name = self.file_of(shot)?;
        if self.is_raw(shot) {
            let file = self.open_file(name, access)?;
            let cluster = self.descriptor.cluster();
            let raw = RawImage::open(name, file, cluster, access == Access::Write)?;
            return Ok(Layer::Raw(raw));
        }
        let delta = Delta::open(name, self.open_file(name, access)?)?;
        if delta.header().cluster != self.descriptor.cluster() {
            return Err(Error::Mismatch {
                file: name.to_owned(),
                what: "another cluster size than the descriptor has",
            });
        }
        Ok(Layer::Delta(delta))
    }

    /// Opens a file; for writing only if no other disk can have it.
    fn open_file(&self, name: &str, access: Access) -> Result<S::File> {
        if access == Access::Write {
            self.own(name)?;
        }
        let opened = self.folder.open(name, access);
        opened.map_err(|e| Error::io("open", name, e))
    }

    /// Refuses a file that another disk may have too.
    fn own(&self, name: &str) -> Result<()> {
        if self.is_shared(name)? {
            return Err(Error::Shared {
                file: name.to_owned(),
            });
        }
        Ok(())
    }

    fn is_shared(&self, name: &str) -> Result<bool> {
        let shared = self.folder.is_shared(name);
        shared.map_err(|e| Error::io("look at", name, e))
    }

    fn file_of(&self, shot: Guid) -> Result<&str> {
        let file = self.descriptor.file(shot);
        Ok(file.ok_or(Refusal::NoSnapshot(shot))?)
    }

    /// The shot right beneath one.
    fn below(&self, shot: Guid) -> Guid {
        let shot = self.descriptor.shot(shot);
        shot.map_or(Guid::NONE, |shot| shot.parent)
    }

    /// Refuses a disk that only libploop may change.
    fn changeable(&self) -> Result<()> {
        if self.descriptor.is_volume() {
            return Err(Refusal::LibploopVolume.into());
        }
        let merging = Some(Temporary::OnlineMerge);
        let mut shots = self.descriptor.shots().iter();
        match shots.find(|shot| shot.temporary == merging) {
            Some(shot) => Err(Refusal::OnlineMerge(shot.guid).into()),
            None => Ok(()),
        }
    }

    /// Removes the file of a delta that is not part of the disk any more.
    fn discard_file(&self, name: &str) -> Result<()> {
        absent(self.folder.remove(name)).map_err(|e| Error::io("remove", name, e))
    }

    fn forget_statistics(&self) -> Result<()> {
        self.discard_file(STATISTICS)
    }
}

/// Reads a descriptor. Files of the folder are called by their names in it, also where it has their
/// paths.
fn load<S: Folder>(folder: &S, name: &str) -> Result<Descriptor> {
    let mut descriptor = load_as_it_is(folder, name)?;
    for image in descriptor.images().to_vec() {
        let within = folder.within(&image.file);
        if let Some(within) = within.map_err(|e| Error::io("look for", &image.file, e))? {
            descriptor.set_file(image.guid, &within)?;
        }
    }
    Ok(descriptor)
}

fn load_as_it_is<S: Folder>(folder: &S, name: &str) -> Result<Descriptor> {
    let failed = |e| Error::io("read", name, e);
    let file = folder.open(name, Access::Read).map_err(failed)?;
    // One byte more than is allowed suffices to refuse it.
    let length = file.length().map_err(failed)?.min(MAX_BYTES + 1);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_at(&mut bytes, FileOffset(0)).map_err(failed)?;
    Ok(Descriptor::parse(&bytes)?)
}

/// A missing file is as good as a removed one.
fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
