// SPDX-License-Identifier: MIT OR Apache-2.0
//! The format extension: dirty bitmaps that backup software keeps in an image.
//!
//! Nothing is made of them here but two answers: which clusters they take, so that a check does not
//! call those lost, and whether an image may be changed by those who do not know all of it. The
//! first write drops the extension, for it would not be true any more. Its checksum (MD5) is not
//! looked at: a wrong bitmap takes the same clusters.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::header::Header;
use super::storage::ImageFile;
use super::units::{ClusterSize, FileCluster, FileOffset, SECTOR};

/// First number of the cluster.
const MAGIC: u64 = 0xAB23_4CEF_23DC_EA87;
/// Where the sections begin, after the magic and a checksum of 16 bytes.
const SECTIONS: usize = 24;
/// Section with a dirty bitmap.
const DIRTY_BITMAP: u64 = 0x2038_5FAE_252C_B34A;
/// Who does not know the section must not change the image.
const NECESSARY: u64 = 1;

/// Head of a section as it is stored. A magic of 0 ends the sections.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSection {
    /// What it is.
    magic: U64,
    /// Bit 0 necessary, bit 1 transit.
    flags: U64,
    /// Bytes of data that follow, padded to 8.
    size: U32,
    /// Nothing.
    _unused: U32,
}

/// Head of the data of a bitmap as it is stored; numbers of 8 bytes follow.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBitmap {
    /// Sectors of the disk.
    _size: U64,
    /// Which bitmap.
    _uuid: [u8; 16],
    /// Sectors that a bit stands for.
    _granularity: U32,
    /// Numbers that follow: 0 and 1 stand for bits that are all so, others are positions in sectors.
    count: U32,
}

const _: () = assert!(size_of::<RawSection>() == 24 && size_of::<RawBitmap>() == 32);

/// What there is to know of an extension.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extension {
    /// The clusters it takes.
    pub clusters: Vec<FileCluster>,
    /// It has a part that is not known here and that must be known by who changes the image.
    pub forbids_changes: bool,
}

impl Extension {
    /// Reads the extension of an image of `length` bytes; `None` if there is no valid one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn load(
        file: &impl ImageFile,
        header: &Header,
        length: u64,
    ) -> std::io::Result<Option<Self>> {
        let size = header.cluster.bytes();
        let Some(at) = header.valid_extension() else {
            return Ok(None);
        };
        let within = at.0 >= header.data_start().0 && at.plus(size).0 <= length;
        // Larger clusters are only read, and there is no need to know what they have.
        let is_small = size <= ClusterSize::MAX.bytes();
        if !within || !is_small || !at.0.is_multiple_of(size) {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        file.read_at(&mut bytes, at)?;
        Ok(Self::parse(&bytes, at, header, length))
    }

    /// Reads what is in its cluster; `None` unless that is an extension from end to end.
    fn parse(bytes: &[u8], at: FileOffset, header: &Header, length: u64) -> Option<Self> {
        let (magic, _) = U64::read_from_prefix(bytes).ok()?;
        if magic.get() != MAGIC {
            return None;
        }
        let mut found = Self::default();
        found.clusters.extend(cluster_at(at.0, header, length));
        let mut rest = bytes.get(SECTIONS..)?;
        loop {
            let (section, after) = RawSection::ref_from_prefix(rest).ok()?;
            if section.magic.get() == 0 {
                return Some(found);
            }
            let size = usize::try_from(section.size.get()).ok()?;
            let data = after.get(..size)?;
            if section.magic.get() == DIRTY_BITMAP {
                let sectors = bitmap(data)?;
                let places = sectors.map(|sector| sector.saturating_mul(SECTOR));
                let clusters = places.filter_map(|at| cluster_at(at, header, length));
                found.clusters.extend(clusters);
            } else {
                found.forbids_changes |= section.flags.get() & NECESSARY != 0;
            }
            rest = after.get(size.next_multiple_of(8)..)?;
        }
    }
}

/// The positions of a bitmap's bits, in sectors.
fn bitmap(data: &[u8]) -> Option<impl Iterator<Item = u64>> {
    let (head, numbers) = RawBitmap::ref_from_prefix(data).ok()?;
    let count = usize::try_from(head.count.get()).ok()?;
    let (numbers, _) = <[U64]>::ref_from_prefix_with_elems(numbers, count).ok()?;
    Some(numbers.iter().map(|number| number.get()).filter(|n| *n > 1))
}

/// The cluster that begins there; `None` if none of the image's data does.
fn cluster_at(at: u64, header: &Header, length: u64) -> Option<FileCluster> {
    let size = header.cluster.bytes();
    let within = at >= header.data_start().0 && at.saturating_add(size) <= length;
    let number = u32::try_from(at / size).ok()?;
    (within && at.is_multiple_of(size)).then_some(FileCluster(number))
}

#[cfg(test)]
mod tests {
    use super::super::header::Version;
    use super::super::units::Sectors;
    use super::*;

    const CLUSTER: u64 = 64 * 512;

    fn section(magic: u64, flags: u64, data: &[u8]) -> Vec<u8> {
        let mut bytes = [magic.to_le_bytes(), flags.to_le_bytes()].concat();
        bytes.extend((data.len() as u64).to_le_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn parse(sections: &[Vec<u8>]) -> Option<Extension> {
        let header = Header::new(Version::V2, ClusterSize::MIN, Sectors(6400)).unwrap();
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        bytes.resize(SECTIONS, 0);
        bytes.extend(sections.concat());
        Extension::parse(&bytes, FileOffset(3 * CLUSTER), &header, 9 * CLUSTER)
    }

    fn dirty_bitmap(count: u32, numbers: &[u64]) -> Vec<u8> {
        let mut data = vec![0; 28];
        data.extend(count.to_le_bytes());
        data.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        section(DIRTY_BITMAP, NECESSARY, &data)
    }

    #[test]
    fn the_clusters_of_bitmaps_are_found() {
        // All zero, all one, cluster 5, the BAT, beyond the file, not at a cluster.
        let bitmap = dirty_bitmap(6, &[0, 1, 5 * 64, 0x20, u64::MAX, 5 * 64 + 1]);
        let found = parse(&[bitmap, section(0, 0, &[])]).unwrap();
        assert_eq!(found.clusters, [FileCluster(3), FileCluster(5)]);
        assert!(!found.forbids_changes);
    }

    #[test]
    fn an_unknown_necessary_section_forbids_changes() {
        let end = section(0, 0, &[]);
        let found = parse(&[section(7, NECESSARY, &[1, 2, 3]), end.clone()]).unwrap();
        assert!(found.forbids_changes);
        let found = parse(&[section(7, 2, &[1, 2, 3]), end]).unwrap();
        assert!(!found.forbids_changes);
    }

    #[test]
    fn what_is_cut_off_is_no_extension() {
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[section(7, 0, &[])]), None);
        let cut = [dirty_bitmap(u32::MAX, &[]), section(0, 0, &[])];
        assert_eq!(parse(&cut), None);
    }
}
