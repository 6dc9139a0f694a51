// SPDX-License-Identifier: MIT OR Apache-2.0
//! A delta: one image file of a chain, open for reading.
//!
//! Entries are checked when they are followed, so that what is right of a damaged image can be read.

use std::io;

use zerocopy::{FromZeros, IntoBytes};

use super::bat::Bat;
use super::entry::EntryFault;
use super::error::{Error, Result};
use super::extension::Extension;
use super::header::{Flags, Header, HeaderFault, Mark, RawHeader};
use super::storage::ImageFile;
use super::units::{FileCluster, FileOffset, VirtualCluster};

/// An image file with its header and BAT.
#[derive(Debug)]
pub struct Delta<F> {
    pub(super) name: String,
    pub(super) file: F,
    pub(super) header: Header,
    pub(super) bat: Bat,
    /// Bytes in the file.
    pub(super) length: u64,
}

impl<F: ImageFile> Delta<F> {
    /// Reads header and BAT; `name` is for messages.
    ///
    /// An image that is marked in use is opened too: whether that matters is the caller's to say.
    ///
    /// # Errors
    /// `Header`; `Io`.
    pub fn open(name: &str, file: F) -> Result<Self> {
        let (header, length) = read_header(name, &file)?;
        let bat = Bat::load(&file, &header).map_err(|e| Error::io("read", name, e))?;
        Ok(Self {
            name: name.to_owned(),
            file,
            header,
            bat,
            length,
        })
    }

    /// The name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The header as it is in memory.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The table as it is in memory.
    pub fn bat(&self) -> &Bat {
        &self.bat
    }

    /// The file.
    pub fn file(&self) -> &F {
        &self.file
    }

    /// Bytes in the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Gives the file back.
    pub fn into_file(self) -> F {
        self.file
    }

    /// Refuses an image that somebody writes to, or whose writer died.
    ///
    /// # Errors
    /// `InUse`; `Converting`.
    pub fn ensure_closed(&self) -> Result<()> {
        self.ensure_converted()?;
        if self.header.mark == Mark::InUse {
            return Err(Error::InUse {
                file: self.name.clone(),
            });
        }
        Ok(())
    }

    /// Refuses an image whose conversion did not end: its entries may be of either version.
    ///
    /// # Errors
    /// `Converting`.
    pub fn ensure_converted(&self) -> Result<()> {
        if self.header.flags.has(Flags::CONVERTING) {
            return Err(Error::Converting {
                file: self.name.clone(),
            });
        }
        Ok(())
    }

    /// Refuses an image that is only read here: of a layout that libploop does not take, or with an
    /// extension that no writer may leave out.
    ///
    /// # Errors
    /// `NotWritable`; `Extension`; `Io`.
    pub(super) fn ensure_changeable(&self) -> Result<()> {
        let file = || self.name.clone();
        if !self.header.is_writable() {
            return Err(Error::NotWritable { file: file() });
        }
        let extension = Extension::load(&self.file, &self.header, self.length);
        let extension = extension.map_err(self.io("read"))?;
        match extension.is_some_and(|extension| extension.forbids_changes) {
            true => Err(Error::Extension { file: file() }),
            false => Ok(()),
        }
    }

    /// Where a cluster of the disk is in the file; `None` if it is not.
    ///
    /// # Errors
    /// `Entry`.
    pub fn locate(&self, cluster: VirtualCluster) -> Result<Option<FileOffset>> {
        let entry = self.bat.get(cluster);
        let place = self.header.place(entry, self.length);
        place.map_err(|fault| self.wrong_entry(cluster, fault))
    }

    /// The clusters that are in the file, ascending, as far as the BAT goes.
    pub fn allocated(&self) -> impl Iterator<Item = VirtualCluster> {
        self.bat.allocated().map(|(cluster, _)| cluster)
    }

    /// The file cluster that a cluster of the disk is in; for images that libploop would take.
    ///
    /// # Errors
    /// `Entry`.
    pub(super) fn file_cluster(&self, cluster: VirtualCluster) -> Result<Option<FileCluster>> {
        let entry = self.bat.get(cluster);
        let place = self.header.file_cluster(entry, self.length);
        place.map_err(|fault| self.wrong_entry(cluster, fault))
    }

    /// Writes the header as it is in memory.
    pub(super) fn write_header(&mut self) -> Result<()> {
        let written = self.bat.write_header(&self.file, &self.header);
        written.map_err(self.io("write"))
    }

    pub(super) fn wrong_entry(&self, entry: VirtualCluster, fault: EntryFault) -> Error {
        Error::Entry {
            file: self.name.clone(),
            entry,
            fault,
        }
    }

    /// An error of the storage with this file's name in it.
    pub(super) fn io(&self, action: &'static str) -> impl Fn(io::Error) -> Error {
        move |source| Error::io(action, &self.name, source)
    }
}

/// Reads the header of an image and checks it against the file's length, which comes with it.
///
/// # Errors
/// `Header`; `Io`.
pub fn read_header(name: &str, file: &impl ImageFile) -> Result<(Header, u64)> {
    let faulty = |fault| Error::Header {
        file: name.to_owned(),
        fault,
    };
    let failed = |e| Error::io("read", name, e);
    let length = file.length().map_err(failed)?;
    let mut raw = RawHeader::new_zeroed();
    if length < raw.as_bytes().len() as u64 {
        return Err(faulty(HeaderFault::Short));
    }
    let start = FileOffset(0);
    file.read_at(raw.as_mut_bytes(), start).map_err(failed)?;
    let header = Header::try_from(&raw).map_err(faulty)?;
    header.check_length(length).map_err(faulty)?;
    Ok((header, length))
}
