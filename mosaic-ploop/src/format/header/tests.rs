// SPDX-License-Identifier: MIT OR Apache-2.0

use zerocopy::{FromBytes, IntoBytes};

use super::*;

const MIB: u64 = 2048;

/// The header of a V2 image of 64 MiB with 1 MiB clusters, as libploop writes it.
const V2_64_MIB: [u8; 64] = [
    0x57, 0x69, 0x74, 0x68, 0x6f, 0x75, 0x46, 0x72, 0x65, 0x53, 0x70, 0x61, 0x63, 0x45, 0x78, 0x74,
    0x02, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00,
    0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x08, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
];

fn cluster(sectors: u32) -> ClusterSize {
    ClusterSize::new(sectors).unwrap()
}

fn new(version: Version, sectors: u32, size: u64) -> Header {
    Header::new(version, cluster(sectors), Sectors(size)).unwrap()
}

fn parse(raw: &RawHeader) -> Result<Header, HeaderFault> {
    Header::try_from(raw)
}

#[test]
fn vector_1_a_new_header_is_that_of_libploop_to_the_byte() {
    let v2 = new(Version::V2, 2048, 64 * MIB);
    assert_eq!(RawHeader::from(&v2).as_bytes(), V2_64_MIB);
    let raw = RawHeader::read_from_bytes(&V2_64_MIB).unwrap();
    assert_eq!(parse(&raw).unwrap(), v2);
    let v1 = RawHeader::from(&new(Version::V1, 2048, 64 * MIB));
    assert_eq!(&v1.as_bytes()[..16], b"WithoutFreeSpace");
    assert_eq!(v1.as_bytes()[16..], V2_64_MIB[16..]);
}

#[test]
fn vector_3_data_begins_at_a_cluster_behind_the_bat() {
    for (sectors, first_block) in [(64, 128), (128, 128), (2048, 2048), (131_072, 131_072)] {
        let header = new(Version::V2, sectors, 256 * MIB);
        assert_eq!(header.first_block, first_block, "{sectors}");
        assert!(header.is_writable());
    }
}

#[test]
fn vector_4_the_size_is_rounded_up_to_clusters() {
    let header = new(Version::V2, 2048, 100_001);
    assert_eq!(header.size, Sectors(100_352));
    let geometry = header.geometry;
    let sectors = geometry.sectors(header.size);
    assert_eq!((geometry.cylinders, geometry.heads, sectors), (196, 16, 32));
}

#[test]
fn the_size_is_rounded_down_where_the_format_ends() {
    let max = Version::V1.max_size(cluster(2048));
    let largest = new(Version::V1, 2048, max.0);
    assert_eq!(largest.size, Sectors((1 << 32) - 2048));
    let beyond = Header::new(Version::V1, cluster(2048), Sectors(1 << 32));
    assert!(matches!(beyond, Err(SizeFault::TooLarge { .. })));
    let max = Version::V2.max_size(cluster(64));
    assert_eq!(new(Version::V2, 64, max.0).entries, u32::MAX);
    assert!(Header::new(Version::V2, cluster(64), Sectors(max.0 + 1)).is_err());
    let zero = Header::new(Version::V2, cluster(64), Sectors(0));
    assert_eq!(zero, Err(SizeFault::Zero));
    assert!(Header::new(Version::V2, cluster(131_072), Sectors(u64::MAX)).is_err());
}

#[test]
fn data_never_begins_earlier_than_it_did() {
    let mut header = new(Version::V2, 64, 2048 * MIB);
    assert_eq!(header.first_block, 576);
    header.resize(Sectors(MIB)).unwrap();
    assert_eq!((header.first_block, header.entries), (576, 32));
    assert!(header.resize(Sectors(0)).is_err());
    assert_eq!(header.size, Sectors(MIB));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let good = RawHeader::read_from_bytes(&V2_64_MIB).unwrap();
    let with = |change: &dyn Fn(&mut RawHeader)| {
        let mut raw = good;
        change(&mut raw);
        parse(&raw).unwrap_err()
    };
    assert_eq!(with(&|raw| raw.signature[3] = 0), HeaderFault::Signature);
    assert_eq!(with(&|raw| raw.kind = 1.into()), HeaderFault::Type(1));
    assert_eq!(with(&|raw| raw.cluster = 0.into()), HeaderFault::Cluster(0));
    let fault = with(&|raw| raw.cluster = u32::MAX.into());
    assert_eq!(fault, HeaderFault::Cluster(u32::MAX));
    let fault = with(&|raw| raw.entries = (1 << 20).into());
    assert!(matches!(fault, HeaderFault::FirstBlock { .. }));
    let fault = with(&|raw| raw.first_block = u32::MAX.into());
    assert!(matches!(fault, HeaderFault::FirstBlock { .. }));
    for size in [131_073_u64, 1 << 32, u64::MAX] {
        let fault = with(&|raw| raw.size = size.into());
        assert!(matches!(fault, HeaderFault::Size { .. }), "{size}");
    }
    let header = parse(&good).unwrap();
    assert!(header.check_length(1 << 20).is_ok());
    let fault = header.check_length((1 << 20) - 1).unwrap_err();
    assert!(matches!(fault, HeaderFault::Truncated { .. }));
}

#[test]
fn what_only_qemu_reads_is_read_and_not_written() {
    let mut raw = RawHeader::from(&new(Version::V1, 64, 10 * 64));
    raw.cluster = 63.into();
    raw.size = 630.into();
    raw.first_block = 0.into();
    let header = parse(&raw).unwrap();
    assert!(!header.is_writable());
    assert_eq!(header.data_start(), FileOffset(512));
    raw.cluster = 64.into();
    assert!(!parse(&raw).unwrap().is_writable());
    raw.first_block = 96.into();
    assert!(!parse(&raw).unwrap().is_writable());
}

#[test]
fn the_mark_says_whether_the_extension_is_valid() {
    let mut raw = RawHeader::from(&new(Version::V2, 64, 64));
    raw.extension = 128.into();
    assert_eq!(parse(&raw).unwrap().valid_extension(), None);
    raw.mark = u32::from_le_bytes(*b"v2.1").into();
    let header = parse(&raw).unwrap();
    assert_eq!(header.valid_extension(), Some(FileOffset(65_536)));
    raw.mark = u32::from_le_bytes(*b"Ynot").into();
    let header = parse(&raw).unwrap();
    assert_eq!((header.mark, header.valid_extension()), (Mark::InUse, None));
    assert_eq!(RawHeader::from(&header), raw);
    raw.mark = 7.into();
    assert_eq!(parse(&raw).unwrap().mark, Mark::Closed);
}

#[test]
fn a_v1_size_has_only_its_lower_half() {
    let mut raw = RawHeader::from(&new(Version::V1, 64, 640));
    raw.size = ((7 << 32) | 640).into();
    assert_eq!(parse(&raw).unwrap().size, Sectors(640));
}
