// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver's root module and its object: one open location.

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_trait;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RBox, ROption, RStr, RString, RVec};

use crate::host::HostBox;
use crate::types::*;

/// What a driver's file exports. Read without opening a location.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = DriverModuleRef)))]
#[sabi(missing_field(option))]
pub struct DriverModule {
    /// `loop`, `plain`.
    pub type_name: RStr<'static>,
    /// Other types under which it may be asked for.
    pub aliases: extern "C" fn() -> RVec<RStr<'static>>,
    /// The driver package's own version.
    pub version: RStr<'static>,
    /// One line.
    pub description: RStr<'static>,
    /// Its config keys.
    pub schema: extern "C" fn() -> AbiResult<RVec<AbiKey>>,
    /// Makes the location; returns a line for each thing it made. Options: `quota`, a word; `adopt` and
    /// `force`, `true`.
    pub init: extern "C" fn(HostBox, AbiSettings, Options) -> AbiResult<RVec<RString>>,
    /// Opens the location.
    #[sabi(last_prefix_field)]
    pub open: extern "C" fn(HostBox, AbiSettings) -> AbiResult<DriverBox>,
}

impl RootModule for DriverModuleRef {
    abi_stable::declare_root_module_statics! {DriverModuleRef}
    const BASE_NAME: &'static str = "mosaic";
    const NAME: &'static str = "mosaic";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// An open location. Each method is one of `mosaic_core::Driver`, where it is documented.
///
/// Mandatory up to the mark; everything after it must have a default body that refuses.
#[sabi_trait]
pub trait AbiDriver: Send + Sync {
    /// `Driver::lock_scope`
    fn lock_scope(&self) -> AbiResult<AbiLockScope>;
    /// `Driver::recover`
    fn recover(&self) -> AbiResult<()>;
    /// `Driver::validate_name`
    fn validate_name(&self, name: AbiName) -> AbiResult<()>;
    /// `Driver::capabilities`
    fn capabilities(&self, volume: ROption<AbiName>) -> AbiResult<RVec<AbiCapability>>;
    /// `Driver::space`
    fn space(&self) -> AbiResult<RVec<AbiSpace>>;
    /// `Driver::about`
    fn about(&self) -> AbiResult<AbiAbout>;
    /// `Driver::list`
    fn list(&self) -> AbiResult<RVec<AbiVolume>>;
    /// `Driver::find`
    fn find(&self, name: AbiName) -> AbiResult<ROption<AbiVolume>>;
    /// `Driver::metadata`
    fn metadata(&self) -> AbiResult<AbiVolume>;
    /// `Driver::create`
    fn create(&self, name: AbiName, new: AbiNewVolume) -> AbiResult<()>;
    /// `Driver::clone_volume`
    fn clone_volume(&self, from: AbiName, to: AbiName, how: AbiClone) -> AbiResult<()>;
    /// `Driver::drop_volume`
    fn drop_volume(
        &self,
        name: AbiName,
        scratch: RStr<'_>,
        options: Options,
    ) -> AbiResult<AbiDropped>;
    /// `Driver::await_space`
    fn await_space(&self, dropped: AbiDropped, options: Options) -> AbiResult<()>;
    /// `Driver::rename`
    fn rename(&self, from: AbiName, to: AbiName, options: Options) -> AbiResult<()>;
    /// `Driver::resize`
    fn resize(&self, name: AbiName, size: u64, options: Options) -> AbiResult<()>;
    /// `Driver::attach`
    fn attach(&self, name: AbiName, read_only: bool, options: Options) -> AbiResult<AbiAttachment>;
    /// `Driver::detach`
    fn detach(&self, name: AbiName, options: Options) -> AbiResult<()>;
    /// `Driver::mount_source`
    fn mount_source(
        &self,
        name: ROption<AbiName>,
        read_only: bool,
        options: Options,
    ) -> AbiResult<AbiMountSource>;
    /// `Driver::remove_leftover`
    fn remove_leftover(&self, place: RStr<'_>, name: RStr<'_>) -> AbiResult<()>;
    /// `Driver::check`. Options: `class`, only with `repair`: the classes to be mended, split by
    /// commas; none: all that need not be asked for by name. A driver without classes refuses it, as
    /// any unknown option; the host then has it mend all or nothing, as the class `other`.
    #[sabi(last_prefix_field)]
    fn check(&self, repair: bool, options: Options) -> AbiResult<RVec<AbiFinding>>;
}

/// The owned object that `open` returns.
pub type DriverBox = AbiDriver_TO<'static, RBox<()>>;
