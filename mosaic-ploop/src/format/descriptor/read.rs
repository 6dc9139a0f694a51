// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the document to what it says, with the leniency of libploop.

use std::collections::{HashMap, HashSet};

use super::{Base, Descriptor, DescriptorFault, Facts, Image, MAX_BYTES, Shot, Temporary};
use crate::format::guid::Guid;
use crate::format::units::{ClusterSize, Sectors};
use crate::format::xml::{Document, Element};

type Result<T> = std::result::Result<T, DescriptorFault>;

impl Descriptor {
    /// Reads a descriptor.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(DescriptorFault::TooLong(bytes.len() as u64));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| DescriptorFault::Encoding)?;
        let mut document = Document::parse(text)?;
        super::edit::add_missing_shot(&mut document);
        let facts = Facts::read(&document)?;
        Ok(Self { document, facts })
    }
}

impl Facts {
    /// Reads what the document says and checks that it makes sense.
    pub(super) fn read(document: &Document) -> Result<Self> {
        let root = document.root();
        let parameters = require(root, "Disk_Parameters")?;
        if let Some(padding) = parameters.child("Padding")
            && number(padding, "Padding")? != 0
        {
            return Err(value("Padding", padding));
        }
        let data = require(root, "StorageData")?;
        let storage = only(data, "Storage")?;
        let images = images(storage)?;
        let (shots, top) = shots(root)?;
        check_tree(&images, &shots, top)?;
        let max_delta = parameters.child("Max_delta_size");
        let max_delta = max_delta.map(|size| number(size, "Max_delta_size"));
        let encryption = parameters.child("Encryption");
        Ok(Self {
            size: Sectors(number(require(parameters, "Disk_size")?, "Disk_size")?),
            max_delta: max_delta.transpose()?.map(Sectors),
            cluster: cluster(storage)?,
            base: base(storage, &shots)?,
            is_volume: data.child("Volume").is_some(),
            is_encrypted: encryption.is_some_and(|node| node.child("KeyId").is_some()),
            images,
            shots,
            top,
        })
    }
}

fn images(storage: &Element) -> Result<Vec<Image>> {
    let images = storage.elements().filter(|node| node.name() == "Image");
    images
        .map(|image| {
            let file = require(image, "File")?;
            let name = file.text().filter(|name| is_path(name));
            let name = name.ok_or_else(|| value("File", file))?;
            Ok(Image {
                guid: guid(image, "GUID")?,
                file: squeezed(&name),
            })
        })
        .collect()
}

/// The shots, and which is the top: without a word about it, the one with the top's own GUID.
fn shots(root: &Element) -> Result<(Vec<Shot>, Guid)> {
    let snapshots = require(root, "Snapshots")?;
    let shots = snapshots.elements().filter(|node| node.name() == "Shot");
    let shots = shots
        .map(|shot| {
            let has = |name| shot.child(name).is_some();
            Ok(Shot {
                guid: guid(shot, "GUID")?,
                parent: guid(shot, "ParentGUID")?,
                temporary: if has("TemporaryZero") || has("TemporaryZeroSwap") {
                    Some(Temporary::OnlineMerge)
                } else {
                    has("Temporary").then_some(Temporary::Deleted)
                },
            })
        })
        .collect::<Result<_>>()?;
    let top = match snapshots.child("TopGUID") {
        Some(_) => guid(snapshots, "TopGUID")?,
        None => Guid::TOP,
    };
    Ok((shots, top))
}

/// Each image has its shot, and the shots are one tree with the top in it.
fn check_tree(images: &[Image], shots: &[Shot], top: Guid) -> Result<()> {
    let mut files = HashSet::new();
    let mut guids = HashSet::new();
    for image in images {
        if !guids.insert(image.guid) {
            return Err(DescriptorFault::Twice(image.guid));
        }
        if !files.insert(image.file.as_str()) {
            return Err(DescriptorFault::FileTwice(image.file.clone()));
        }
    }
    let mut parents = HashMap::new();
    for shot in shots {
        if parents.insert(shot.guid, shot.parent).is_some() {
            return Err(DescriptorFault::Twice(shot.guid));
        }
        if !guids.contains(&shot.guid) {
            return Err(DescriptorFault::Unpaired(shot.guid));
        }
    }
    let unpaired = images
        .iter()
        .find(|image| !parents.contains_key(&image.guid));
    if let Some(image) = unpaired {
        return Err(DescriptorFault::Unpaired(image.guid));
    }
    check_roots(&parents)?;
    let has_top = shots
        .iter()
        .any(|shot| shot.guid == top && shot.temporary.is_none());
    // A shot that is not the top cannot have the top's own GUID: the top is to get it.
    let is_taken = top != Guid::TOP && parents.contains_key(&Guid::TOP);
    if !has_top || is_taken || parents.contains_key(&Guid::NONE) {
        return Err(DescriptorFault::Top(top));
    }
    Ok(())
}

/// There is one base, and every shot stands upon it.
fn check_roots(parents: &HashMap<Guid, Guid>) -> Result<()> {
    let bases = parents.values().filter(|parent| **parent == Guid::NONE);
    let bases = bases.count();
    if bases > 1 {
        return Err(DescriptorFault::Number("Shot without a parent", bases));
    }
    let mut rooted = HashSet::from([Guid::NONE]);
    for start in parents.keys() {
        let mut way = Vec::new();
        let mut next = *start;
        while !rooted.contains(&next) {
            // A way longer than there are shots goes round.
            let parent = parents.get(&next).filter(|_| way.len() < parents.len());
            way.push(next);
            next = *parent.ok_or(DescriptorFault::Unrooted(*start))?;
        }
        rooted.extend(way);
    }
    Ok(())
}

fn cluster(storage: &Element) -> Result<ClusterSize> {
    let Some(size) = storage.child("Blocksize") else {
        return Ok(ClusterSize::DEFAULT);
    };
    let sectors = u32::try_from(number(size, "Blocksize")?).ok();
    sectors
        .and_then(ClusterSize::new)
        .ok_or_else(|| value("Blocksize", size))
}

/// What the base is: its own image says so. libploop calls all images of a raw disk plain.
fn base(storage: &Element, shots: &[Shot]) -> Result<Base> {
    let preallocated = match storage.child("Preallocated") {
        Some(node) => number(node, "Preallocated")? != 0,
        None => false,
    };
    let base = shots.iter().find(|shot| shot.parent == Guid::NONE);
    let is_base = |node: &&Element| guid(node, "GUID").ok() == base.map(|shot| shot.guid);
    let mut images = storage.elements().filter(|node| node.name() == "Image");
    let image = images.find(is_base);
    let kind = require(image.ok_or(DescriptorFault::Missing("base"))?, "Type")?;
    match kind.text().unwrap_or_default().as_str() {
        "Compressed" if preallocated => Ok(Base::Preallocated),
        "Compressed" => Ok(Base::Expanded),
        "Plain" if preallocated => Err(DescriptorFault::PreallocatedRaw),
        "Plain" => Ok(Base::Raw),
        _ => Err(value("Type", kind)),
    }
}

/// A number as C reads it: `0x` before hexadecimal, `0` before octal digits.
fn number(node: &Element, element: &'static str) -> Result<u64> {
    let text = node.text().unwrap_or_default();
    let lower = text.to_ascii_lowercase();
    let (digits, base) = match lower.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if lower.starts_with('0') => (lower.as_str(), 8),
        None => (lower.as_str(), 10),
    };
    let parsed = (!digits.starts_with('+')).then(|| u64::from_str_radix(digits, base).ok());
    parsed
        .flatten()
        .ok_or(DescriptorFault::Value { element, text })
}

fn guid(node: &Element, name: &'static str) -> Result<Guid> {
    let text = require(node, name)?.text().unwrap_or_default();
    Ok(text.parse()?)
}

fn require<'a>(node: &'a Element, name: &'static str) -> Result<&'a Element> {
    node.child(name).ok_or(DescriptorFault::Missing(name))
}

fn only<'a>(node: &'a Element, name: &'static str) -> Result<&'a Element> {
    let count = node.elements().filter(|child| child.name() == name).count();
    if count > 1 {
        return Err(DescriptorFault::Number(name, count));
    }
    require(node, name)
}

fn value(element: &'static str, node: &Element) -> DescriptorFault {
    DescriptorFault::Value {
        element,
        text: node.text().unwrap_or_default(),
    }
}

fn is_path(name: &str) -> bool {
    !name.is_empty() && !name.ends_with('/') && !name.contains('\0')
}

/// The path without doubled slashes.
fn squeezed(path: &str) -> String {
    let mut squeezed = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !squeezed.ends_with('/') {
            squeezed.push(letter);
        }
    }
    squeezed
}
