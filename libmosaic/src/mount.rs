// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts of volumes and of the metadata.

use std::ffi::{c_int, c_ulong};
use std::path::Path;

use mosaic_core::Result;
use mosaic_core::mosaic::{Changed, Mosaic};
use mosaic_core::mounts::MountOptions;

use crate::c::Text;
use crate::call::change;
use crate::flags::Flags;
use crate::handle::{Handle, OpenMosaic, OpenVolume};

/// What a handle of either kind can have mounted.
trait Mountable {
    /// Lets `work` have the core's mosaic, and the name of the volume or `None` for the metadata.
    fn with(&self, work: impl FnOnce(&Mosaic, Option<&str>) -> Result<()>) -> Result<()>;

    fn mount(&self, path: &Text, options: Result<MountOptions>) -> Result<(c_int, Changed)> {
        let (options, path) = (options?, path.path("path")?);
        self.with(|core, volume| core.mount(volume, path, &options))?;
        Ok((0, Changed::Yes))
    }

    fn umount(&self, path: &Text, flags: Flags) -> Result<(c_int, Changed)> {
        flags.none()?;
        let path: &Path = path.path("path")?;
        self.with(|core, volume| core.umount(volume, path))?;
        Ok((0, Changed::Yes))
    }
}

impl Mountable for Handle<OpenMosaic> {
    fn with(&self, work: impl FnOnce(&Mosaic, Option<&str>) -> Result<()>) -> Result<()> {
        work(&self.get()?.core, None)
    }
}

impl Mountable for Handle<OpenVolume> {
    fn with(&self, work: impl FnOnce(&Mosaic, Option<&str>) -> Result<()>) -> Result<()> {
        let volume = self.enter()?;
        work(volume.core(), Some(volume.name()))
    }
}

/// `MS_*` of mount(2).
fn from_flags(flags: c_int) -> Result<MountOptions> {
    // Its highest bit is one of `MS_MGC_VAL`.
    MountOptions::from_flags(c_ulong::from(flags.cast_unsigned()))
}

/// Words with commas between them, or NULL.
fn from_words(words: &Text) -> Result<MountOptions> {
    let words = words.utf8_if_given("mount options")?;
    MountOptions::parse(words.unwrap_or_default())
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_mount(mosaic: Handle<OpenMosaic>, path: Text, mount_flags: c_int) -> c_int {
    change(|| mosaic.mount(&path, from_flags(mount_flags)))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_mount_opts(mosaic: Handle<OpenMosaic>, path: Text, options: Text) -> c_int {
    change(|| mosaic.mount(&path, from_words(&options)))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_umount(mosaic: Handle<OpenMosaic>, path: Text, flags: Flags) -> c_int {
    change(|| mosaic.umount(&path, flags))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_mount_vol(volume: Handle<OpenVolume>, path: Text, flags: c_int) -> c_int {
    change(|| volume.mount(&path, from_flags(flags)))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_mount_vol_opts(
    volume: Handle<OpenVolume>,
    path: Text,
    options: Text,
) -> c_int {
    change(|| volume.mount(&path, from_words(&options)))
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_umount_vol(volume: Handle<OpenVolume>, path: Text, flags: Flags) -> c_int {
    change(|| volume.umount(&path, flags))
}

#[cfg(test)]
mod tests {
    use mosaic_core::ErrorKind;

    use super::*;

    #[test]
    fn flags_and_words_are_those_of_mount() {
        assert_eq!(from_flags(0).unwrap().to_string(), "rw");
        assert_eq!(from_flags(1 | 2).unwrap().to_string(), "ro,nosuid");
        let historic = 0xC0ED_0000_u32.cast_signed() | 1;
        assert_eq!(from_flags(historic).unwrap().to_string(), "ro");
        let words = from_words(&Text::of(Some(c"ro,nosuid"))).unwrap();
        assert_eq!(words.to_string(), "ro,nosuid,nodev");
        assert_eq!(from_words(&Text::of(None)).unwrap(), MountOptions::new());
        for odd in [-1, c_int::MIN, 1 << 5] {
            let error = from_flags(odd).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{odd:#x}");
        }
    }
}
