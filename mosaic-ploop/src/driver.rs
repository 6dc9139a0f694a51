// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver: each verb in a line or a few, what it does in the module that it names.

use mosaic_core::finding::{Finding, Repair};
use mosaic_core::volume::{
    Capability, CloneOptions, Dropped, InitOptions, MountSource, NewVolume, Space, Volume,
};
use mosaic_core::{
    Bytes, Driver, Error, ErrorKind, Host, Key, Location, LockScope, Result, ScratchName, Settings,
    VolumeName,
};

use crate::config::{self, Options};
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
        let mut volumes = Vec::with_capacity(inventory.volumes.len());
        for name in &inventory.volumes {
            match self.find(name) {
                // `None`: dropped while we were looking.
                Ok(found) => volumes.extend(found),
                Err(error) => self.host.warn(&error.chain()),
            }
        }
        Ok(volumes)
    }

    fn find(&self, name: &VolumeName) -> Result<Option<Volume>> {
        let found = VolumeDir::find(&self.location, name)?;
        Ok(found.map(|dir| self.volume(name, &dir)))
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

    fn mount_source(&self, _: Option<&VolumeName>, _: bool) -> Result<MountSource> {
        Err(Error::new(
            ErrorKind::Unsupported,
            "a disk cannot be attached yet",
        ))
    }

    fn check(&self, repair: &Repair) -> Result<Vec<Finding>> {
        self.findings(repair)
    }
}
