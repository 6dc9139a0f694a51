// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver: each verb in a line or a few, what it does in the module that it names.
//!
//! Who holds what:
//!
//! | | is held by | against |
//! |---|---|---|
//! | flock(2) on the pool's metadata device | who activates the pool, or makes it | two pools of one |
//! | flock(2) on the pool | who activates the catalog's device; init, until all is there | two catalogs |
//! | the catalog's device, `O_EXCL` and for writing | each verb that changes anything (the host opens it for that, since it is the [`LockScope`]), and init | one change beside another |
//!
//! They are taken in this order, and only the last one lasts as long as a verb. [`Driver::lock_scope`]
//! therefore has to have the pool active, with its catalog's device; the host asks again once it
//! holds that device, as the pool may have been taken down while it waited. Verbs that look take
//! none but the first two, and those only to activate what is not active. What is left by a killed
//! holder of the last one is undone by the next ([`recover`]), and by nobody else.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::SystemTime;

use mosaic_core::finding::{Finding, Repair};
use mosaic_core::fs::FsType;
use mosaic_core::volume::{
    About, Attachment, Capability, CloneOptions, Dropped, InitOptions, MountSource, NewKind,
    NewVolume, Space, Volume,
};
use mosaic_core::{
    Bytes, Driver, Error, ErrorKind, Host, Key, LockScope, Result, ScratchName, Settings,
    VolumeName,
};

use crate::activation;
use crate::catalog::Content;
use crate::clone_source::VolumeSource;
use crate::config::{self, Options};
use crate::create::Request;
use crate::kernel_pool::KernelPool;
use crate::{attach, change, check, clone, create, info, init, locate, recover, space};
use mosaic_core::dm::{Dm, open_control};

/// One open location: a thin pool, which may not be active yet.
#[derive(Debug)]
pub struct DmThin {
    pub(crate) host: Host,
    pub(crate) options: Options,
    control: OwnedFd,
}

impl DmThin {
    /// The pool with its catalog, made active if need be. Asked for by each verb: nothing is kept.
    pub(crate) fn pool(&self) -> Result<KernelPool<'_>> {
        let dm = Dm::new(&self.control, &self.host);
        activation::open(dm, &self.host, &self.options)
    }

    /// The file system for a volume of this content; `None`: a disk's is its user's.
    pub(crate) fn file_system(content: &Content) -> Result<Option<FsType>> {
        match content {
            Content::Disk => Ok(None),
            Content::Fs(fs) => FsType::parse(fs).map(Some),
        }
    }
}

/// Now, in seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |duration| duration.as_secs())
}

impl Driver for DmThin {
    const TYPE: &'static str = "dmthin";
    const ALIASES: &'static [&'static str] = &["thin"];
    const DESCRIPTION: &'static str = "one thin device of a device-mapper thin pool per volume";
    const INIT_OPTIONS: &'static [&'static str] = &["adopt", "force"];

    fn schema() -> Vec<Key> {
        config::schema()
    }

    fn init(host: &Host, settings: &Settings, how: &InitOptions) -> Result<Vec<String>> {
        let options = Options::new(settings)?;
        let control = open_control()?;
        init::init(Dm::new(&control, host), host, &options, how)
    }

    fn open(host: Host, settings: &Settings) -> Result<Self> {
        let options = Options::new(settings)?;
        let control = open_control()?;
        let driver = Self {
            host,
            options,
            control,
        };
        if driver.options.devices.is_none() {
            locate::require(Dm::new(&driver.control, &driver.host), &driver.options)?;
        }
        Ok(driver)
    }

    fn lock_scope(&self) -> Result<LockScope> {
        let pool = self.pool()?;
        Ok(LockScope::Device(pool.catalog.path().to_owned()))
    }

    fn recover(&self) -> Result<()> {
        recover::recover(&self.pool()?)
    }

    fn capabilities(&self, volume: Option<&VolumeName>) -> Result<Vec<Capability>> {
        info::capabilities(self, volume)
    }

    fn space(&self) -> Result<Vec<Space>> {
        space::space(&self.pool()?, self.options.floors)
    }

    fn about(&self) -> Result<About> {
        space::about(&self.pool()?, &self.options)
    }

    fn list(&self) -> Result<Vec<Volume>> {
        info::list(&self.pool()?)
    }

    fn find(&self, name: &VolumeName) -> Result<Option<Volume>> {
        info::find(&self.pool()?, name.stored())
    }

    fn metadata(&self) -> Result<Volume> {
        info::metadata(&self.pool()?)
    }

    fn create(&self, name: &VolumeName, new: &NewVolume) -> Result<()> {
        let content = match &new.kind {
            NewKind::Disk => Content::Disk,
            NewKind::Fs(None) => Content::Fs(self.options.default_fs.name().to_owned()),
            NewKind::Fs(Some(fs)) => Content::Fs(fs.clone()),
        };
        let fs = Self::file_system(&content)?;
        if let Some(fs) = &fs {
            fs.check_available()?;
            fs.check_size(new.size)?;
        }
        let format = |device: &Path| {
            let made = fs.as_ref().map(|fs| fs.make(&self.host, device));
            made.unwrap_or(Ok(()))?;
            self.host.check_cancelled()
        };
        let request = Request {
            content,
            size: new.size,
            created: now(),
        };
        create::create(&self.pool()?, self.options.floors, name, request, &format)
    }

    fn clone_volume(&self, from: &VolumeName, to: &VolumeName, how: &CloneOptions) -> Result<()> {
        let pool = self.pool()?;
        let origin = info::truth(&pool)?.catalog.require(from.stored())?.clone();
        let fs = Self::file_system(&origin.content)?;
        if let Some(refusal) = fs.as_ref().and_then(|fs| fs.can_renew_uuid().err()) {
            return Err(Error::new(ErrorKind::Unsupported, refusal));
        }
        let source = VolumeSource::new(&pool, &self.host, from.user(), origin.id, fs)?;
        let request = clone::Request {
            from: from.stored(),
            to,
            size: how.size,
            created: now(),
        };
        clone::clone(&pool, self.options.floors, request, &source)
    }

    /// The catalog knows what is still to be deleted: nothing goes to the trash.
    fn drop_volume(&self, name: &VolumeName, _: &ScratchName) -> Result<Dropped> {
        let Options {
            floors,
            discard_on_drop,
            ..
        } = self.options;
        change::drop_volume(&self.pool()?, floors, name.stored(), discard_on_drop)?;
        Ok(Dropped::default())
    }

    fn rename(&self, from: &VolumeName, to: &VolumeName) -> Result<()> {
        change::rename(&self.pool()?, self.options.floors, from.stored(), to)
    }

    fn resize(&self, name: &VolumeName, size: Bytes) -> Result<()> {
        change::resize(&self.pool()?, self.options.floors, name.stored(), size)
    }

    fn attach(&self, name: &VolumeName, read_only: bool) -> Result<Attachment> {
        attach::attach(&self.pool()?, name.stored(), read_only)
    }

    fn detach(&self, name: &VolumeName) -> Result<()> {
        attach::detach(&self.pool()?, name.stored())
    }

    fn mount_source(&self, name: Option<&VolumeName>, read_only: bool) -> Result<MountSource> {
        let stored = name.map(VolumeName::stored);
        attach::mount_source(&self.pool()?, stored, read_only)
    }

    fn check(&self, repair: &Repair) -> Result<Vec<Finding>> {
        check::check(&self.pool()?, &self.options, repair)
    }
}
