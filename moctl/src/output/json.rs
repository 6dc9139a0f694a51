// SPDX-License-Identifier: MIT OR Apache-2.0
//! The JSON objects: what `doc/json.md` and `doc/json-schema.json` promise.
//!
//! Fields may be added; what is there keeps its name and meaning as long as `version` is 1.

use std::collections::BTreeMap;
use std::path::Path;

use mosaic_core::finding::Finding;
use mosaic_core::mosaic::VolumeInfo;
use mosaic_core::volume::{Attachment, Capability, Kind, Space};
use serde::Serialize;

use super::failure::Failure;

/// The version of the objects.
pub const VERSION: u32 = 1;

#[derive(Serialize)]
struct ErrorJson<'a> {
    error: &'a Failure,
}

/// The object of a command that did its work, from one of its fields; one line.
pub fn success(fields: &str, warnings: &[String]) -> String {
    object(true, fields, warnings)
}

/// The object of a command that failed; one line.
pub fn failure(failure: &Failure, warnings: &[String]) -> String {
    let error = ErrorJson { error: failure };
    object(false, &text_of(&error), warnings)
}

/// A list of 10,000 volumes is written once, and not collected as a tree of values before.
fn object(ok: bool, fields: &str, warnings: &[String]) -> String {
    let fields = fields.strip_prefix('{').and_then(|f| f.strip_suffix('}'));
    let fields = fields.filter(|fields| !fields.is_empty());
    let fields = fields
        .map(|fields| format!("{fields},"))
        .unwrap_or_default();
    let warnings = text_of(&warnings);
    plain(format!(
        "{{\"version\":{VERSION},\"ok\":{ok},{fields}\"warnings\":{warnings}}}\n"
    ))
}

/// Never fails: all keys are strings.
fn text_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Escapes what JSON allows in a string and a terminal obeys; outside strings there is none of it.
fn plain(json: String) -> String {
    let steers = |c: char| ('\u{7f}'..='\u{9f}').contains(&c);
    if !json.contains(steers) {
        return json;
    }
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if steers(c) {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text
}

/// A path as text; bytes that are no UTF-8 become U+FFFD.
pub fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// One thing that can be done, or why not.
#[derive(Debug, Serialize)]
pub struct CapabilityJson {
    name: String,
    can: bool,
    reason: Option<String>,
}

impl From<&Capability> for CapabilityJson {
    fn from(capability: &Capability) -> Self {
        Self {
            name: capability.name.clone(),
            can: capability.refusal.is_none(),
            reason: capability.refusal.clone(),
        }
    }
}

/// How full one class of storage is, in bytes.
#[derive(Debug, Serialize)]
pub struct SpaceJson {
    class: String,
    total: u64,
    used: u64,
    free: u64,
}

impl From<&Space> for SpaceJson {
    fn from(space: &Space) -> Self {
        Self {
            class: space.class.clone(),
            total: space.total.0,
            used: space.used.0,
            free: space.free.0,
        }
    }
}

/// A block device that shows a volume.
#[derive(Debug, Serialize)]
pub struct AttachmentJson {
    device: String,
    lifetime: &'static str,
    read_only: bool,
    foreign: bool,
}

impl From<&Attachment> for AttachmentJson {
    fn from(attachment: &Attachment) -> Self {
        Self {
            device: path(&attachment.device),
            lifetime: attachment.lifetime.name(),
            read_only: attachment.read_only,
            foreign: attachment.foreign,
        }
    }
}

/// What `check` found.
#[derive(Debug, Serialize)]
pub struct FindingJson {
    volume: Option<String>,
    fault: String,
    class: Option<String>,
    by_name: bool,
    remedy: Option<String>,
    repaired: bool,
}

impl From<&Finding> for FindingJson {
    fn from(finding: &Finding) -> Self {
        let remedy = finding.remedy.as_ref();
        Self {
            volume: finding.volume.clone(),
            fault: finding.fault.clone(),
            class: remedy.map(|remedy| remedy.class.clone()),
            by_name: remedy.is_some_and(|remedy| remedy.is_by_name),
            remedy: remedy.map(|remedy| remedy.action.clone()),
            repaired: finding.repaired,
        }
    }
}

/// The driver's own facts.
pub type FactsJson<'a> = BTreeMap<&'a str, &'a str>;

/// Facts by their names.
pub fn facts(facts: &[(String, String)]) -> FactsJson<'_> {
    facts
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// A volume, sizes in bytes.
#[derive(Debug, Serialize)]
pub struct VolumeJson<'a> {
    name: &'a str,
    stored: &'a str,
    kind: &'static str,
    fs: Option<&'a str>,
    fs_assumed: bool,
    access: &'static str,
    size: Option<u64>,
    used: Option<u64>,
    exclusive: Option<u64>,
    origin: Option<&'a str>,
    read_only: bool,
    state: &'static str,
    attachment: Option<AttachmentJson>,
    mounted: Vec<String>,
    notes: &'a [String],
    facts: FactsJson<'a>,
}

impl<'a> From<&'a VolumeInfo> for VolumeJson<'a> {
    fn from(info: &'a VolumeInfo) -> Self {
        let volume = &info.volume;
        let (fs, fs_assumed) = match &volume.kind {
            Kind::Disk => (None, false),
            Kind::Fs { fs, assumed } => (fs.as_deref(), *assumed),
        };
        Self {
            name: &info.name,
            stored: &volume.stored,
            kind: volume.kind.name(),
            fs,
            fs_assumed,
            access: volume.access.name(),
            size: volume.size.map(|size| size.0),
            used: volume.used.map(|size| size.0),
            exclusive: volume.exclusive.map(|size| size.0),
            origin: info.origin.as_deref(),
            read_only: volume.read_only,
            state: info.state(),
            attachment: volume.attachment.as_ref().map(Into::into),
            mounted: info.mounted.iter().map(|at| path(at)).collect(),
            notes: &volume.notes,
            facts: facts(&volume.facts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_no_character_that_steers_a_terminal() {
        let text = success(
            &text_of(&BTreeMap::from([("name", "a\u{1b}\u{7f}\u{9b}ü")])),
            &["w\n".into()],
        );
        assert_eq!(
            text,
            "{\"version\":1,\"ok\":true,\"name\":\"a\\u001b\\u007f\\u009bü\",\"warnings\":[\"w\\n\"]}\n"
        );
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["name"], "a\u{1b}\u{7f}\u{9b}ü");
    }
}
