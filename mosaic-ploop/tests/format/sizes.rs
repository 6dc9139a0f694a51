// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every size of clusters, on real files with holes, and raw bases of odd lengths.

use std::os::unix::fs::MetadataExt;

use mosaic_ploop::format::disk::Kind;
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::units::{ClusterSize, DiskOffset, Sectors};

use crate::disk::{
    CLUSTER, CLUSTERS, RealDisk, V1, V2, assert_clean, fill, guid, read, read_top, small,
};

#[test]
fn all_cluster_sizes_work() {
    for (sectors, kind) in (6..=17)
        .map(|power| 1 << power)
        .flat_map(|s| [(s, V1), (s, V2)])
    {
        let cluster = ClusterSize::new(sectors).unwrap();
        let mut disk = RealDisk::new(kind, cluster, Sectors(3 * u64::from(sectors)));
        let write = |disk: &RealDisk, at: u64, byte| {
            let mut chain = disk.disk.write().unwrap();
            chain.write(&[byte; 9], DiskOffset(at)).unwrap();
            chain.close().unwrap();
        };
        write(&disk, 0, 3);
        write(&disk, cluster.bytes() - 4, 1);
        disk.disk.snapshot(guid(1)).unwrap();
        write(&disk, cluster.bytes() + 2, 2);
        // A part of a cluster that only the snapshot has.
        let mut chain = disk.disk.write().unwrap();
        let within = DiskOffset(cluster.bytes() - 3);
        chain.write_zeroes(within, 2).unwrap();
        chain.close().unwrap();
        let assert_as_written = |disk: &RealDisk| {
            let chain = disk.disk.read(Guid::TOP).unwrap();
            let (mut first, mut around) = ([9; 10], [9; 18]);
            chain.read(&mut first, DiskOffset(0)).unwrap();
            let start = DiskOffset(cluster.bytes() - 5);
            chain.read(&mut around, start).unwrap();
            assert_eq!(first, [3, 3, 3, 3, 3, 3, 3, 3, 3, 0], "{sectors}");
            let expected = [0, 1, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0];
            assert_eq!(around, expected, "{sectors}");
        };
        assert_as_written(&disk);
        disk.disk.delete(guid(1)).unwrap();
        disk.disk.grow(Sectors(4 * u64::from(sectors))).unwrap();
        assert_as_written(&disk);
        assert!(disk.disk.check(None).unwrap().is_clean());
        let length = disk.path("root.hds").metadata().unwrap().len();
        assert_eq!(length, 3 * cluster.bytes());
    }
}

#[test]
fn a_raw_base_that_ends_anywhere_goes_on_with_zeros() {
    for length in [0, 1, 511, CLUSTER - 1, CLUSTER + 1, 5 * CLUSTER + 513] {
        let mut disk = small(Kind::Raw);
        let length = usize::try_from(length).unwrap();
        disk.folder().put("root.hds", &vec![7; length]);
        let whole = length.next_multiple_of(usize::try_from(CLUSTER).unwrap());
        disk.check(Some(mosaic_ploop::format::check::Repair::Safe))
            .unwrap();
        let mut data = read_top(&disk);
        assert_eq!(data.len(), whole);
        assert!(data[..length].iter().all(|byte| *byte == 7));
        assert!(data[length..].iter().all(|byte| *byte == 0));
        disk.grow(Sectors(CLUSTERS * 64)).unwrap();
        data.resize(usize::try_from(CLUSTERS * CLUSTER).unwrap(), 0);
        disk.snapshot(guid(1)).unwrap();
        fill(&disk, 2 * CLUSTER, 3, 8);
        let at = usize::try_from(2 * CLUSTER).unwrap();
        let old = data.clone();
        data[at..at + 3].fill(8);
        assert!(read_top(&disk) == data && read(&disk, guid(1)) == old);
        disk.delete(guid(1)).unwrap();
        assert!(read_top(&disk) == data);
        assert_clean(&mut disk);
    }
}

#[test]
fn a_disk_of_512_tib_takes_what_is_written() {
    let disk = RealDisk::new(V2, ClusterSize::MAX, Sectors(1 << 40));
    let end = DiskOffset((512 << 40) - 1);
    let mut chain = disk.disk.write().unwrap();
    chain.write(&[5], end).unwrap();
    chain.close().unwrap();
    let chain = disk.disk.read(Guid::TOP).unwrap();
    let mut byte = [0];
    chain.read(&mut byte, end).unwrap();
    assert_eq!(byte, [5]);
    let image = disk.path("root.hds").metadata().unwrap();
    let blocks = image.blocks();
    // The table and a cluster, whole but not written.
    assert!(blocks * 512 <= (128 << 20) + (1 << 20), "{blocks}");
}
