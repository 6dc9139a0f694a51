// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes to a descriptor, made in its document.

use super::{Base, Descriptor, DescriptorFault, Facts};
use crate::format::geometry::Geometry;
use crate::format::guid::Guid;
use crate::format::units::{ClusterSize, Sectors};
use crate::format::xml::{Document, Element};

type Result<T> = std::result::Result<T, DescriptorFault>;

/// How deep in the document the storage is, which has the images.
const STORAGE_DEPTH: usize = 2;
/// How deep in the document the list of shots is.
const SNAPSHOTS_DEPTH: usize = 1;

/// A descriptor without disk.
const EMPTY: &str = "<?xml version=\"1.0\"?>
<Parallels_disk_image>
  <Disk_Parameters>
    <Disk_size>0</Disk_size>
    <Cylinders>0</Cylinders>
    <Heads>0</Heads>
    <Sectors>0</Sectors>
    <Padding>0</Padding>
  </Disk_Parameters>
  <StorageData>
    <Storage>
      <Start>0</Start>
      <End>0</End>
      <Blocksize>0</Blocksize>
    </Storage>
  </StorageData>
  <Snapshots>
    <TopGUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</TopGUID>
  </Snapshots>
</Parallels_disk_image>
";

impl Descriptor {
    /// The descriptor of a new disk of one image.
    ///
    /// # Errors
    /// `Value` if that is no name of a file.
    pub fn new(size: Sectors, cluster: ClusterSize, base: Base, file: &str) -> Result<Self> {
        let mut document = Document::parse(EMPTY)?;
        write_size(&mut document, size);
        if let Some(storage) = storage(&mut document) {
            let sectors = cluster.sectors().to_string();
            storage.set_child_text("Blocksize", &sectors, STORAGE_DEPTH);
            if base == Base::Preallocated {
                storage.set_child_text("Preallocated", "1", STORAGE_DEPTH);
            }
            storage.push(image(Guid::TOP, base, file), STORAGE_DEPTH);
        }
        push_shot(&mut document, Guid::TOP, Guid::NONE);
        let facts = Facts::read(&document)?;
        Ok(Self { document, facts })
    }

    /// Makes the change and reads the document again; on an error nothing has changed.
    fn change(&mut self, change: impl FnOnce(&mut Document)) -> Result<()> {
        let mut document = self.document.clone();
        change(&mut document);
        self.facts = Facts::read(&document)?;
        self.document = document;
        Ok(())
    }

    /// Sets the size of the disk, with its geometry.
    ///
    /// # Errors
    /// None that is known: the document is read again after each change.
    pub fn set_size(&mut self, size: Sectors) -> Result<()> {
        self.change(|document| write_size(document, size))
    }

    /// Names an image's file in another way.
    ///
    /// # Errors
    /// `FileTwice` if another image has that name; `Value` if it is none.
    pub fn set_file(&mut self, guid: Guid, file: &str) -> Result<()> {
        self.change(|document| {
            for image in images(document).filter(|image| is(image, "GUID", guid)) {
                image.set_child_text("File", file, STORAGE_DEPTH + 1);
            }
        })
    }

    /// Gives the top the GUID that every top has, which older programs did not do.
    ///
    /// # Errors
    /// As [`Descriptor::set_size`].
    pub fn set_usual_top(&mut self) -> Result<()> {
        let top = self.top();
        self.change(|document| {
            rename(document, top, Guid::TOP);
            if let Some(snapshots) = document.root_mut().child_mut("Snapshots") {
                snapshots.set_child_text("TopGUID", &Guid::TOP.to_string(), SNAPSHOTS_DEPTH);
            }
        })
    }

    /// Makes a snapshot of the top: it is called `guid` from now on, and a new top stands upon it.
    ///
    /// # Errors
    /// `Twice` if there is a shot of that name; `FileTwice`.
    pub fn insert_top(&mut self, guid: Guid, file: &str) -> Result<()> {
        let (top, base) = (self.top(), self.base());
        self.change(|document| {
            rename(document, top, guid);
            push_delta(document, Guid::TOP, guid, base, file);
        })
    }

    /// Puts a new top upon a shot, in the place of the old one, which is forgotten.
    ///
    /// # Errors
    /// `Unrooted` if there is no such shot, or others stood upon the old top; `FileTwice`.
    pub fn replace_top(&mut self, parent: Guid, file: &str) -> Result<()> {
        let (top, base) = (self.top(), self.base());
        self.change(|document| {
            remove(document, top);
            push_delta(document, Guid::TOP, parent, base, file);
        })
    }

    /// Calls the top `keep` from now on, and puts a new top upon another shot.
    ///
    /// # Errors
    /// `Twice` if there is a shot of that name; `Unrooted` if there is no such other; `FileTwice`.
    pub fn branch_top(&mut self, keep: Guid, parent: Guid, file: &str) -> Result<()> {
        let (top, base) = (self.top(), self.base());
        self.change(|document| {
            rename(document, top, keep);
            push_delta(document, Guid::TOP, parent, base, file);
        })
    }

    /// Keeps some shots, which are a chain from the base up, with their files called otherwise, and
    /// puts a new top upon them; forgets all others. The last of them is not to be deleted any more.
    ///
    /// # Errors
    /// `Unrooted` if it is no chain; `FileTwice`.
    pub fn keep_chain(&mut self, kept: &[(Guid, &str)], top: &str) -> Result<()> {
        let base = self.base();
        let forgotten: Vec<_> = self.shots().iter().map(|shot| shot.guid).collect();
        let is_kept = |guid: &Guid| kept.iter().any(|(shot, _)| shot == guid);
        let last = kept.last().map_or(Guid::NONE, |(shot, _)| *shot);
        self.change(|document| {
            for guid in forgotten.iter().filter(|guid| !is_kept(guid)) {
                remove(document, *guid);
            }
            for (guid, file) in kept {
                for image in images(document).filter(|image| is(image, "GUID", *guid)) {
                    image.set_child_text("File", file, STORAGE_DEPTH + 1);
                }
            }
            for shot in shots(document).filter(|shot| is(shot, "GUID", last)) {
                shot.remove(|node| node.name() == "Temporary");
            }
            push_delta(document, Guid::TOP, last, base, top);
        })
    }

    /// Forgets a shot on which nothing stands, and its file.
    ///
    /// # Errors
    /// `Unrooted` if others stand upon it; `Top` if it is the top.
    pub fn remove(&mut self, guid: Guid) -> Result<()> {
        self.change(|document| remove(document, guid))
    }

    /// Forgets the top; the shot beneath it is the top from now on.
    ///
    /// # Errors
    /// `Unrooted` if others stand upon the top; `Top` if there is none beneath, or it is to be
    /// deleted.
    pub fn remove_top(&mut self) -> Result<()> {
        let top = self.top();
        let below = self.shot(top).map_or(Guid::NONE, |shot| shot.parent);
        self.change(|document| {
            remove(document, top);
            rename(document, below, top);
        })
    }

    /// Forgets a shot and puts the one above it in its place, with its data in `file`.
    ///
    /// # Errors
    /// `Unrooted` if others stand upon the shot too.
    pub fn merge(&mut self, lower: Guid, upper: Guid, file: &str) -> Result<()> {
        let parent = self.shot(lower).map_or(Guid::NONE, |shot| shot.parent);
        self.change(|document| {
            remove(document, lower);
            for shot in shots(document).filter(|shot| is(shot, "GUID", upper)) {
                shot.set_child_text("ParentGUID", &parent.to_string(), SNAPSHOTS_DEPTH + 1);
            }
            for image in images(document).filter(|image| is(image, "GUID", upper)) {
                image.set_child_text("File", file, STORAGE_DEPTH + 1);
            }
        })
    }

    /// Says of all images that the base is not raw any more.
    ///
    /// # Errors
    /// As [`Descriptor::set_size`].
    pub fn set_expanded(&mut self) -> Result<()> {
        self.change(|document| {
            for image in images(document) {
                image.set_child_text("Type", kind(Base::Expanded), STORAGE_DEPTH + 1);
            }
        })
    }

    /// Marks a shot as one that is to be deleted.
    ///
    /// # Errors
    /// `Top` if it is the top.
    pub fn set_temporary(&mut self, guid: Guid) -> Result<()> {
        self.change(|document| {
            for shot in shots(document).filter(|shot| is(shot, "GUID", guid)) {
                if shot.child("Temporary").is_none() {
                    shot.push(Element::new("Temporary"), SNAPSHOTS_DEPTH + 1);
                }
            }
        })
    }
}

/// Where there is one shot less than images, libploop adds it, as a base.
pub(super) fn add_missing_shot(document: &mut Document) {
    let named = |node: &Element| {
        node.child("GUID")
            .and_then(|guid| guid.text()?.parse().ok())
    };
    let all: Vec<Guid> = images(document).filter_map(|node| named(node)).collect();
    let known: Vec<Guid> = shots(document).filter_map(|node| named(node)).collect();
    if all.len() != known.len() + 1 {
        return;
    }
    if let Some(guid) = all.iter().find(|guid| !known.contains(guid)) {
        if document.root().child("Snapshots").is_none() {
            document.root_mut().push(Element::new("Snapshots"), 0);
        }
        push_shot(document, *guid, Guid::NONE);
    }
}

fn write_size(document: &mut Document, size: Sectors) {
    let geometry = Geometry::of(size);
    if let Some(parameters) = document.root_mut().child_mut("Disk_Parameters") {
        for (name, number) in [
            ("Disk_size", size.0),
            ("Cylinders", geometry.cylinders.into()),
            ("Heads", geometry.heads.into()),
            ("Sectors", geometry.sectors(size)),
        ] {
            parameters.set_child_text(name, &number.to_string(), 1);
        }
    }
    if let Some(storage) = storage(document) {
        storage.set_child_text("End", &size.0.to_string(), STORAGE_DEPTH);
    }
}

/// Calls a shot by another name, wherever it is named.
fn rename(document: &mut Document, from: Guid, to: Guid) {
    let to = to.to_string();
    for node in images(document).filter(|node| is(node, "GUID", from)) {
        node.set_child_text("GUID", &to, STORAGE_DEPTH + 1);
    }
    for node in shots(document) {
        for name in ["GUID", "ParentGUID"] {
            if is(node, name, from) {
                node.set_child_text(name, &to, SNAPSHOTS_DEPTH + 1);
            }
        }
    }
}

fn remove(document: &mut Document, guid: Guid) {
    if let Some(storage) = storage(document) {
        storage.remove(|node| node.name() == "Image" && is(node, "GUID", guid));
    }
    if let Some(snapshots) = document.root_mut().child_mut("Snapshots") {
        snapshots.remove(|node| node.name() == "Shot" && is(node, "GUID", guid));
    }
}

fn push_delta(document: &mut Document, guid: Guid, parent: Guid, base: Base, file: &str) {
    if let Some(storage) = storage(document) {
        storage.push(image(guid, base, file), STORAGE_DEPTH);
    }
    push_shot(document, guid, parent);
}

fn push_shot(document: &mut Document, guid: Guid, parent: Guid) {
    let mut shot = Element::new("Shot");
    let depth = SNAPSHOTS_DEPTH + 1;
    shot.push(Element::with_text("GUID", &guid.to_string()), depth);
    shot.push(Element::with_text("ParentGUID", &parent.to_string()), depth);
    if let Some(snapshots) = document.root_mut().child_mut("Snapshots") {
        snapshots.push(shot, SNAPSHOTS_DEPTH);
    }
}

fn image(guid: Guid, base: Base, file: &str) -> Element {
    let mut image = Element::new("Image");
    let depth = STORAGE_DEPTH + 1;
    image.push(Element::with_text("GUID", &guid.to_string()), depth);
    image.push(Element::with_text("Type", kind(base)), depth);
    image.push(Element::with_text("File", file), depth);
    image
}

/// The type of every image of a disk with that base.
fn kind(base: Base) -> &'static str {
    match base {
        Base::Raw => "Plain",
        Base::Expanded | Base::Preallocated => "Compressed",
    }
}

fn storage(document: &mut Document) -> Option<&mut Element> {
    let data = document.root_mut().child_mut("StorageData")?;
    data.child_mut("Storage")
}

fn images(document: &mut Document) -> impl Iterator<Item = &mut Element> {
    let nodes = storage(document)
        .into_iter()
        .flat_map(Element::elements_mut);
    nodes.filter(|node| node.name() == "Image")
}

fn shots(document: &mut Document) -> impl Iterator<Item = &mut Element> {
    let snapshots = document.root_mut().child_mut("Snapshots");
    let nodes = snapshots.into_iter().flat_map(Element::elements_mut);
    nodes.filter(|node| node.name() == "Shot")
}

/// Whether a child of that name has that GUID.
fn is(node: &Element, name: &str, guid: Guid) -> bool {
    let text = node.child(name).and_then(Element::text);
    text.is_some_and(|text| text.parse() == Ok(guid))
}
