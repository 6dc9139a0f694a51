// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver: each verb in a line or a few, what it does in the module that it names.

use mosaic_core::finding::{Finding, Repair};
use mosaic_core::volume::{
    About, Attachment, Capability, CloneOptions, Dropped, InitOptions, MountSource, NewVolume,
    Space, Volume,
};
use mosaic_core::{
    Bytes, Driver, Error, ErrorKind, Host, Key, Location, LockScope, Result, ScratchName, Settings,
    VolumeName,
};

use crate::config::{self, Options};
use crate::info::{self, Devices};
use crate::layout;
use crate::volume_dir::VolumeDir;

/// One open location of disks.
#[derive(Debug)]
pub struct Ploop {
    pub(crate) host: Host,
    pub(crate) location: Location,
    pub(crate) options: Options,
}

impl Driver for Ploop {
    const TYPE: &'static str = "ploop";
    const DESCRIPTION: &'static str = "OpenVZ's disk images, one folder per volume";

    fn schema() -> Vec<Key> {
        config::schema()
    }

    fn init(_: &Host, settings: &Settings, _: &InitOptions) -> Result<Vec<String>> {
        Options::new(settings)?;
        Location::init(&settings.location, settings.layout_fs.as_deref())
    }

    fn open(host: Host, settings: &Settings) -> Result<Self> {
        let options = Options::new(settings)?;
        Ok(Self {
            host,
            location: Location::open(&options.location)?,
            options,
        })
    }

    fn lock_scope(&self) -> Result<LockScope> {
        Ok(LockScope::Directory(self.location.path().to_owned()))
    }

    fn clone_changes_source(&self) -> bool {
        true
    }

    fn capabilities(&self, volume: Option<&VolumeName>) -> Result<Vec<Capability>> {
        self.abilities(volume)
    }

    fn space(&self) -> Result<Vec<Space>> {
        Ok(vec![self.location.space()?])
    }

    fn list(&self) -> Result<Vec<Volume>> {
        let inventory = layout::inventory(&self.location, self.options.metadata.as_deref())?;
        let devices = Devices::look();
        let mut volumes = Vec::with_capacity(inventory.volumes.len());
        for name in &inventory.volumes {
            match VolumeDir::find(&self.location, name) {
                Ok(Some(dir)) => volumes.push(self.volume(name, &dir, &devices)),
                // Dropped while we were looking.
                Ok(None) => {}
                Err(error) => self.host.warn(&error.chain()),
            }
        }
        Ok(volumes)
    }

    fn find(&self, name: &VolumeName) -> Result<Option<Volume>> {
        let found = VolumeDir::find(&self.location, name)?;
        Ok(found.map(|dir| self.volume(name, &dir, &Devices::look())))
    }

    fn about(&self) -> Result<About> {
        Ok(info::about())
    }

    fn create(&self, name: &VolumeName, new: &NewVolume) -> Result<()> {
        self.create_disk(name, new)
    }

    fn clone_volume(&self, from: &VolumeName, to: &VolumeName, how: &CloneOptions) -> Result<()> {
        self.clone_disk(from, to, how)
    }

    fn drop_volume(&self, name: &VolumeName, scratch: &ScratchName) -> Result<Dropped> {
        self.drop_disk(name, scratch)?;
        Ok(Dropped::default())
    }

    fn rename(&self, from: &VolumeName, to: &VolumeName) -> Result<()> {
        self.rename_disk(from, to)
    }

    fn resize(&self, name: &VolumeName, size: Bytes) -> Result<()> {
        self.resize_disk(name, size)
    }

    fn attach(&self, name: &VolumeName, read_only: bool) -> Result<Attachment> {
        self.attach_disk(name, read_only)
    }

    fn detach(&self, name: &VolumeName) -> Result<()> {
        self.detach_disk(name)
    }

    fn mount_source(&self, name: Option<&VolumeName>, read_only: bool) -> Result<MountSource> {
        match name {
            Some(name) => self.mount_disk(name, read_only),
            None => Err(Error::new(
                ErrorKind::Unsupported,
                "the metadata of a location of disks is its layout.fs folder; none is configured",
            )),
        }
    }

    fn check(&self, repair: &Repair) -> Result<Vec<Finding>> {
        self.findings(repair)
    }
}
