// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver that calls a function which no library has.

use mosaic_core::volume::{Capability, Dropped, MountSource, NewVolume, Space, Volume};
use mosaic_core::{Driver, Host, LockScope, Result, ScratchName, Settings, VolumeName};

unsafe extern "C" {
    safe fn mosaic_test_no_such_function() -> i32;
}

struct Unresolved;

mosaic_core::export_driver!(Unresolved);

impl Driver for Unresolved {
    const TYPE: &'static str = "unresolved";
    const DESCRIPTION: &'static str = "Lacks a function";

    fn open(_: Host, _: &Settings) -> Result<Self> {
        Ok(Self)
    }

    fn lock_scope(&self) -> Result<LockScope> {
        Ok(LockScope::Directory("/".into()))
    }

    fn capabilities(&self, _: Option<&VolumeName>) -> Result<Vec<Capability>> {
        Ok(Vec::new())
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

    fn create(&self, _: &VolumeName, _: &NewVolume) -> Result<()> {
        Ok(())
    }

    fn drop_volume(&self, _: &VolumeName, _: &ScratchName) -> Result<Dropped> {
        Ok(Dropped::default())
    }

    fn rename(&self, _: &VolumeName, _: &VolumeName) -> Result<()> {
        Ok(())
    }

    fn mount_source(&self, _: Option<&VolumeName>, _: bool) -> Result<MountSource> {
        let _ = mosaic_test_no_such_function();
        unreachable!("no such function")
    }
}
