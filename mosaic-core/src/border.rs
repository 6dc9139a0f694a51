// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plain Rust to C layout and back: the driver's side, and what both sides share.
//!
//! What comes back is another party's: names are parsed again, unknown numbers are refused, and
//! nothing here panics on them.

#[cfg(feature = "host")]
mod host;

use std::path::PathBuf;

use mosaic_abi::abi_stable::std_types::{ROption, RString, RVec, Tuple2};
use mosaic_abi::{
    ACCESS_DEVICE, ACCESS_DIRECTORY, AbiAbout, AbiAttachment, AbiCapability, AbiClone, AbiDropped,
    AbiError, AbiFinding, AbiKey, AbiLockScope, AbiMountSource, AbiName, AbiNewVolume, AbiSettings,
    AbiSpace, AbiVolume, Extra, HOLD_EXCLUSIVE, HOLD_SHARED, KEY_CHOICE, KEY_FLAG, KEY_INTEGER,
    KEY_PATH, KEY_SIZE, KEY_TEXT, KIND_DISK, KIND_FS, KIND_FS_ASSUMED, LIFETIME_EXPLICIT,
    LIFETIME_MOUNT, LOCK_DEVICE, LOCK_DIRECTORY, SOURCE_DEVICE, SOURCE_DIRECTORY,
};

#[cfg(feature = "host")]
pub(crate) use self::host::*;

use crate::driver::{LockScope, into_raw};
use crate::error::{Error, ErrorKind, Result};
use crate::finding::{Finding, Repair};
use crate::name::VolumeName;
use crate::scratch::ScratchName;
use crate::settings::{Key, KeyKind, Settings};
use crate::size::Bytes;
use crate::volume::{
    About, Access, Attachment, Capability, CloneOptions, Dropped, InitOptions, Kind, Lifetime,
    MountSource, NewKind, NewVolume, Space, Volume,
};

/// A number of an open set that this side does not know.
fn unknown(what: &str, number: u32) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "the other side of the driver border says {what} {number}, which is not known here"
        ),
    )
}

fn option<A, B>(value: Option<A>, convert: impl FnOnce(A) -> B) -> ROption<B> {
    value.map(convert).into()
}

fn text(value: impl AsRef<str>) -> RString {
    value.as_ref().into()
}

/// Paths that a driver answers with are the kernel's, or beneath the location, which is UTF-8; a
/// stray byte shows as a replacement instead of failing the answer.
fn path(value: &std::path::Path) -> RString {
    value.to_string_lossy().as_ref().into()
}

fn pairs<'k, 'v>(values: impl Iterator<Item = (&'k str, &'v str)>) -> Extra {
    values.map(|(k, v)| Tuple2(k.into(), v.into())).collect()
}

fn strings(values: Vec<String>) -> RVec<RString> {
    values.into_iter().map(RString::from).collect()
}

pub(crate) fn error_out(error: &Error) -> AbiError {
    AbiError {
        kind: u32::from(error.kind().exit_status()),
        errno: error.errno().unwrap_or(0),
        message: text(error.to_string()),
        causes: strings(error.causes()),
        extra: pairs(error.key().map(|key| ("key", key)).into_iter()),
    }
}

/// Refuses what a newer host asks for and this side does not know: to ignore it would be to do
/// something else.
pub(crate) fn refuse_unknown(asked: &Extra) -> Result<()> {
    match asked.first() {
        Some(Tuple2(key, _)) => Err(too_old(key)),
        None => Ok(()),
    }
}

fn too_old(key: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the driver is too old for {key:?}; a newer one may know it"),
    )
}

pub(crate) fn init_options_in(options: Extra) -> Result<InitOptions> {
    let mut into = InitOptions::default();
    for Tuple2(key, value) in options {
        match key.as_str() {
            "quota" => into.quota = Some(value.into()),
            "adopt" => into.adopt = value == "true",
            "force" => into.force = value == "true",
            other => return Err(too_old(other)),
        }
    }
    Ok(into)
}

pub(crate) fn name_in(name: &AbiName) -> Result<VolumeName> {
    refuse_unknown(&name.extra)?;
    VolumeName::with_stored(&name.user, &name.stored)
}

pub(crate) fn key_out(key: Key) -> AbiKey {
    let (kind, choices) = match key.kind {
        KeyKind::Text => (KEY_TEXT, Vec::new()),
        KeyKind::Path => (KEY_PATH, Vec::new()),
        KeyKind::Size => (KEY_SIZE, Vec::new()),
        KeyKind::Integer => (KEY_INTEGER, Vec::new()),
        KeyKind::Flag => (KEY_FLAG, Vec::new()),
        KeyKind::Choice(words) => (KEY_CHOICE, words),
    };
    AbiKey {
        path: key.path.into(),
        kind,
        choices: strings(choices),
        default: option(key.default, RString::from),
        help: key.help.into(),
        extra: Extra::new(),
    }
}

pub(crate) fn settings_in(settings: AbiSettings) -> Settings {
    let mut into = Settings::new(PathBuf::from(settings.location.into_string()));
    into.default_fs = settings.default_fs.into_option().map(Into::into);
    into.layout_fs = settings
        .layout_fs
        .into_option()
        .map(|p| PathBuf::from(p.into_string()));
    into.depth = settings.depth;
    into.mapped = settings.mapped;
    for Tuple2(key, value) in settings.values {
        into.set(key, value);
    }
    into
}

pub(crate) fn lock_scope_out(scope: &LockScope, clone_changes_source: bool) -> AbiLockScope {
    let (kind, at) = match scope {
        LockScope::Directory(at) => (LOCK_DIRECTORY, at),
        LockScope::Device(at) => (LOCK_DEVICE, at),
    };
    AbiLockScope {
        kind,
        path: path(at),
        clone_source: match clone_changes_source {
            true => HOLD_EXCLUSIVE,
            false => HOLD_SHARED,
        },
        extra: Extra::new(),
    }
}

pub(crate) fn capability_out(capability: Capability) -> AbiCapability {
    AbiCapability {
        name: capability.name.into(),
        refusal: option(capability.refusal, RString::from),
        extra: Extra::new(),
    }
}

pub(crate) fn space_out(space: Space) -> AbiSpace {
    AbiSpace {
        class: space.class.into(),
        total: space.total.0,
        used: space.used.0,
        free: space.free.0,
        extra: Extra::new(),
    }
}

pub(crate) fn about_out(about: About) -> AbiAbout {
    AbiAbout {
        notes: strings(about.notes),
        extra: facts_out(&about.facts),
    }
}

/// The key of [`Volume::overhead`] beside the facts; none: 0.
const OVERHEAD: &str = "mosaic.overhead";

fn facts_out(facts: &[(String, String)]) -> Extra {
    pairs(facts.iter().map(|(k, v)| (k.as_str(), v.as_str())))
}

pub(crate) fn dropped_out(dropped: Dropped) -> AbiDropped {
    AbiDropped {
        pending: strings(dropped.pending),
        extra: Extra::new(),
    }
}

pub(crate) fn dropped_in(dropped: AbiDropped) -> Dropped {
    Dropped {
        pending: dropped.pending.into_iter().map(Into::into).collect(),
    }
}

pub(crate) fn attachment_out(attachment: Attachment) -> AbiAttachment {
    AbiAttachment {
        device: path(&attachment.device),
        lifetime: match attachment.lifetime {
            Lifetime::Explicit => LIFETIME_EXPLICIT,
            Lifetime::Mount => LIFETIME_MOUNT,
        },
        read_only: attachment.read_only,
        foreign: attachment.foreign,
        extra: Extra::new(),
    }
}

pub(crate) fn volume_out(volume: Volume) -> AbiVolume {
    let (kind, fs) = match volume.kind {
        Kind::Disk => (KIND_DISK, None),
        Kind::Fs { fs, assumed: false } => (KIND_FS, fs),
        Kind::Fs { fs, assumed: true } => (KIND_FS_ASSUMED, fs),
    };
    AbiVolume {
        name: AbiName {
            user: volume.user.unwrap_or_default().into(),
            stored: volume.stored.into(),
            extra: Extra::new(),
        },
        kind,
        fs: fs.unwrap_or_default().into(),
        access: match volume.access {
            Access::Directory => ACCESS_DIRECTORY,
            Access::Device => ACCESS_DEVICE,
        },
        size: option(volume.size, |b| b.0),
        used: option(volume.used, |b| b.0),
        exclusive: option(volume.exclusive, |b| b.0),
        origin: option(volume.origin, RString::from),
        read_only: volume.read_only,
        attachment: option(volume.attachment, attachment_out),
        notes: strings(volume.notes),
        extra: match volume.overhead {
            Bytes(0) => facts_out(&volume.facts),
            Bytes(bytes) => {
                let mut extra = facts_out(&volume.facts);
                extra.push(Tuple2(OVERHEAD.into(), bytes.to_string().into()));
                extra
            }
        },
    }
}

pub(crate) fn new_volume_in(new: AbiNewVolume) -> Result<NewVolume> {
    refuse_unknown(&new.extra)?;
    let fs = Some(new.fs.into_string()).filter(|fs| !fs.is_empty());
    Ok(NewVolume {
        kind: match new.kind {
            KIND_DISK => NewKind::Disk,
            KIND_FS => NewKind::Fs(fs),
            other => return Err(unknown("volume kind", other)),
        },
        size: Bytes(new.size),
        scratch: ScratchName::parse(&new.scratch)?,
    })
}

pub(crate) fn clone_in(how: &AbiClone) -> Result<CloneOptions> {
    refuse_unknown(&how.extra)?;
    Ok(CloneOptions {
        size: how.size.into_option().map(Bytes),
        scratch: ScratchName::parse(&how.scratch)?,
    })
}

/// The key of a remedy's class in what is found and in what is asked for, where several stand with
/// commas between.
const CLASS: &str = "class";
const BY_NAME: &str = "by_name";

pub(crate) fn repair_in(repair: bool, options: Extra) -> Result<Repair> {
    let mut into = match repair {
        true => Repair::Usual,
        false => Repair::Nothing,
    };
    for Tuple2(key, value) in options {
        match (key.as_str(), repair) {
            (CLASS, true) => into = Repair::Classes(value.split(',').map(str::to_owned).collect()),
            (other, _) => return Err(too_old(other)),
        }
    }
    Ok(into)
}

pub(crate) fn finding_out(finding: Finding) -> AbiFinding {
    let (action, extra) = match finding.remedy {
        None => (String::new(), Extra::new()),
        Some(remedy) => {
            let by_name = remedy.is_by_name.then_some((BY_NAME, "true"));
            let class = (CLASS, remedy.class.as_str());
            let extra = pairs(std::iter::once(class).chain(by_name));
            (remedy.action, extra)
        }
    };
    AbiFinding {
        volume: finding.volume.unwrap_or_default().into(),
        fault: finding.fault.into(),
        remedy: action.into(),
        repaired: finding.repaired,
        extra,
    }
}

pub(crate) fn mount_source_out(source: MountSource) -> AbiMountSource {
    let (kind, fd, device) = match source {
        MountSource::Directory(fd) => (SOURCE_DIRECTORY, fd, RString::new()),
        MountSource::Device { path: at, handle } => (SOURCE_DEVICE, handle, path(&at)),
    };
    AbiMountSource {
        kind,
        fd: into_raw(fd),
        device,
        extra: Extra::new(),
    }
}
