// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver: each verb in a line or a few, what it does in the module that it names.

use mosaic_core::finding::{Finding, Repair};
use mosaic_core::location::check_depth;
use mosaic_core::volume::{
    About, Capability, CloneOptions, Dropped, InitOptions, MountSource, NewVolume, Space, Volume,
};
use mosaic_core::{
    Bytes, Driver, Host, Key, Location, LockScope, Place, Result, ScratchName, Settings, VolumeName,
};

use crate::config::{self, Options};
use crate::{init, layout, space};

/// One open location of subvolumes.
#[derive(Debug)]
pub struct Btrfs {
    pub(crate) host: Host,
    pub(crate) location: Location,
    pub(crate) options: Options,
}

impl Driver for Btrfs {
    const TYPE: &'static str = "btrfs";
    const DESCRIPTION: &'static str = "one btrfs subvolume per volume";
    const INIT_OPTIONS: &'static [&'static str] = &["quota"];

    fn schema() -> Vec<Key> {
        config::schema()
    }

    fn init(host: &Host, settings: &Settings, options: &InitOptions) -> Result<Vec<String>> {
        init::init(host, settings, options)
    }

    fn open(host: Host, settings: &Settings) -> Result<Self> {
        let options = Options::new(settings)?;
        Ok(Self {
            host,
            location: layout::open(&options.location)?,
            options,
        })
    }

    fn lock_scope(&self) -> Result<LockScope> {
        Ok(LockScope::Directory(self.location.path().to_owned()))
    }

    fn validate_name(&self, name: &VolumeName) -> Result<()> {
        check_depth(name, self.options.depth)
    }

    fn capabilities(&self, volume: Option<&VolumeName>) -> Result<Vec<Capability>> {
        self.abilities(volume)
    }

    fn space(&self) -> Result<Vec<Space>> {
        space::classes(self.location.dir())
    }

    fn about(&self) -> Result<About> {
        let mut about = self.description();
        about.notes.extend(self.cleaning_notes());
        Ok(about)
    }

    fn list(&self) -> Result<Vec<Volume>> {
        self.volumes()
    }

    fn find(&self, name: &VolumeName) -> Result<Option<Volume>> {
        self.find_volume(name)
    }

    fn create(&self, name: &VolumeName, new: &NewVolume) -> Result<()> {
        self.create_subvolume(name, new)
    }

    fn clone_volume(&self, from: &VolumeName, to: &VolumeName, how: &CloneOptions) -> Result<()> {
        self.clone_subvolume(from, to, how)
    }

    fn drop_volume(&self, name: &VolumeName, scratch: &ScratchName) -> Result<Dropped> {
        self.drop_subvolume(name, scratch)
    }

    fn await_space(&self, dropped: &Dropped) -> Result<()> {
        self.await_cleaned(dropped)
    }

    fn rename(&self, from: &VolumeName, to: &VolumeName) -> Result<()> {
        self.rename_subvolume(from, to)
    }

    fn resize(&self, name: &VolumeName, size: Bytes) -> Result<()> {
        self.resize_subvolume(name, size)
    }

    fn mount_source(&self, name: Option<&VolumeName>, _read_only: bool) -> Result<MountSource> {
        let dir = match name {
            Some(name) => self.place(name)?.ok_or_else(|| layout::missing(name))?,
            None => self
                .location
                .open_metadata(self.options.metadata.as_deref())?,
        };
        Ok(MountSource::Directory(dir))
    }

    fn remove_leftover(&self, place: Place, name: &ScratchName) -> Result<()> {
        self.remove_unfinished(place, name)
    }

    fn check(&self, repair: &Repair) -> Result<Vec<Finding>> {
        self.findings(repair)
    }
}
