// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver of ABI 1.0, written on the C-layout types alone, so that it stays what it is while
//! `mosaic-core` moves on. It has one volume, and answers each call with something to recognise.

use mosaic_abi::abi_stable::library as abi;
use mosaic_abi::abi_stable::prefix_type::PrefixTypeTrait;
use mosaic_abi::abi_stable::sabi_trait::TD_Opaque;
use mosaic_abi::abi_stable::std_types::{
    RErr, RNone, ROk, ROption, RSome, RStr, RString, RVec, Tuple2,
};
use mosaic_abi::*;

extern "C" fn module() -> abi::RootModuleResult {
    fn module() -> DriverModuleRef {
        DriverModule {
            type_name: "kept".into(),
            aliases,
            version: env!("CARGO_PKG_VERSION").into(),
            description: "The ABI 1.0 as it was".into(),
            schema,
            init,
            open,
        }
        .leak_into_prefix()
    }
    abi::__call_root_module_loader(module)
}

#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
pub static HEADER: abi::LibHeader =
    // SAFETY: the constructor returns the module type that the header is made for.
    unsafe {
        abi::LibHeader::from_constructor::<DriverModuleRef>(module, abi::CheckTypeLayout::Yes)
    };

const TEXT: &[u8; 80] =
    b"abi=1.0.0\0type=kept\0version=1.0.0\0description=The ABI 1.0 as it was\0aliases=\0\0\0\0";

#[repr(C, align(4))]
struct Note(u32, u32, u32, [u8; 8], [u8; TEXT.len()]);

#[used]
#[unsafe(link_section = ".note.mosaic")]
static NOTE: Note = Note(7, TEXT.len() as u32, 1, *b"Mosaic\0\0", *TEXT);

extern "C" fn aliases() -> RVec<RStr<'static>> {
    RVec::new()
}

extern "C" fn schema() -> AbiResult<RVec<AbiKey>> {
    let key = AbiKey {
        path: "colour".into(),
        kind: KEY_CHOICE,
        choices: ["red", "green"].map(RString::from).to_vec().into(),
        default: RSome("red".into()),
        help: "what it is painted with".into(),
        extra: Extra::new(),
    };
    let of_a_later_kind = AbiKey {
        path: "depth".into(),
        kind: 4711,
        ..key.clone()
    };
    let of_a_later_place = AbiKey {
        path: "adopt".into(),
        extra: vec![Tuple2("place".into(), "later".into())].into(),
        ..key.clone()
    };
    ROk(vec![key, of_a_later_kind, of_a_later_place].into())
}

extern "C" fn init(host: HostBox, settings: AbiSettings, _: Options) -> AbiResult<RVec<RString>> {
    host.log(3, "init".into());
    ROk(vec![settings.location].into())
}

extern "C" fn open(host: HostBox, settings: AbiSettings) -> AbiResult<DriverBox> {
    host.progress(1, 2, "open".into());
    if host.cancelled() {
        return RErr(error(11, 0, "interrupted"));
    }
    ROk(AbiDriver_TO::from_value(Kept { host, settings }, TD_Opaque))
}

fn error(kind: u32, errno: i32, message: &str) -> AbiError {
    AbiError {
        kind,
        errno,
        message: message.into(),
        causes: vec![RString::from("because of a cause")].into(),
        extra: Extra::new(),
    }
}

/// What a later minor may add to an answer.
fn later() -> Extra {
    vec![Tuple2("later".into(), "not for you".into())].into()
}

struct Kept {
    host: HostBox,
    settings: AbiSettings,
}

fn volume() -> AbiVolume {
    AbiVolume {
        name: AbiName {
            user: "one".into(),
            stored: "stored/one".into(),
            extra: later(),
        },
        kind: KIND_FS,
        fs: "ext4".into(),
        access: ACCESS_DEVICE,
        size: RSome(1 << 30),
        used: RSome(4096),
        exclusive: RNone,
        origin: RSome("zero".into()),
        read_only: true,
        attachment: RSome(attachment()),
        notes: vec![RString::from("a note")].into(),
        extra: vec![
            Tuple2("a fact".into(), "its value".into()),
            Tuple2("mosaic.later".into(), "not a fact".into()),
        ]
        .into(),
    }
}

fn attachment() -> AbiAttachment {
    AbiAttachment {
        device: "/dev/null".into(),
        lifetime: LIFETIME_MOUNT,
        read_only: true,
        foreign: false,
        extra: Extra::new(),
    }
}

impl AbiDriver for Kept {
    fn lock_scope(&self) -> AbiResult<AbiLockScope> {
        ROk(AbiLockScope {
            kind: LOCK_DIRECTORY,
            path: self.settings.location.clone(),
            clone_source: HOLD_EXCLUSIVE,
            extra: later(),
        })
    }

    fn recover(&self) -> AbiResult<()> {
        ROk(())
    }

    fn validate_name(&self, name: AbiName) -> AbiResult<()> {
        self.host.log(2, name.user.as_rstr());
        ROk(())
    }

    fn capabilities(&self, _: ROption<AbiName>) -> AbiResult<RVec<AbiCapability>> {
        let clone = AbiCapability {
            name: "clone".into(),
            refusal: RSome("it is only kept".into()),
            extra: later(),
        };
        ROk(vec![clone].into())
    }

    fn space(&self) -> AbiResult<RVec<AbiSpace>> {
        let space = AbiSpace {
            class: "data".into(),
            total: 10,
            used: 3,
            free: 7,
            extra: later(),
        };
        ROk(vec![space].into())
    }

    fn about(&self) -> AbiResult<AbiAbout> {
        ROk(AbiAbout {
            notes: vec![RString::from("a note on the location")].into(),
            extra: volume().extra,
        })
    }

    fn list(&self) -> AbiResult<RVec<AbiVolume>> {
        let of_a_later_kind = AbiVolume {
            kind: 4711,
            ..volume()
        };
        ROk(vec![volume(), of_a_later_kind].into())
    }

    fn find(&self, name: AbiName) -> AbiResult<ROption<AbiVolume>> {
        let mut volume = volume();
        if name.user == "slow" {
            volume.name = name.clone();
        }
        ROk(Some(volume).filter(|v| v.name.user == name.user).into())
    }

    fn metadata(&self) -> AbiResult<AbiVolume> {
        RErr(error(6, 95, "no metadata here"))
    }

    fn create(&self, _: AbiName, new: AbiNewVolume) -> AbiResult<()> {
        RErr(error(7, 28, &format!("no space for {}", new.size)))
    }

    fn clone_volume(&self, _: AbiName, _: AbiName, _: AbiClone) -> AbiResult<()> {
        // A kind that nobody knows.
        RErr(error(4711, 0, "cannot clone"))
    }

    fn drop_volume(&self, name: AbiName, _: RStr<'_>, _: Options) -> AbiResult<AbiDropped> {
        if name.user == "one" {
            return RErr(error(5, 16, "in use"));
        }
        ROk(AbiDropped {
            pending: vec![format!("blocks of {}", name.stored).into()].into(),
            extra: later(),
        })
    }

    fn await_space(&self, dropped: AbiDropped, _: Options) -> AbiResult<()> {
        for word in dropped.pending {
            self.host.log(3, word.as_rstr());
        }
        match self.host.cancelled() {
            true => RErr(error(11, 0, "interrupted")),
            false => ROk(()),
        }
    }

    fn rename(&self, _: AbiName, _: AbiName, _: Options) -> AbiResult<()> {
        ROk(())
    }

    fn resize(&self, _: AbiName, _: u64, _: Options) -> AbiResult<()> {
        ROk(())
    }

    fn attach(&self, _: AbiName, _: bool, _: Options) -> AbiResult<AbiAttachment> {
        ROk(attachment())
    }

    fn detach(&self, _: AbiName, _: Options) -> AbiResult<()> {
        ROk(())
    }

    fn mount_source(&self, _: ROption<AbiName>, _: bool, _: Options) -> AbiResult<AbiMountSource> {
        RErr(error(5, 16, "in use"))
    }

    fn remove_leftover(&self, _: RStr<'_>, _: RStr<'_>) -> AbiResult<()> {
        ROk(())
    }

    fn check(&self, repair: bool, options: Options) -> AbiResult<RVec<AbiFinding>> {
        if let Some(Tuple2(key, _)) = options.first() {
            return RErr(error(6, 0, &format!("the driver is too old for {key:?}")));
        }
        let finding = AbiFinding {
            volume: "one".into(),
            fault: "it is old".into(),
            remedy: "make it new".into(),
            repaired: repair,
            extra: Extra::new(),
        };
        ROk(vec![finding].into())
    }
}
