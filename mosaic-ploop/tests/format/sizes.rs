// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every size of clusters, on real files with holes, and raw bases of odd lengths.

use std::os::unix::fs::MetadataExt;

use mosaic_ploop::format::disk::{Disk, Kind, NewDisk};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::units::{ClusterSize, DiskOffset, Sectors};
use tempfile::TempDir;

use crate::disk::{CLUSTER, CLUSTERS, V1, V2, assert_clean, fill, guid, read, read_top, small};
use crate::storage::FileFolder;

#[test]
fn all_cluster_sizes_work() {
    for (sectors, kind) in (6..=17)
        .map(|power| 1 << power)
        .flat_map(|s| [(s, V1), (s, V2)])
    {
        let cluster = ClusterSize::new(sectors).unwrap();
        let folder = TempDir::new().unwrap();
        let new = NewDisk {
            file: "root.hds",
            size: Sectors(3 * u64::from(sectors)),
            cluster,
            kind,
        };
        let mut disk = Disk::create(FileFolder::new(folder.path()), &new).unwrap();
        let write = |disk: &Disk<FileFolder>, at: u64, byte| {
            let mut chain = disk.write().unwrap();
            chain.write(&[byte; 9], DiskOffset(at)).unwrap();
            chain.close().unwrap();
        };
        write(&disk, cluster.bytes() - 4, 1);
        disk.snapshot(guid(1)).unwrap();
        write(&disk, cluster.bytes() + 2, 2);
        disk.delete(guid(1)).unwrap();
        disk.grow(Sectors(4 * u64::from(sectors))).unwrap();
        let chain = disk.read(Guid::TOP).unwrap();
        let mut around = [9; 18];
        let start = DiskOffset(cluster.bytes() - 5);
        chain.read(&mut around, start).unwrap();
        let expected = [0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0];
        assert_eq!(around, expected, "{sectors}");
        assert!(disk.check(None).unwrap().is_clean());
        let length = disk.folder().path("root.hds").metadata().unwrap().len();
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
fn a_disk_larger_than_a_machine_takes_next_to_nothing() {
    let folder = TempDir::new().unwrap();
    let cluster = ClusterSize::MAX;
    let new = NewDisk {
        file: "root.hds",
        size: Sectors(1 << 40),
        cluster,
        kind: V2,
    };
    let disk = Disk::create(FileFolder::new(folder.path()), &new).unwrap();
    let end = DiskOffset((512 << 40) - 1);
    let mut chain = disk.write().unwrap();
    chain.write(&[5], end).unwrap();
    chain.close().unwrap();
    let chain = disk.read(Guid::TOP).unwrap();
    let mut byte = [0];
    chain.read(&mut byte, end).unwrap();
    assert_eq!(byte, [5]);
    let image = disk.folder().path("root.hds").metadata().unwrap();
    let blocks = image.blocks();
    assert!(blocks * 512 < 1 << 20, "{blocks}");
}
