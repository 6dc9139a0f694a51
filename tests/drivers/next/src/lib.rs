// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver of the next ABI: it has what that appends, and asks the host for what it appends there.

use mosaic_core::volume::{Capability, Dropped, MountSource, NewVolume, Space, Volume};
use mosaic_core::{
    Driver, Error, ErrorKind, Host, LockScope, Result, ScratchName, Settings, VolumeName,
};

struct Next {
    host: Host,
}

mosaic_core::export_driver!(Next);

impl Driver for Next {
    const TYPE: &'static str = "next";
    const DESCRIPTION: &'static str = "Knows more than the ABI of today";
    const MOTTO: &'static str = "forward";

    fn open(host: Host, _: &Settings) -> Result<Self> {
        Ok(Self { host })
    }

    fn lock_scope(&self) -> Result<LockScope> {
        Ok(LockScope::Directory("/".into()))
    }

    fn capabilities(&self, _: Option<&VolumeName>) -> Result<Vec<Capability>> {
        Ok(vec![match self.host.hint("is anybody there?") {
            true => Capability::yes("hint"),
            false => Capability::no("hint", "this host takes none"),
        }])
    }

    fn space(&self) -> Result<Vec<Space>> {
        Ok(Vec::new())
    }

    fn list(&self) -> Result<Vec<Volume>> {
        Ok(Vec::new())
    }

    fn find(&self, _: &VolumeName) -> Result<Option<Volume>> {
        Ok(None)
    }

    fn create(&self, _: &VolumeName, new: &NewVolume) -> Result<()> {
        let message = format!("no space for {}", new.size.0);
        Err(Error::new(ErrorKind::NoSpace, message))
    }

    fn drop_volume(&self, _: &VolumeName, _: &ScratchName) -> Result<Dropped> {
        Ok(Dropped::default())
    }

    fn rename(&self, _: &VolumeName, _: &VolumeName) -> Result<()> {
        Ok(())
    }

    fn mount_source(&self, _: Option<&VolumeName>, _: bool) -> Result<MountSource> {
        Err(Self::unsupported("mount"))
    }

    fn tidy(&self, name: &VolumeName) -> Result<u64> {
        Ok(name.user().len() as u64)
    }
}
