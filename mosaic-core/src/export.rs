// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`export_driver!`](crate::export_driver): from a [`Driver`] to what a shared object exports.
//!
//! Everything a driver's author would otherwise write by hand stands here once: the root module,
//! conversion of arguments and results, the catching of panics, and the ELF note from which
//! `moctl drivers` reads what a file is without running it.

#![allow(
    unsafe_code,
    reason = "drops an object of the driver where a panic is caught"
)]

mod guard;
mod note;

pub use self::note::{NOTE_KIND, NOTE_NAME};
#[doc(hidden)]
pub use self::note::{Note, NoteText};
#[doc(hidden)]
pub use mosaic_abi;

use std::mem::ManuallyDrop;

use mosaic_abi::abi_stable::prefix_type::PrefixTypeTrait;
use mosaic_abi::abi_stable::sabi_trait::TD_Opaque;
use mosaic_abi::abi_stable::std_types::{ROption, RStr, RString, RVec};
use mosaic_abi::{
    AbiAbout, AbiAttachment, AbiCapability, AbiClone, AbiDriver, AbiDriver_TO, AbiDropped,
    AbiFinding, AbiKey, AbiLockScope, AbiMountSource, AbiName, AbiNewVolume, AbiResult,
    AbiSettings, AbiSpace, AbiVolume, DriverBox, DriverModule, DriverModuleRef, HostBox, Options,
};

use self::guard::guard;
use crate::border;
use crate::driver::Driver;
use crate::host_services::Host;
use crate::scratch::{Place, ScratchName};
use crate::size::Bytes;

/// Exports a [`Driver`] from a `cdylib`.
///
/// The crate's own name and version go into the module and the note. A panic in any method becomes
/// an error at the border, which is why a driver cannot be built with `panic = "abort"`.
///
/// ```text
/// mosaic_core::export_driver!(Plain);
/// ```
#[macro_export]
macro_rules! export_driver {
    ($driver:ty) => {
        #[cfg(panic = "abort")]
        compile_error!(
            "a Mosaic driver must be built with panic = \"unwind\": its panics become errors"
        );

        #[allow(unsafe_code, reason = "the exported symbols of a driver")]
        const _: () = {
            use $crate::export::mosaic_abi::abi_stable::library as __library;
            type __Driver = $driver;

            extern "C" fn __erased_module() -> __library::RootModuleResult {
                fn module() -> $crate::export::mosaic_abi::DriverModuleRef {
                    $crate::export::module::<__Driver>(env!("CARGO_PKG_VERSION"))
                }
                __library::__call_root_module_loader(module)
            }

            // The name that abi_stable's loader looks for; a test holds it against the constant.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            pub static __LIB_HEADER: __library::LibHeader =
                // SAFETY: the constructor returns the module type that the header is made for.
                unsafe {
                    __library::LibHeader::from_constructor::<
                        $crate::export::mosaic_abi::DriverModuleRef,
                    >(__erased_module, __library::CheckTypeLayout::Yes)
                };

            const __TEXT: $crate::export::NoteText =
                $crate::export::NoteText::of::<__Driver>(env!("CARGO_PKG_VERSION"));
            #[used]
            #[unsafe(link_section = ".note.mosaic")]
            static __NOTE: $crate::export::Note<{ __TEXT.len() }> =
                $crate::export::Note::new(&__TEXT);
        };
    };
}

/// The root module of a driver.
#[doc(hidden)]
pub fn module<D: Driver>(version: &'static str) -> DriverModuleRef {
    guard::note_panics();
    DriverModule {
        type_name: D::TYPE.into(),
        aliases: aliases::<D>,
        version: version.into(),
        description: D::DESCRIPTION.into(),
        schema: schema::<D>,
        init: init::<D>,
        open: open::<D>,
    }
    .leak_into_prefix()
}

extern "C" fn aliases<D: Driver>() -> RVec<RStr<'static>> {
    D::ALIASES.iter().map(|alias| RStr::from(*alias)).collect()
}

extern "C" fn schema<D: Driver>() -> AbiResult<RVec<AbiKey>> {
    guard(|| Ok(D::schema().into_iter().map(border::key_out).collect()))
}

extern "C" fn init<D: Driver>(
    host: HostBox,
    settings: AbiSettings,
    options: Options,
) -> AbiResult<RVec<RString>> {
    guard(|| {
        let options = border::init_options_in(options)?;
        if let Some((option, _)) = options.given().find(|o| !D::INIT_OPTIONS.contains(&o.0)) {
            return Err(D::unsupported(&format!("init --{option}")));
        }
        let (host, settings) = (Host::from_object(host), border::settings_in(settings));
        let lines = D::init(&host, &settings, &options)?;
        Ok(lines.into_iter().map(RString::from).collect())
    })
}

extern "C" fn open<D: Driver>(host: HostBox, settings: AbiSettings) -> AbiResult<DriverBox> {
    guard(|| {
        let driver = D::open(Host::from_object(host), &border::settings_in(settings))?;
        Ok(AbiDriver_TO::from_value(
            Exported(ManuallyDrop::new(driver)),
            TD_Opaque,
        ))
    })
}

/// A [`Driver`] as the C-layout object.
struct Exported<D>(ManuallyDrop<D>);

impl<D> Drop for Exported<D> {
    fn drop(&mut self) {
        let _ = guard(|| {
            // SAFETY: the value is not used again, as `self` goes.
            unsafe { ManuallyDrop::drop(&mut self.0) };
            Ok(())
        });
    }
}

impl<D: Driver> AbiDriver for Exported<D> {
    fn lock_scope(&self) -> AbiResult<AbiLockScope> {
        guard(|| {
            let (scope, changed) = (self.0.lock_scope()?, self.0.clone_changes_source());
            Ok(border::lock_scope_out(&scope, changed))
        })
    }

    fn recover(&self) -> AbiResult<()> {
        guard(|| self.0.recover())
    }

    fn validate_name(&self, name: AbiName) -> AbiResult<()> {
        guard(|| self.0.validate_name(&border::name_in(&name)?))
    }

    fn capabilities(&self, volume: ROption<AbiName>) -> AbiResult<RVec<AbiCapability>> {
        guard(|| {
            let name = volume
                .into_option()
                .map(|n| border::name_in(&n))
                .transpose()?;
            let capabilities = self.0.capabilities(name.as_ref())?;
            Ok(capabilities
                .into_iter()
                .map(border::capability_out)
                .collect())
        })
    }

    fn space(&self) -> AbiResult<RVec<AbiSpace>> {
        guard(|| Ok(self.0.space()?.into_iter().map(border::space_out).collect()))
    }

    fn about(&self) -> AbiResult<AbiAbout> {
        guard(|| self.0.about().map(border::about_out))
    }

    fn list(&self) -> AbiResult<RVec<AbiVolume>> {
        guard(|| Ok(self.0.list()?.into_iter().map(border::volume_out).collect()))
    }

    fn find(&self, name: AbiName) -> AbiResult<ROption<AbiVolume>> {
        guard(|| {
            let volume = self.0.find(&border::name_in(&name)?)?;
            Ok(volume.map(border::volume_out).into())
        })
    }

    fn metadata(&self) -> AbiResult<AbiVolume> {
        guard(|| Ok(border::volume_out(self.0.metadata()?)))
    }

    fn create(&self, name: AbiName, new: AbiNewVolume) -> AbiResult<()> {
        guard(|| {
            let new = border::new_volume_in(new)?;
            self.0.create(&border::name_in(&name)?, &new)
        })
    }

    fn clone_volume(&self, from: AbiName, to: AbiName, how: AbiClone) -> AbiResult<()> {
        guard(|| {
            let (from, to) = (border::name_in(&from)?, border::name_in(&to)?);
            self.0.clone_volume(&from, &to, &border::clone_in(&how)?)
        })
    }

    fn drop_volume(
        &self,
        name: AbiName,
        scratch: RStr<'_>,
        options: Options,
    ) -> AbiResult<AbiDropped> {
        guard(|| {
            border::refuse_unknown(&options)?;
            let scratch = ScratchName::parse(scratch.as_str())?;
            let dropped = self.0.drop_volume(&border::name_in(&name)?, &scratch)?;
            Ok(border::dropped_out(dropped))
        })
    }

    fn await_space(&self, dropped: AbiDropped, options: Options) -> AbiResult<()> {
        guard(|| {
            border::refuse_unknown(&options)?;
            border::refuse_unknown(&dropped.extra)?;
            self.0.await_space(&border::dropped_in(dropped))
        })
    }

    fn rename(&self, from: AbiName, to: AbiName, options: Options) -> AbiResult<()> {
        guard(|| {
            border::refuse_unknown(&options)?;
            let (from, to) = (border::name_in(&from)?, border::name_in(&to)?);
            self.0.rename(&from, &to)
        })
    }

    fn resize(&self, name: AbiName, size: u64, options: Options) -> AbiResult<()> {
        guard(|| {
            border::refuse_unknown(&options)?;
            self.0.resize(&border::name_in(&name)?, Bytes(size))
        })
    }

    fn attach(&self, name: AbiName, read_only: bool, options: Options) -> AbiResult<AbiAttachment> {
        guard(|| {
            border::refuse_unknown(&options)?;
            let attachment = self.0.attach(&border::name_in(&name)?, read_only)?;
            Ok(border::attachment_out(attachment))
        })
    }

    fn detach(&self, name: AbiName, options: Options) -> AbiResult<()> {
        guard(|| {
            border::refuse_unknown(&options)?;
            self.0.detach(&border::name_in(&name)?)
        })
    }

    fn mount_source(
        &self,
        name: ROption<AbiName>,
        read_only: bool,
        options: Options,
    ) -> AbiResult<AbiMountSource> {
        guard(|| {
            border::refuse_unknown(&options)?;
            let name = name
                .into_option()
                .map(|n| border::name_in(&n))
                .transpose()?;
            let source = self.0.mount_source(name.as_ref(), read_only)?;
            Ok(border::mount_source_out(source))
        })
    }

    fn remove_leftover(&self, place: RStr<'_>, name: RStr<'_>) -> AbiResult<()> {
        guard(|| {
            let place = Place::from_folder(place.as_str())?;
            let name = ScratchName::parse(name.as_str())?;
            self.0.remove_leftover(place, &name)
        })
    }

    fn check(&self, repair: bool, options: Options) -> AbiResult<RVec<AbiFinding>> {
        guard(|| {
            let findings = self.0.check(&border::repair_in(repair, options)?)?;
            Ok(findings.into_iter().map(border::finding_out).collect())
        })
    }
}

#[cfg(test)]
mod tests;
