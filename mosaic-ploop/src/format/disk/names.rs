// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of files: a delta is called like the base, with a random GUID behind.

use super::Disk;
use crate::format::descriptor::Descriptor;
use crate::format::error::{Error, Result};
use crate::format::guid::Guid;
use crate::format::storage::Folder;

impl<S: Folder> Disk<S> {
    /// A name for a new delta, beside the descriptor.
    pub(super) fn fresh_name(&self) -> Result<String> {
        let first = self.descriptor.images().first();
        let base = first.map_or("root.hds", |image| base_of(last_part(&image.file)));
        let random = self.folder.random();
        let random = random.map_err(|e| Error::io("name", base, e))?;
        Ok(format!("{base}.{}", Guid::from_random(random)))
    }
}

impl Descriptor {
    /// Whether a file beside the descriptor looks like a delta of the disk and is none: an operation
    /// that was killed before its last step leaves such files. An older descriptor that was put in
    /// place leaves them too, so nobody but the user can say whether one may go.
    pub fn is_leftover(&self, name: &str) -> bool {
        let mut bases = self
            .images()
            .iter()
            .map(|image| base_of(last_part(&image.file)));
        let is_ours = bases.any(|base| base == base_of(name));
        is_ours && !name.contains('/') && !has(self, name)
    }
}

/// Whether a file has the name of a delta that was made later than the base, and the disk has not got
/// it.
pub(super) fn is_new_delta(file: &str, disk: &Descriptor) -> bool {
    split_guid(file).is_some() && !has(disk, last_part(file))
}

/// Whether a disk has a file of that name, perhaps written with another path.
pub(super) fn has(disk: &Descriptor, name: &str) -> bool {
    let mut images = disk.images().iter();
    images.any(|image| last_part(&image.file) == name)
}

/// The name without the GUID behind it.
fn base_of(name: &str) -> &str {
    split_guid(name).map_or(name, |(base, _)| base)
}

/// Parts a delta's name from the GUID behind it.
fn split_guid(name: &str) -> Option<(&str, Guid)> {
    let (base, guid) = name.rsplit_once(".{")?;
    let guid = guid.strip_suffix('}')?.parse().ok()?;
    (!base.is_empty()).then_some((base, guid))
}

pub(super) fn last_part(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::descriptor::Base;
    use crate::format::units::{ClusterSize, Sectors};

    const A: &str = "{11111111-1111-1111-1111-111111111111}";
    const B: &str = "{22222222-2222-2222-2222-222222222222}";

    #[test]
    fn only_what_looks_like_a_delta_of_the_disk_is_a_leftover() {
        let size = Sectors(131_072);
        let base = Base::Expanded;
        let mut disk = Descriptor::new(size, ClusterSize::DEFAULT, base, "/d/root.hds").unwrap();
        disk.insert_top(A.parse().unwrap(), &format!("x/root.hds.{A}"))
            .unwrap();
        assert!(disk.is_leftover(&format!("root.hds.{B}")));
        disk.insert_top(B.parse().unwrap(), &format!("root.hds.{B}"))
            .unwrap();
        for name in [
            "root.hds",
            "DiskDescriptor.xml",
            "root.hds.idx",
            &format!("root.hds.{A}"),
            &format!("root.hds.{B}"),
            &format!("other.hds.{B}"),
            &format!("root.hds.{B}.bak"),
            &format!(".{B}"),
            &format!("x/root.hds.{B}"),
        ] {
            assert!(!disk.is_leftover(name), "{name}");
        }
    }
}
