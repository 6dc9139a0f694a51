// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's side of the border: a loaded driver as plain Rust.

use std::fmt;
use std::sync::Arc;

use mosaic_abi::abi_stable::std_types::{RResult, RVec};
use mosaic_abi::{AbiError, AbiFinding, DriverBox, DriverModuleRef, HOLD_SHARED, Options};

use crate::border::{self, name_out};
use crate::driver::LockScope;
use crate::error::{ErrorKind, Result};
use crate::finding::{self, Finding, Repair};
use crate::host_services::{Host, Services};
use crate::name::VolumeName;
use crate::scratch::{Place, ScratchName};
use crate::settings::{Key, Settings};
use crate::size::Bytes;
use crate::volume::{
    About, Attachment, Capability, CloneOptions, Dropped, InitOptions, MountSource, NewVolume,
    Space, Volume,
};

fn received<T>(result: RResult<T, AbiError>) -> Result<T> {
    result.into_result().map_err(border::error_in)
}

/// A driver's module: what it is, without an open location.
#[derive(Clone, Copy)]
pub struct ImportedModule(DriverModuleRef);

impl ImportedModule {
    pub(crate) fn new(module: DriverModuleRef) -> Self {
        Self(module)
    }

    /// Its type.
    pub fn type_name(&self) -> &'static str {
        self.0.type_name().as_str()
    }

    /// Other types under which it may be asked for.
    pub fn aliases(&self) -> Vec<&'static str> {
        (self.0.aliases())().iter().map(|a| a.as_str()).collect()
    }

    /// The driver package's version.
    pub fn version(&self) -> &'static str {
        self.0.version().as_str()
    }

    /// One line.
    pub fn description(&self) -> &'static str {
        self.0.description().as_str()
    }

    /// The driver's config keys.
    ///
    /// # Errors
    /// The driver's.
    pub fn schema(&self) -> Result<Vec<Key>> {
        let keys = received((self.0.schema())())?;
        let keys = keys.into_iter().filter(border::is_config_key);
        Ok(keys.map(border::key_in).collect())
    }

    /// [`Driver::init`](crate::Driver::init).
    ///
    /// # Errors
    /// The driver's.
    pub fn init(
        &self,
        services: Arc<dyn Services>,
        settings: &Settings,
        options: &InitOptions,
    ) -> Result<Vec<String>> {
        let lines = received((self.0.init())(
            Host::object(services),
            border::settings_out(settings)?,
            border::init_options_out(options),
        ))?;
        Ok(lines.into_iter().map(Into::into).collect())
    }

    /// [`Driver::open`](crate::Driver::open).
    ///
    /// # Errors
    /// The driver's.
    pub fn open(&self, services: Arc<dyn Services>, settings: &Settings) -> Result<ImportedDriver> {
        received((self.0.open())(
            Host::object(services),
            border::settings_out(settings)?,
        ))
        .map(ImportedDriver)
    }
}

impl fmt::Debug for ImportedModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ImportedModule")
            .field(&self.type_name())
            .finish()
    }
}

/// An open location of a loaded driver. The methods are those of [`Driver`](crate::Driver).
pub struct ImportedDriver(DriverBox);

impl fmt::Debug for ImportedDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImportedDriver")
    }
}

#[expect(
    clippy::missing_errors_doc,
    missing_docs,
    reason = "each method is the one of the same name in Driver"
)]
impl ImportedDriver {
    pub fn lock_scope(&self) -> Result<LockScope> {
        border::lock_scope_in(received(self.0.lock_scope())?)
    }

    pub fn clone_changes_source(&self) -> Result<bool> {
        Ok(received(self.0.lock_scope())?.clone_source != HOLD_SHARED)
    }

    pub fn recover(&self) -> Result<()> {
        received(self.0.recover())
    }

    pub fn validate_name(&self, name: &VolumeName) -> Result<()> {
        received(self.0.validate_name(name_out(name)))
    }

    pub fn capabilities(&self, volume: Option<&VolumeName>) -> Result<Vec<Capability>> {
        let answer = received(self.0.capabilities(border::volume_name_option(volume)))?;
        Ok(answer.into_iter().map(border::capability_in).collect())
    }

    pub fn space(&self) -> Result<Vec<Space>> {
        let answer = received(self.0.space())?;
        Ok(answer.into_iter().map(border::space_in).collect())
    }

    pub fn about(&self) -> Result<About> {
        received(self.0.about()).map(border::about_in)
    }

    pub fn list(&self) -> Result<Vec<Volume>> {
        received(self.0.list())?
            .into_iter()
            .map(border::volume_in)
            .collect()
    }

    pub fn find(&self, name: &VolumeName) -> Result<Option<Volume>> {
        received(self.0.find(name_out(name)))?
            .into_option()
            .map(border::volume_in)
            .transpose()
    }

    pub fn metadata(&self) -> Result<Volume> {
        border::volume_in(received(self.0.metadata())?)
    }

    pub fn create(&self, name: &VolumeName, new: &NewVolume) -> Result<()> {
        received(self.0.create(name_out(name), border::new_volume_out(new)))
    }

    pub fn clone_volume(
        &self,
        from: &VolumeName,
        to: &VolumeName,
        how: &CloneOptions,
    ) -> Result<()> {
        received(
            self.0
                .clone_volume(name_out(from), name_out(to), border::clone_out(how)),
        )
    }

    pub fn drop_volume(&self, name: &VolumeName, scratch: &ScratchName) -> Result<Dropped> {
        let scratch = scratch.as_str().into();
        let dropped = self.0.drop_volume(name_out(name), scratch, Options::new());
        received(dropped).map(border::dropped_in)
    }

    pub fn await_space(&self, dropped: &Dropped) -> Result<()> {
        let dropped = border::dropped_out(dropped.clone());
        received(self.0.await_space(dropped, Options::new()))
    }

    pub fn rename(&self, from: &VolumeName, to: &VolumeName) -> Result<()> {
        received(self.0.rename(name_out(from), name_out(to), Options::new()))
    }

    pub fn resize(&self, name: &VolumeName, size: Bytes) -> Result<()> {
        received(self.0.resize(name_out(name), size.0, Options::new()))
    }

    pub fn attach(&self, name: &VolumeName, read_only: bool) -> Result<Attachment> {
        let attached = self.0.attach(name_out(name), read_only, Options::new());
        border::attachment_in(received(attached)?)
    }

    pub fn detach(&self, name: &VolumeName) -> Result<()> {
        received(self.0.detach(name_out(name), Options::new()))
    }

    pub fn mount_source(&self, name: Option<&VolumeName>, read_only: bool) -> Result<MountSource> {
        let name = border::volume_name_option(name);
        let source = self.0.mount_source(name, read_only, Options::new());
        border::mount_source_in(received(source)?)
    }

    pub fn remove_leftover(&self, place: Place, name: &ScratchName) -> Result<()> {
        let (place, name) = (place.folder().into(), name.as_str().into());
        received(self.0.remove_leftover(place, name))
    }

    /// A driver from before there were classes refuses to be asked for some, before it does
    /// anything. All that it can mend is one class then.
    pub fn check(&self, repair: &Repair) -> Result<Vec<Finding>> {
        let mut answer = self.checked(repair);
        if let (Err(refusal), Repair::Classes(classes)) = (&answer, repair)
            && refusal.kind() == ErrorKind::Unsupported
        {
            let found = self.checked(&Repair::Nothing)?;
            if !found.iter().any(border::has_class) {
                answer = match classes.iter().any(|class| class == finding::OTHER) {
                    true => self.checked(&Repair::Usual),
                    false => Ok(found),
                };
            }
        }
        Ok(answer?.into_iter().map(border::finding_in).collect())
    }

    fn checked(&self, repair: &Repair) -> Result<RVec<AbiFinding>> {
        let (repair, options) = border::repair_out(repair);
        received(self.0.check(repair, options))
    }
}
