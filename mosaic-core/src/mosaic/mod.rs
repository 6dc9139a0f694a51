// SPDX-License-Identifier: MIT OR Apache-2.0
//! An open mosaic: the public Rust API, one method per verb.
//!
//! Each changing verb runs in the same order: names and arguments are checked, the driver is asked
//! whether it can, the locks are taken (`guard`), leftovers of killed calls are swept, the state
//! is looked at again under the lock, and only then the driver changes the storage, last step being
//! the commit point. Looking takes no lock: what a reader sees is a state before or after. `check`,
//! which compares states of several things, looks again under locks at what is not in order.

mod attach;
mod change;
mod check;
mod confirm;
mod drop;
mod entry;
mod guard;
mod mount;
mod mounted;
mod outcome;
mod resize;
mod said;
mod sweep;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::mounted::DirectoryMounts;
use self::said::Said;
use crate::config::{self, Config, ConfigFile};
use crate::driver::LockScope;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::foreign;
use crate::host_services::{Host, Services};
use crate::import::ImportedDriver;
use crate::loader::{self, Loaded, SearchPath};
use crate::location::Location;
use crate::mounts::MountTable;
use crate::name::VolumeName;
use crate::volume::{About, Access, Attachment, Capability, InitOptions, Space, Volume};

pub use crate::mounts::device::DeviceIdentity;
pub use attach::{Attached, Earlier};
pub use change::VolumeRequest;
pub use drop::DropOptions;
pub use entry::{MosaicEntry, list_mosaics};
pub use resize::{ResizeTo, Resized};

/// How long a lock is waited for unless somebody says otherwise.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// What a program brings along. The library reads no environment variables: only
/// [`Places::from_environment`](crate::places::Places::from_environment) does, when a program asks it
/// to.
#[derive(Clone)]
pub struct Environment {
    /// Where a mosaic's name is looked up.
    pub config_dir: PathBuf,
    /// Where drivers are looked for.
    pub search: SearchPath,
    /// How long a lock is waited for.
    pub lock_timeout: Duration,
    /// Log, progress, cancellation.
    pub services: Arc<dyn Services>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("config_dir", &self.config_dir)
            .field("lock_timeout", &self.lock_timeout)
            .finish_non_exhaustive()
    }
}

/// Whether a changing verb changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It did.
    Yes,
    /// All was as asked for already, and that was allowed.
    Unchanged,
}

/// A mosaic as a whole.
#[derive(Debug, Clone)]
pub struct MosaicInfo {
    /// The mosaic's name.
    pub name: String,
    /// Its config file.
    pub config: PathBuf,
    /// The driver's type.
    pub driver: String,
    /// The driver package's version.
    pub driver_version: String,
    /// The ABI version that the driver was built with.
    pub driver_abi: String,
    /// The driver's file.
    pub driver_file: PathBuf,
    /// Where the data is: a path, or what the driver knows it by.
    pub location: PathBuf,
    /// File system of new volumes, where configured.
    pub default_fs: Option<String>,
    /// Where the metadata is, relative to the location, where configured.
    pub layout_fs: Option<PathBuf>,
    /// Where the metadata is mounted in this namespace.
    pub metadata_mounted: Vec<PathBuf>,
    /// What can be done here, and for the rest why not.
    pub capabilities: Vec<Capability>,
    /// How full it is.
    pub space: Vec<Space>,
    /// What else the driver says of the location.
    pub about: About,
}

/// A volume with what the host knows of it.
#[derive(Debug, Clone)]
pub struct VolumeInfo {
    /// The name to show: the user's where the volume map leads from it to the stored one.
    pub name: String,
    /// The name to show of the volume that it was cloned from, where the location knows.
    pub origin: Option<String>,
    /// What the driver says.
    pub volume: Volume,
    /// Where it is mounted in this namespace.
    pub mounted: Vec<PathBuf>,
}

impl VolumeInfo {
    /// `mounted`, `attached`, `in use` (by somebody else's device) or `idle`.
    pub fn state(&self) -> &'static str {
        match &self.volume.attachment {
            _ if !self.mounted.is_empty() => "mounted",
            Some(attachment) if attachment.foreign => "in use",
            Some(attachment) if attachment.lifetime == crate::volume::Lifetime::Explicit => {
                "attached"
            }
            Some(_) => "in use",
            None => "idle",
        }
    }
}

/// An open mosaic.
#[derive(Debug)]
pub struct Mosaic {
    environment: Environment,
    config: Config,
    loaded: Loaded,
    driver: ImportedDriver,
    /// The services that the driver has.
    said: Arc<Said>,
}

impl Mosaic {
    /// Opens a mosaic by name or config path: reads the config, loads the one driver, opens the
    /// location. Nothing is changed.
    ///
    /// # Errors
    /// `NotFound`, `Config`, and what the driver says of its location.
    pub fn open(environment: &Environment, name: &OsStr) -> Result<Self> {
        foreign::keep_off_standard_streams()?;
        let (config, loaded) = configure(environment, name)?;
        let said = Arc::new(Said::new(environment.services.clone()));
        let driver = loaded
            .module
            .open(said.clone(), &config.settings)
            .map_err(|error| config.at_line(error))
            .context(|| format!("cannot open mosaic {:?}", config.name))?;
        Ok(Self {
            environment: environment.clone(),
            config,
            loaded,
            driver,
            said,
        })
    }

    /// Makes the location of a mosaic, where its driver can; returns a line for each thing made, and
    /// whether there is one.
    ///
    /// # Errors
    /// `Exists` if something is there already; `Unsupported`, also for an option that the driver
    /// does not have.
    pub fn init(
        environment: &Environment,
        name: &OsStr,
        options: &InitOptions,
    ) -> Result<(Changed, Vec<String>)> {
        foreign::keep_off_standard_streams()?;
        let (config, loaded) = configure(environment, name)?;
        let made = loaded
            .module
            .init(environment.services.clone(), &config.settings, options)
            .map_err(|error| config.at_line(error))
            .context(|| format!("cannot make the location of mosaic {:?}", config.name))?;
        let changed = match made.is_empty() {
            true => Changed::Unchanged,
            false => Changed::Yes,
        };
        Ok((changed, made))
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The driver.
    pub fn driver(&self) -> &Loaded {
        &self.loaded
    }

    /// What the mosaic is, can do, and how full it is.
    ///
    /// # Errors
    /// Whatever the storage answered.
    pub fn info(&self) -> Result<MosaicInfo> {
        let settings = &self.config.settings;
        Ok(MosaicInfo {
            name: self.config.name.clone(),
            config: self.config.path.clone(),
            driver: self.loaded.module.type_name().to_owned(),
            driver_version: self.loaded.module.version().to_owned(),
            driver_abi: self.loaded.abi.clone(),
            driver_file: self.loaded.file.clone(),
            location: settings.shown_location(),
            default_fs: settings.default_fs.clone(),
            layout_fs: settings.layout_fs.clone(),
            metadata_mounted: self.metadata_mounted()?,
            capabilities: self.capabilities()?,
            space: self.driver.space()?,
            about: self.driver.about()?,
        })
    }

    /// All volumes, by name.
    ///
    /// # Errors
    /// Whatever the storage answered.
    pub fn list(&self) -> Result<Vec<VolumeInfo>> {
        let volumes = self
            .driver
            .list()
            .context(|| format!("cannot list mosaic {:?}", self.config.name))?;
        let table = MountTable::read()?;
        let mut directories = DirectoryMounts::new(self, &table);
        let mut infos = volumes
            .into_iter()
            .map(|volume| self.describe(volume, &table, &mut directories))
            .collect::<Result<Vec<_>>>()?;
        let shown: HashMap<_, _> = infos
            .iter()
            .map(|info| (info.volume.stored.clone(), info.name.clone()))
            .collect();
        for origin in infos.iter_mut().filter_map(|info| info.origin.as_mut()) {
            if let Some(name) = shown.get(origin) {
                origin.clone_from(name);
            }
        }
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(infos)
    }

    /// Whether a volume exists.
    ///
    /// # Errors
    /// `Exists` if something that is no volume has the name; `Invalid` for a name that none can
    /// have.
    pub fn have(&self, volume: &str) -> Result<bool> {
        Ok(self.driver.find(&self.name(volume)?)?.is_some())
    }

    /// What the driver says of one volume.
    ///
    /// # Errors
    /// `NotFound`; as [`Mosaic::have`].
    pub fn volume(&self, volume: &str) -> Result<Volume> {
        self.existing(&self.name(volume)?)
    }

    /// What can be done here, and for the rest why not.
    ///
    /// # Errors
    /// Whatever the storage answered.
    pub fn capabilities(&self) -> Result<Vec<Capability>> {
        self.driver.capabilities(None)
    }

    /// One volume, and what can be done with it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn volume_info(&self, volume: &str) -> Result<(VolumeInfo, Vec<Capability>)> {
        let name = self.name(volume)?;
        let found = self.existing(&name)?;
        let capabilities = self.driver.capabilities(Some(&name))?;
        let table = MountTable::read()?;
        let mut info = self.describe(found, &table, &mut DirectoryMounts::new(self, &table))?;
        info.origin = info.origin.map(|stored| self.shown_name_of(stored));
        Ok((info, capabilities))
    }

    /// The name to show of another volume; its stored one if it cannot be found any more.
    fn shown_name_of(&self, stored: String) -> String {
        let found = VolumeName::parse(&stored).and_then(|name| self.driver.find(&name));
        match found {
            Ok(Some(volume)) => self.config.shown_name(&stored, volume.user.as_deref()),
            _ => stored,
        }
    }

    fn describe(
        &self,
        volume: Volume,
        table: &MountTable,
        directories: &mut DirectoryMounts<'_>,
    ) -> Result<VolumeInfo> {
        let name = self
            .config
            .shown_name(&volume.stored, volume.user.as_deref());
        let mounted = match (volume.access, &volume.attachment) {
            // A device that went away since is mounted nowhere.
            (Access::Device, Some(attachment)) => match table.of_device(&attachment.device) {
                Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
                other => other?,
            },
            (Access::Device, None) => Vec::new(),
            (Access::Directory, _) => directories.of(&volume)?,
        };
        Ok(VolumeInfo {
            name,
            origin: volume.origin.clone(),
            volume,
            mounted,
        })
    }

    /// The name of a volume: checked, mapped, and one that the location can hold.
    fn name(&self, volume: &str) -> Result<VolumeName> {
        let name = self.config.volume_name(volume)?;
        self.driver.validate_name(&name)?;
        Ok(name)
    }

    fn existing(&self, name: &VolumeName) -> Result<Volume> {
        self.driver.find(name)?.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("volume \"{name}\" does not exist"),
            )
        })
    }

    /// Where the metadata is mounted, be it a directory or a file system of its own.
    fn metadata_mounted(&self) -> Result<Vec<PathBuf>> {
        if let Ok(Some(dir)) = self.metadata_directory() {
            return MountTable::read()?.of_directory(dir.as_fd());
        }
        let device = self.driver.metadata().ok().and_then(|m| m.attachment);
        match device {
            Some(Attachment { device, .. }) => MountTable::read()?.of_device(&device),
            None => Ok(Vec::new()),
        }
    }

    /// The directory of the metadata, where the location is a directory and `layout.fs` is set.
    fn metadata_directory(&self) -> Result<Option<std::os::fd::OwnedFd>> {
        let Some(layout) = &self.config.settings.layout_fs else {
            return Ok(None);
        };
        let LockScope::Directory(path) = self.driver.lock_scope()? else {
            return Ok(None);
        };
        let dir = Location::open(&path)?.open_metadata(Some(layout))?;
        Ok(Some(dir))
    }

    /// Refuses with the driver's reason if it cannot do that with this volume, or here.
    fn require(&self, capability: &str, volume: Option<&VolumeName>) -> Result<()> {
        let capabilities = self.driver.capabilities(volume)?;
        match capabilities.into_iter().find(|c| c.name == capability) {
            Some(Capability { refusal: None, .. }) => Ok(()),
            Some(Capability {
                refusal: Some(reason),
                ..
            }) => Err(Error::new(ErrorKind::Unsupported, reason)),
            None => Err(Error::new(
                ErrorKind::Unsupported,
                format!("driver {:?} cannot do that", self.loaded.module.type_name()),
            )),
        }
    }

    /// Refuses before anything is touched what only root may do.
    fn require_root(what: &str) -> Result<()> {
        let admin = rustix::thread::capabilities(None).is_ok_and(|sets| {
            sets.effective
                .contains(rustix::thread::CapabilitySet::SYS_ADMIN)
        });
        if admin {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Permission,
            format!("{what} needs root (CAP_SYS_ADMIN)"),
        ))
    }

    /// The services as the modules see them that drivers share.
    fn host(&self) -> Host {
        Host::new(self.environment.services.clone())
    }
}

/// Reads the config, loads the driver that it names, checks the driver's keys.
fn configure(environment: &Environment, name: &OsStr) -> Result<(Config, Loaded)> {
    let file: ConfigFile = config::find(&environment.config_dir, name)?;
    let draft = config::load(&file)?;
    let loaded = match loader::load(&environment.search, draft.driver_type()) {
        Ok(loaded) => loaded,
        Err(error) => return Err(draft.faults_without_schema(error)),
    };
    let schema = loaded.module.schema()?;
    Ok((draft.check(&schema)?, loaded))
}
