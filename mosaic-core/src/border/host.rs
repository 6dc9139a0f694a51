// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's side of the border: arguments out, answers in.

use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;

use mosaic_abi::abi_stable::std_types::{RNone, ROption, RSome, RString, Tuple2};
use mosaic_abi::{
    ACCESS_DEVICE, ACCESS_DIRECTORY, AbiAbout, AbiAttachment, AbiCapability, AbiClone, AbiError,
    AbiFinding, AbiKey, AbiLockScope, AbiMountSource, AbiName, AbiNewVolume, AbiSettings, AbiSpace,
    AbiVolume, Extra, KEY_CHOICE, KEY_FLAG, KEY_INTEGER, KEY_PATH, KEY_SIZE, KEY_TEXT, KIND_DISK,
    KIND_FS, KIND_FS_ASSUMED, LIFETIME_EXPLICIT, LIFETIME_MOUNT, LOCK_DEVICE, LOCK_DIRECTORY,
    RESERVED_FACTS, SOURCE_DEVICE, SOURCE_DIRECTORY,
};

use super::{BY_NAME, CLASS, OVERHEAD, option, pairs, path, text, unknown};
use crate::driver::LockScope;
use crate::error::{Error, ErrorKind, Result};
use crate::finding::{Finding, Remedy, Repair};
use crate::name::VolumeName;
use crate::settings::{Key, KeyKind, Settings};
use crate::size::Bytes;
use crate::volume::{
    About, Access, Attachment, Capability, CloneOptions, InitOptions, Kind, Lifetime, MountSource,
    NewKind, NewVolume, Space, Volume,
};

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

pub(crate) fn error_in(error: AbiError) -> Error {
    let kind = ErrorKind::from_status(error.kind);
    let key = error.extra.iter().find(|pair| pair.0 == "key");
    let message = one_line(&error.message);
    let mut into = match key {
        Some(pair) => Error::config(pair.1.as_str(), message).with_kind(kind),
        None => Error::new(kind, message),
    };
    if error.errno != 0 {
        into = into.with_errno(error.errno);
    }
    let chain = error.causes.into_iter().rev().fold(None, |next, text| {
        let text = one_line(&text);
        Some(Box::new(Cause { text, next }))
    });
    match chain {
        Some(cause) => into.with_source(cause),
        None => into,
    }
}

/// A driver's text with control characters as spaces: it has one line of the user's screen.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

pub(crate) fn name_out(name: &VolumeName) -> AbiName {
    AbiName {
        user: text(name.user()),
        stored: text(name.stored()),
        extra: Extra::new(),
    }
}

/// Whether a key is one of the config file. A newer driver may have keys of other places, such as
/// a verb's own options, that this host does not know.
pub(crate) fn is_config_key(key: &AbiKey) -> bool {
    key.extra.iter().all(|pair| pair.0 != "place")
}

/// A kind of key that a newer driver has is text here: the driver looks at the value itself.
pub(crate) fn key_in(key: AbiKey) -> Key {
    let kind = match key.kind {
        KEY_PATH => KeyKind::Path,
        KEY_SIZE => KeyKind::Size,
        KEY_INTEGER => KeyKind::Integer,
        KEY_FLAG => KeyKind::Flag,
        KEY_CHOICE => KeyKind::Choice(key.choices.into_iter().map(Into::into).collect()),
        KEY_TEXT.. => KeyKind::Text,
    };
    Key {
        path: key.path.into(),
        kind,
        default: key.default.into_option().map(Into::into),
        help: key.help.into(),
    }
}

/// What a driver is opened with. A location that the border would change is refused: it would be
/// another one on the other side.
pub(crate) fn settings_out(settings: &Settings) -> Result<AbiSettings> {
    let paths = [Some(&settings.location), settings.layout_fs.as_ref()];
    if let Some(path) = paths.into_iter().flatten().find(|p| p.to_str().is_none()) {
        let message = format!("path {path:?} is not UTF-8");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    Ok(AbiSettings {
        location: path(&settings.location),
        default_fs: option(settings.default_fs.as_deref(), text),
        layout_fs: option(settings.layout_fs.as_deref(), path),
        depth: settings.depth,
        mapped: settings.mapped,
        values: pairs(settings.values()),
        extra: pairs([("abi", mosaic_abi::VERSION)].into_iter()),
    })
}

pub(crate) fn lock_scope_in(scope: AbiLockScope) -> Result<LockScope> {
    let at = PathBuf::from(scope.path.into_string());
    match scope.kind {
        LOCK_DIRECTORY => Ok(LockScope::Directory(at)),
        LOCK_DEVICE => Ok(LockScope::Device(at)),
        other => Err(unknown("lock scope", other)),
    }
}

pub(crate) fn capability_in(capability: AbiCapability) -> Capability {
    Capability {
        name: capability.name.into(),
        refusal: capability.refusal.into_option().map(Into::into),
    }
}

pub(crate) fn space_in(space: AbiSpace) -> Space {
    Space {
        class: space.class.into(),
        total: Bytes(space.total),
        used: Bytes(space.used),
        free: Bytes(space.free),
    }
}

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

/// A kind of volume that a newer driver has is shown as a disk, which is never mounted.
pub(crate) fn volume_in(volume: AbiVolume) -> Result<Volume> {
    let mut notes: Vec<String> = volume.notes.into_iter().map(Into::into).collect();
    let fs = Some(volume.fs.into_string()).filter(|fs| !fs.is_empty());
    let kind = match volume.kind {
        KIND_DISK => Kind::Disk,
        KIND_FS => Kind::Fs { fs, assumed: false },
        KIND_FS_ASSUMED => Kind::Fs { fs, assumed: true },
        other => {
            notes.push(format!(
                "its kind {other} is not known to this version of Mosaic"
            ));
            Kind::Disk
        }
    };
    let overhead = volume.extra.iter().find(|pair| pair.0 == OVERHEAD);
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
        overhead: match overhead.map(|pair| pair.1.parse()) {
            Some(Ok(bytes)) => Bytes(bytes),
            Some(Err(_)) => return Err(no_number(OVERHEAD)),
            None => Bytes(0),
        },
        used: volume.used.into_option().map(Bytes),
        exclusive: volume.exclusive.into_option().map(Bytes),
        origin: volume.origin.into_option().map(Into::into),
        read_only: volume.read_only,
        attachment: volume
            .attachment
            .into_option()
            .map(attachment_in)
            .transpose()?,
        notes,
        facts: facts_in(volume.extra),
    })
}

/// A file system would be cut off by what was not understood here.
fn no_number(key: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the driver says of {key:?} what is no number"),
    )
}

fn facts_in(extra: Extra) -> Vec<(String, String)> {
    extra
        .into_iter()
        .filter(|Tuple2(name, _)| !name.starts_with(RESERVED_FACTS))
        .map(|Tuple2(k, v)| (k.into(), v.into()))
        .collect()
}

pub(crate) fn about_in(about: AbiAbout) -> About {
    About {
        notes: about.notes.into_iter().map(Into::into).collect(),
        facts: facts_in(about.extra),
    }
}

pub(crate) fn init_options_out(options: &InitOptions) -> Extra {
    pairs(options.given())
}

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

pub(crate) fn clone_out(how: &CloneOptions) -> AbiClone {
    AbiClone {
        size: option(how.size, |b| b.0),
        scratch: text(how.scratch.as_str()),
        extra: Extra::new(),
    }
}

/// The words of `check` for what is to be mended.
pub(crate) fn repair_out(repair: &Repair) -> (bool, Extra) {
    let classes = match repair {
        Repair::Classes(classes) => Some(classes.join(",")),
        Repair::Nothing | Repair::Usual => None,
    };
    let classes = classes.iter().map(|classes| (CLASS, classes.as_str()));
    (repair.is_any(), pairs(classes))
}

/// Whether the driver knows of classes.
pub(crate) fn has_class(finding: &AbiFinding) -> bool {
    said_of(finding, CLASS).is_some()
}

fn said_of<'f>(finding: &'f AbiFinding, key: &str) -> Option<&'f str> {
    let mut pairs = finding.extra.iter();
    let found = pairs.find(|Tuple2(name, _)| name == key);
    found.map(|Tuple2(_, value)| value.as_str())
}

pub(crate) fn finding_in(finding: AbiFinding) -> Finding {
    let some = |text: RString| Some(text.into_string()).filter(|t| !t.is_empty());
    let remedy = some(finding.remedy.clone()).map(|action| {
        let remedy = Remedy::new(said_of(&finding, CLASS).unwrap_or_default(), action);
        match said_of(&finding, BY_NAME) == Some("true") {
            true => remedy.by_name(),
            false => remedy,
        }
    });
    Finding {
        volume: some(finding.volume),
        fault: finding.fault.into(),
        remedy,
        repaired: finding.repaired,
    }
}

#[allow(unsafe_code, reason = "a descriptor crosses the border as a number")]
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

#[cfg(test)]
mod tests {
    use super::super::volume_out;
    use super::*;
    use crate::size::Bytes;

    #[test]
    fn an_overhead_crosses_and_is_no_fact() {
        let mut volume = Volume::directory(&VolumeName::parse("v").unwrap());
        volume.facts.push(("a".to_owned(), "b".to_owned()));
        for overhead in [Bytes(0), Bytes(2 << 20)] {
            volume.overhead = overhead;
            assert_eq!(volume_in(volume_out(volume.clone())).unwrap(), volume);
        }
        let mut out = volume_out(volume);
        out.extra[1].1 = "-1".into();
        let error = volume_in(out).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
