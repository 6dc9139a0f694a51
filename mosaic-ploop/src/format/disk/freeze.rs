// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sharing a disk as it is now: its present state as a snapshot, and another disk upon that.

use super::Disk;
use crate::format::create::create_empty;
use crate::format::descriptor::{DESCRIPTOR, Descriptor};
use crate::format::error::{Error, Refusal, Result};
use crate::format::guid::Guid;
use crate::format::header::Header;
use crate::format::layer::Layer;
use crate::format::storage::{Access, Folder, ImageFile as _};
use crate::format::units::FileOffset;

impl<S: Folder> Disk<S> {
    /// The snapshot that has all that is on the disk now: the one beneath the top, if nothing was
    /// written since; else a new one of that name. It is one after a power cut too: whoever shares its
    /// files would find the disk written to them.
    ///
    /// # Errors
    /// As [`Disk::snapshot`].
    pub fn freeze(&mut self, guid: Guid) -> Result<Guid> {
        match self.frozen()? {
            Some(below) => self.sync().map(|()| below),
            None => self.snapshot(guid).map(|()| guid),
        }
    }

    /// The snapshot beneath a top that has nothing of its own.
    fn frozen(&self) -> Result<Option<Guid>> {
        let below = self.below(self.descriptor.top());
        let shot = self.descriptor.shot(below);
        if shot.is_none_or(|shot| shot.temporary.is_some()) {
            return Ok(None);
        }
        let Layer::Delta(top) = self.layer(self.descriptor.top(), Access::Read)? else {
            return Ok(None);
        };
        top.ensure_closed()?;
        let is_same =
            top.bat().is_empty() && top.header().size == self.layer(below, Access::Read)?.size();
        Ok(is_same.then_some(below))
    }

    /// The descriptor of another disk that goes on from a snapshot of this one, and the names of the
    /// files that it needs, from the base up, as they are called here and there: there all are
    /// beside the descriptor.
    ///
    /// # Errors
    /// `Refused` if there is no such snapshot; `Descriptor`, `Io`.
    pub fn branch(&self, guid: Guid) -> Result<Branch> {
        self.changeable()?;
        self.file_of(guid)?;
        if guid == self.descriptor.top() {
            return Err(Refusal::ReservedGuid(guid).into());
        }
        let shots = self.descriptor.chain(guid);
        let mut files = Vec::new();
        for (at, shot) in shots.iter().enumerate() {
            let file = self.file_of(*shot)?;
            let leaf = file.rsplit('/').next().unwrap_or(file);
            let taken = |name: &str| {
                files
                    .iter()
                    .any(|(_, there): &(String, String)| there == name)
            };
            let there = match taken(leaf) {
                true => format!("{at}.{leaf}"),
                false => leaf.to_owned(),
            };
            files.push((file.to_owned(), there));
        }
        let header = self.header_upon(guid)?;
        let top = self.fresh_name()?;
        let mut descriptor = self.descriptor.clone();
        if descriptor.top() != Guid::TOP {
            descriptor.set_usual_top()?;
        }
        let names = shots
            .iter()
            .zip(files.iter().map(|(_, there)| there.as_str()));
        descriptor.keep_chain(
            &names.map(|(shot, name)| (*shot, name)).collect::<Vec<_>>(),
            &top,
        )?;
        descriptor.set_size(header.size)?;
        Ok(Branch {
            files,
            top,
            header,
            descriptor,
        })
    }
}

impl<S: Folder> Disk<S> {
    /// Makes a disk in another folder, which has copies of all files of this one already, the top
    /// by the name `top`. It has the size that the copies have.
    ///
    /// # Errors
    /// `Refused` if there is a descriptor; `Mismatch`, `Header`, `Io`.
    pub fn twin(&self, folder: S, top: &str) -> Result<Self> {
        self.changeable()?;
        let mut descriptor = self.descriptor.clone();
        descriptor.set_file(descriptor.top(), top)?;
        let mut twin = Self { folder, descriptor };
        let size = twin.layer(twin.descriptor.top(), Access::Read)?.size();
        twin.descriptor.set_size(size)?;
        describe(twin.folder, twin.descriptor)
    }
}

/// What another disk consists of that goes on from a snapshot.
#[derive(Debug)]
pub struct Branch {
    /// The snapshot's files: names here, and there.
    pub files: Vec<(String, String)>,
    top: String,
    header: Header,
    descriptor: Descriptor,
}

impl Branch {
    /// Makes the disk in a folder that has its files already: the new top, then the descriptor. All
    /// of it is durable then.
    ///
    /// # Errors
    /// `Refused` if there is a descriptor; `Io`.
    pub fn create<S: Folder>(self, folder: S) -> Result<Disk<S>> {
        let top = folder.create(&self.top, false);
        let top = top.map_err(|e| Error::io("make", &self.top, e))?;
        create_empty(&self.top, &top, &self.header)?;
        describe(folder, self.descriptor)
    }
}

/// Makes a disk of what is in a folder, durably.
fn describe<S: Folder>(folder: S, descriptor: Descriptor) -> Result<Disk<S>> {
    let failed = |e| Error::io("make", DESCRIPTOR, e);
    let made = match folder.create(DESCRIPTOR, true) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Refusal::Exists(DESCRIPTOR.to_owned()).into());
        }
        other => other.map_err(failed)?,
    };
    let text = descriptor.to_string();
    let written = made.write_at(text.as_bytes(), FileOffset(0));
    written.and_then(|()| made.flush()).map_err(failed)?;
    folder.sync(DESCRIPTOR).map_err(failed)?;
    Ok(Disk { folder, descriptor })
}
