// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver: each verb in a line or a few, what it does in the module that it names.

use std::path::PathBuf;

use mosaic_core::finding::{Finding, Repair};
use mosaic_core::fs::FsType;
use mosaic_core::volume::{
    Attachment, Capability, CloneOptions, Dropped, InitOptions, MountSource, NewVolume, Space,
    Volume,
};
use mosaic_core::{
    Bytes, Context, Driver, Error, ErrorKind, Host, Location, LockScope, Result, ScratchName,
    Settings, VolumeName,
};

use crate::attachment::BoundDevices;
use crate::claim;
use crate::config::Options;
use crate::image::Image;
use crate::init;
use crate::layout;
use crate::support::Support;

/// One open location of image files.
#[derive(Debug)]
pub struct Loop {
    pub(crate) host: Host,
    pub(crate) location: Location,
    pub(crate) default_fs: FsType,
    pub(crate) metadata: Option<PathBuf>,
    pub(crate) support: Support,
}

impl Driver for Loop {
    const TYPE: &'static str = "loop";
    const ALIASES: &'static [&'static str] = &["fsimg"];
    const DESCRIPTION: &'static str = "one image file per volume, shown by loop devices";

    fn init(_: &Host, settings: &Settings, _: &InitOptions) -> Result<Vec<String>> {
        init::init(&Options::new(settings)?)
    }

    fn open(host: Host, settings: &Settings) -> Result<Self> {
        let options = Options::new(settings)?;
        Ok(Self {
            host,
            location: Location::open(&options.location)?,
            default_fs: options.default_fs,
            metadata: options.metadata,
            support: Support::default(),
        })
    }

    fn lock_scope(&self) -> Result<LockScope> {
        Ok(LockScope::Directory(self.location.path().to_owned()))
    }

    fn capabilities(&self, volume: Option<&VolumeName>) -> Result<Vec<Capability>> {
        self.abilities(volume)
    }

    fn space(&self) -> Result<Vec<Space>> {
        let path = self.location.path();
        let stat = rustix::fs::fstatvfs(self.location.dir())
            .context(|| format!("cannot ask for the space at {path:?}"))?;
        let bytes = |blocks: u64| Bytes(blocks.saturating_mul(stat.f_frsize));
        Ok(vec![Space {
            class: "data".into(),
            total: bytes(stat.f_blocks),
            used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
            free: bytes(stat.f_bavail),
        }])
    }

    fn list(&self) -> Result<Vec<Volume>> {
        let bound = BoundDevices::default();
        let inventory = layout::inventory(&self.location, self.metadata.as_deref())?;
        let mut volumes = Vec::with_capacity(inventory.volumes.len());
        for name in &inventory.volumes {
            match Image::find(&self.location, name) {
                Ok(Some(image)) => volumes.push(self.volume(&image, &bound)),
                // Dropped while we were looking.
                Ok(None) => {}
                Err(error) => self.host.warn(&error.chain()),
            }
        }
        Ok(volumes)
    }

    fn find(&self, name: &VolumeName) -> Result<Option<Volume>> {
        let image = Image::find(&self.location, name)?;
        Ok(image.map(|image| {
            // Other people's devices are looked through only if one of them could show it.
            let bound = match claim::is_free(&image) {
                true => BoundDevices::none(),
                false => BoundDevices::default(),
            };
            self.volume(&image, &bound)
        }))
    }

    fn create(&self, name: &VolumeName, new: &NewVolume) -> Result<()> {
        self.create_image(name, new)
    }

    fn clone_volume(&self, from: &VolumeName, to: &VolumeName, how: &CloneOptions) -> Result<()> {
        self.clone_image(from, to, how)
    }

    /// One unlink is all: nothing goes to the trash.
    fn drop_volume(&self, name: &VolumeName, _: &ScratchName) -> Result<Dropped> {
        self.drop_image(name)?;
        Ok(Dropped::default())
    }

    fn rename(&self, from: &VolumeName, to: &VolumeName) -> Result<()> {
        self.rename_image(from, to)
    }

    fn resize(&self, name: &VolumeName, size: Bytes) -> Result<()> {
        self.resize_image(name, size)
    }

    fn attach(&self, name: &VolumeName, read_only: bool) -> Result<Attachment> {
        self.attach_image(name, read_only)
    }

    fn detach(&self, name: &VolumeName) -> Result<()> {
        self.detach_image(name)
    }

    fn mount_source(&self, name: Option<&VolumeName>, read_only: bool) -> Result<MountSource> {
        match name {
            Some(name) => self.mount_device(name, read_only),
            None => Err(Error::new(
                ErrorKind::Unsupported,
                "the metadata of a location of images is its layout.fs folder; none is configured",
            )),
        }
    }

    fn check(&self, repair: &Repair) -> Result<Vec<Finding>> {
        self.findings(repair)
    }
}
