// SPDX-License-Identifier: MIT OR Apache-2.0
//! A new disk: the image first, complete and durable, then the descriptor, which makes it a disk.

use super::Disk;
use crate::format::create::{create_empty, create_preallocated};
use crate::format::descriptor::{Base, DESCRIPTOR, Descriptor};
use crate::format::error::{Error, Refusal, Result};
use crate::format::header::{Header, Version};
use crate::format::raw_image::whole_size;
use crate::format::storage::{Access, Folder, ImageFile};
use crate::format::units::{ClusterSize, Sectors};

/// How the image of a new disk is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Grows as it is written to.
    Expanded(Version),
    /// The same, with all clusters allocated from the beginning.
    Preallocated(Version),
    /// The disk's bytes, without a header.
    Raw,
}

/// What a new disk is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewDisk<'a> {
    /// Name of the image, beside the descriptor.
    pub file: &'a str,
    /// Size of the disk; rounded up to whole clusters, down where the format ends.
    pub size: Sectors,
    /// Allocation unit.
    pub cluster: ClusterSize,
    /// How the image is made.
    pub kind: Kind,
}

impl<S: Folder> Disk<S> {
    /// Makes a disk in a folder that has none.
    ///
    /// # Errors
    /// `Refused` if there is a descriptor or a file of that name; `Size`; `Io`. Nothing is left
    /// then, but what could not be removed.
    pub fn create(folder: S, new: &NewDisk<'_>) -> Result<Self> {
        match folder.open(DESCRIPTOR, Access::Read) {
            Ok(_) => return Err(Refusal::Exists(DESCRIPTOR.to_owned()).into()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("open", DESCRIPTOR, e)),
        }
        let header = new.header()?;
        let size = match &header {
            Some(header) => header.size,
            None => new.raw_size()?,
        };
        let descriptor = Descriptor::new(size, new.cluster, new.base(), new.file)?;
        let file = match folder.create(new.file, false) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Refusal::Exists(new.file.to_owned()).into());
            }
            other => other.map_err(|e| Error::io("make", new.file, e))?,
        };
        let made = match (header, new.kind) {
            (Some(header), Kind::Preallocated(_)) => create_preallocated(new.file, &file, &header),
            (Some(header), _) => create_empty(new.file, &file, &header),
            (None, _) => create_raw(new.file, &file, size),
        };
        let mut disk = Self { folder, descriptor };
        let prepared = made.and_then(|()| disk.prepare(&disk.descriptor));
        if let Err(error) = prepared {
            disk.take_back(Some(new.file));
            return Err(error);
        }
        disk.commit(disk.descriptor.clone())?;
        Ok(disk)
    }
}

impl NewDisk<'_> {
    fn base(&self) -> Base {
        match self.kind {
            Kind::Expanded(_) => Base::Expanded,
            Kind::Preallocated(_) => Base::Preallocated,
            Kind::Raw => Base::Raw,
        }
    }

    /// The header of the image; a raw one has none.
    fn header(&self) -> Result<Option<Header>> {
        let version = match self.kind {
            Kind::Expanded(version) | Kind::Preallocated(version) => version,
            Kind::Raw => return Ok(None),
        };
        Ok(Some(Header::new(version, self.cluster, self.size)?))
    }

    fn raw_size(&self) -> Result<Sectors> {
        whole_size(self.cluster, self.size)
    }
}

fn create_raw(name: &str, file: &impl ImageFile, size: Sectors) -> Result<()> {
    let made = file.set_length(size.bytes()).and_then(|()| file.flush());
    made.map_err(|e| Error::io("make", name, e))
}
