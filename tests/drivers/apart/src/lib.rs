// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver whose directories do not have the names of the volumes: volume `abc` is `data/cba`.

use std::fs::File;
use std::path::PathBuf;

use mosaic_core::volume::{Capability, Dropped, MountSource, NewVolume, Space, Volume};
use mosaic_core::{
    Context, Driver, Error, ErrorKind, Host, LockScope, Result, ScratchName, Settings, VolumeName,
};

struct Apart {
    location: PathBuf,
}

mosaic_core::export_driver!(Apart);

fn reversed(name: &str) -> String {
    name.chars().rev().collect()
}

impl Apart {
    fn directory(&self, name: &VolumeName) -> PathBuf {
        self.location.join("data").join(reversed(name.stored()))
    }
}

impl Driver for Apart {
    const TYPE: &'static str = "apart";
    const DESCRIPTION: &'static str = "Keeps volumes where their names do not say";

    fn open(_: Host, settings: &Settings) -> Result<Self> {
        let location = settings.location.clone();
        Ok(Self { location })
    }

    fn lock_scope(&self) -> Result<LockScope> {
        Ok(LockScope::Directory(self.location.clone()))
    }

    fn capabilities(&self, _: Option<&VolumeName>) -> Result<Vec<Capability>> {
        Ok(Vec::new())
    }

    fn space(&self) -> Result<Vec<Space>> {
        Ok(Vec::new())
    }

    fn list(&self) -> Result<Vec<Volume>> {
        let failed = || "cannot list".to_owned();
        let mut volumes = Vec::new();
        for entry in std::fs::read_dir(self.location.join("data")).context(failed)? {
            let name = entry.context(failed)?.file_name();
            let name = VolumeName::parse(&reversed(&name.to_string_lossy()))?;
            volumes.push(Volume::directory(&name));
        }
        Ok(volumes)
    }

    fn find(&self, name: &VolumeName) -> Result<Option<Volume>> {
        let there = self.directory(name).is_dir();
        Ok(there.then(|| Volume::directory(name)))
    }

    fn create(&self, _: &VolumeName, _: &NewVolume) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "only to be looked at"))
    }

    fn drop_volume(&self, _: &VolumeName, _: &ScratchName) -> Result<Dropped> {
        Err(Error::new(ErrorKind::Unsupported, "only to be looked at"))
    }

    fn rename(&self, _: &VolumeName, _: &VolumeName) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "only to be looked at"))
    }

    fn mount_source(&self, name: Option<&VolumeName>, _: bool) -> Result<MountSource> {
        let name = name.ok_or_else(|| Error::new(ErrorKind::Unsupported, "no metadata"))?;
        let dir = File::open(self.directory(name)).context(|| format!("cannot open \"{name}\""))?;
        Ok(MountSource::Directory(dir.into()))
    }
}
