// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plain Rust to C layout and back, for both sides of the border.
//!
//! What comes back is another party's: names are parsed again, unknown numbers are refused, and
//! nothing here panics on them.

use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;

use mosaic_abi::abi_stable::std_types::{RNone, ROption, RSome, RString, RVec, Tuple2};
use mosaic_abi::{
    ACCESS_DEVICE, ACCESS_DIRECTORY, AbiAttachment, AbiCapability, AbiClone, AbiError, AbiFinding,
    AbiKey, AbiLockScope, AbiMountSource, AbiName, AbiNewVolume, AbiSettings, AbiSpace, AbiVolume,
    Extra, KEY_CHOICE, KEY_FLAG, KEY_INTEGER, KEY_PATH, KEY_SIZE, KEY_TEXT, KIND_DISK, KIND_FS,
    KIND_FS_ASSUMED, LIFETIME_EXPLICIT, LIFETIME_MOUNT, LOCK_DEVICE, LOCK_DIRECTORY, SOURCE_DEVICE,
    SOURCE_DIRECTORY,
};

use crate::driver::{LockScope, into_raw};
use crate::error::{Error, ErrorKind, Result};
use crate::name::VolumeName;
use crate::scratch::ScratchName;
use crate::settings::{Key, KeyKind, Settings};
use crate::size::Bytes;
use crate::volume::{
    Access, Attachment, Capability, CloneOptions, Finding, Kind, Lifetime, MountSource, NewKind,
    NewVolume, Space, Volume,
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

/// Paths that cross are the kernel's or from the config file; both are UTF-8 there, and a stray
/// byte in a device's path shows as a replacement instead of failing the answer.
fn path(value: &std::path::Path) -> RString {
    value.to_string_lossy().as_ref().into()
}

fn pairs<'a>(values: impl Iterator<Item = (&'a str, &'a str)>) -> Extra {
    values.map(|(k, v)| Tuple2(k.into(), v.into())).collect()
}

fn strings(values: Vec<String>) -> RVec<RString> {
    values.into_iter().map(RString::from).collect()
}

/// An error's source on the receiving side: one text of the chain.
#[derive(Debug)]
struct Cause {
    text: String,
    next: Option<Box<Cause>>,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.next.as_deref().map(|c| c as _)
    }
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

pub(crate) fn error_in(error: AbiError) -> Error {
    let kind = ErrorKind::from_status(error.kind);
    let key = error.extra.iter().find(|pair| pair.0 == "key");
    let mut into = match key {
        Some(pair) => Error::config(pair.1.as_str(), error.message.as_str()).with_kind(kind),
        None => Error::new(kind, error.message.as_str()),
    };
    if error.errno != 0 {
        into = into.with_errno(error.errno);
    }
    let chain = error.causes.into_iter().rev().fold(None, |next, text| {
        Some(Box::new(Cause {
            text: text.into(),
            next,
        }))
    });
    match chain {
        Some(cause) => into.with_source(cause),
        None => into,
    }
}

pub(crate) fn name_out(name: &VolumeName) -> AbiName {
    AbiName {
        user: text(name.user()),
        stored: text(name.stored()),
    }
}

pub(crate) fn name_in(name: &AbiName) -> Result<VolumeName> {
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

#[cfg_attr(not(feature = "host"), expect(dead_code, reason = "the host's side"))]
pub(crate) fn key_in(key: AbiKey) -> Result<Key> {
    let kind = match key.kind {
        KEY_TEXT => KeyKind::Text,
        KEY_PATH => KeyKind::Path,
        KEY_SIZE => KeyKind::Size,
        KEY_INTEGER => KeyKind::Integer,
        KEY_FLAG => KeyKind::Flag,
        KEY_CHOICE => KeyKind::Choice(key.choices.into_iter().map(Into::into).collect()),
        other => return Err(unknown("config key kind", other)),
    };
    Ok(Key {
        path: key.path.into(),
        kind,
        default: key.default.into_option().map(Into::into),
        help: key.help.into(),
    })
}

#[cfg_attr(not(feature = "host"), expect(dead_code, reason = "the host's side"))]
pub(crate) fn settings_out(settings: &Settings) -> AbiSettings {
    AbiSettings {
        location: path(&settings.location),
        default_fs: option(settings.default_fs.as_deref(), text),
        layout_fs: option(settings.layout_fs.as_deref(), path),
        depth: settings.depth,
        mapped: settings.mapped,
        values: pairs(settings.values()),
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

pub(crate) fn lock_scope_out(scope: &LockScope) -> AbiLockScope {
    let (kind, at) = match scope {
        LockScope::Directory(at) => (LOCK_DIRECTORY, at),
        LockScope::Device(at) => (LOCK_DEVICE, at),
    };
    AbiLockScope {
        kind,
        path: path(at),
    }
}

#[cfg_attr(not(feature = "host"), expect(dead_code, reason = "the host's side"))]
pub(crate) fn lock_scope_in(scope: AbiLockScope) -> Result<LockScope> {
    let at = PathBuf::from(scope.path.into_string());
    match scope.kind {
        LOCK_DIRECTORY => Ok(LockScope::Directory(at)),
        LOCK_DEVICE => Ok(LockScope::Device(at)),
        other => Err(unknown("lock scope", other)),
    }
}

pub(crate) fn capability_out(capability: Capability) -> AbiCapability {
    AbiCapability {
        name: capability.name.into(),
        refusal: option(capability.refusal, RString::from),
    }
}

#[cfg_attr(not(feature = "host"), expect(dead_code, reason = "the host's side"))]
pub(crate) fn capability_in(capability: AbiCapability) -> Capability {
    Capability {
        name: capability.name.into(),
        refusal: capability.refusal.into_option().map(Into::into),
    }
}

pub(crate) fn space_out(space: Space) -> AbiSpace {
    AbiSpace {
        class: space.class.into(),
        total: space.total.0,
        used: space.used.0,
        free: space.free.0,
    }
}

#[cfg_attr(not(feature = "host"), expect(dead_code, reason = "the host's side"))]
pub(crate) fn space_in(space: AbiSpace) -> Space {
    Space {
        class: space.class.into(),
        total: Bytes(space.total),
        used: Bytes(space.used),
        free: Bytes(space.free),
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

#[cfg_attr(not(feature = "host"), expect(dead_code, reason = "the host's side"))]
pub(crate) fn attachment_in(attachment: AbiAttachment) -> Result<Attachment> {
    Ok(Attachment {
        device: PathBuf::from(attachment.device.into_string()),
        lifetime: match attachment.lifetime {
            LIFETIME_EXPLICIT => Lifetime::Explicit,
            LIFETIME_MOUNT => Lifetime::Mount,
            other => return Err(unknown("lifetime", other)),
        },
        read_only: attachment.read_only,
        foreign: attachment.foreign,
    })
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
        extra: pairs(volume.facts.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
    }
}

#[cfg_attr(not(feature = "host"), expect(dead_code, reason = "the host's side"))]
pub(crate) fn volume_in(volume: AbiVolume) -> Result<Volume> {
    let fs = Some(volume.fs.into_string()).filter(|fs| !fs.is_empty());
    let kind = match volume.kind {
        KIND_DISK => Kind::Disk,
        KIND_FS => Kind::Fs { fs, assumed: false },
        KIND_FS_ASSUMED => Kind::Fs { fs, assumed: true },
        other => return Err(unknown("volume kind", other)),
    };
    Ok(Volume {
        stored: volume.name.stored.into(),
        user: Some(volume.name.user.into_string()).filter(|user| !user.is_empty()),
        kind,
        access: match volume.access {
            ACCESS_DIRECTORY => Access::Directory,
            ACCESS_DEVICE => Access::Device,
            other => return Err(unknown("access", other)),
        },
        size: volume.size.into_option().map(Bytes),
        used: volume.used.into_option().map(Bytes),
        exclusive: volume.exclusive.into_option().map(Bytes),
        origin: volume.origin.into_option().map(Into::into),
        read_only: volume.read_only,
        attachment: volume
            .attachment
            .into_option()
            .map(attachment_in)
            .transpose()?,
        notes: volume.notes.into_iter().map(Into::into).collect(),
        facts: volume
            .extra
            .into_iter()
            .map(|Tuple2(k, v)| (k.into(), v.into()))
            .collect(),
    })
}

#[cfg_attr(not(feature = "host"), expect(dead_code, reason = "the host's side"))]
pub(crate) fn new_volume_out(new: &NewVolume) -> AbiNewVolume {
    let (kind, fs) = match &new.kind {
        NewKind::Disk => (KIND_DISK, None),
        NewKind::Fs(fs) => (KIND_FS, fs.as_deref()),
    };
    AbiNewVolume {
        kind,
        fs: text(fs.unwrap_or("")),
        size: new.size.0,
        scratch: text(new.scratch.as_str()),
        extra: Extra::new(),
    }
}

pub(crate) fn new_volume_in(new: AbiNewVolume) -> Result<NewVolume> {
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

#[cfg_attr(not(feature = "host"), expect(dead_code, reason = "the host's side"))]
pub(crate) fn clone_out(how: &CloneOptions) -> AbiClone {
    AbiClone {
        size: option(how.size, |b| b.0),
        scratch: text(how.scratch.as_str()),
        extra: Extra::new(),
    }
}

pub(crate) fn clone_in(how: &AbiClone) -> Result<CloneOptions> {
    Ok(CloneOptions {
        size: how.size.into_option().map(Bytes),
        scratch: ScratchName::parse(&how.scratch)?,
    })
}

pub(crate) fn finding_out(finding: Finding) -> AbiFinding {
    AbiFinding {
        volume: finding.volume.unwrap_or_default().into(),
        fault: finding.fault.into(),
        remedy: finding.remedy.unwrap_or_default().into(),
        repaired: finding.repaired,
        extra: Extra::new(),
    }
}

#[cfg_attr(not(feature = "host"), expect(dead_code, reason = "the host's side"))]
pub(crate) fn finding_in(finding: AbiFinding) -> Finding {
    let some = |text: RString| Some(text.into_string()).filter(|t| !t.is_empty());
    Finding {
        volume: some(finding.volume),
        fault: finding.fault.into(),
        remedy: some(finding.remedy),
        repaired: finding.repaired,
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

#[allow(unsafe_code, reason = "a descriptor crosses the border as a number")]
#[cfg_attr(not(feature = "host"), expect(dead_code, reason = "the host's side"))]
pub(crate) fn mount_source_in(source: AbiMountSource) -> Result<MountSource> {
    if source.fd < 0 {
        return Err(Error::new(
            ErrorKind::Io,
            "the driver gave no descriptor to mount",
        ));
    }
    // SAFETY: by the ABI's promise the driver gave its only ownership of an open descriptor away.
    let handle = unsafe { OwnedFd::from_raw_fd(source.fd) };
    match source.kind {
        SOURCE_DIRECTORY => Ok(MountSource::Directory(handle)),
        SOURCE_DEVICE => Ok(MountSource::Device {
            path: PathBuf::from(source.device.into_string()),
            handle,
        }),
        other => Err(unknown("mount source", other)),
    }
}

pub(crate) fn volume_name_option(name: Option<&VolumeName>) -> ROption<AbiName> {
    match name {
        Some(name) => RSome(name_out(name)),
        None => RNone,
    }
}
