// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small disks, and what tests do to them.

use std::path::PathBuf;

use mosaic_ploop::files::DiskFolder;
use mosaic_ploop::format::Result;
use mosaic_ploop::format::chain::Chain;
use mosaic_ploop::format::disk::{Disk, Kind, NewDisk};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::header::Version;
use mosaic_ploop::format::units::{ClusterSize, DiskOffset, Sectors};

use tempfile::TempDir;

use crate::storage::{MemFile, MemFolder};

/// Bytes of a cluster of [`small`].
pub const CLUSTER: u64 = 64 * 512;
/// Clusters of [`small`].
pub const CLUSTERS: u64 = 12;
pub const MIB: u64 = 1 << 20;

pub type MemDisk = Disk<MemFolder>;

pub const V1: Kind = Kind::Expanded(Version::V1);
pub const V2: Kind = Kind::Expanded(Version::V2);
/// Each way to make a disk.
pub const KINDS: [Kind; 4] = [V1, V2, Kind::Preallocated(Version::V2), Kind::Raw];

/// A new disk of the smallest clusters.
pub fn small(kind: Kind) -> MemDisk {
    new(kind, ClusterSize::MIN, CLUSTERS * CLUSTER)
}

/// A new disk of some size in bytes.
pub fn new(kind: Kind, cluster: ClusterSize, bytes: u64) -> MemDisk {
    let new = NewDisk {
        file: "root.hds",
        size: Sectors(bytes / 512),
        cluster,
        kind,
    };
    Disk::create(MemFolder::default(), &new).unwrap()
}

/// A disk of real files.
pub struct RealDisk {
    pub disk: Disk<DiskFolder>,
    folder: TempDir,
}

impl RealDisk {
    /// A new disk, with `root.hds`.
    pub fn new(kind: Kind, cluster: ClusterSize, size: Sectors) -> Self {
        let folder = TempDir::new().unwrap();
        let new = NewDisk {
            file: "root.hds",
            size,
            cluster,
            kind,
        };
        let files = DiskFolder::open(folder.path()).unwrap();
        let disk = Disk::create(files, &new).unwrap();
        Self { disk, folder }
    }

    /// The disk in a folder that has one.
    pub fn open(folder: TempDir) -> Self {
        let files = DiskFolder::open(folder.path()).unwrap();
        let disk = Disk::open(files).unwrap();
        Self { disk, folder }
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// For a new top that nobody has to lock.
pub fn unclaimed(_: &MemFolder, _: &str) -> Result<()> {
    Ok(())
}

/// The name of a snapshot.
pub fn guid(number: u8) -> Guid {
    Guid::from_random([number; 16])
}

/// Writes to the disk through its chain, and closes it.
pub fn write(disk: &MemDisk, at: u64, data: &[u8]) {
    change(disk, |chain| chain.write(data, DiskOffset(at)).unwrap());
}

/// Writes the same byte all over a range.
pub fn fill(disk: &MemDisk, at: u64, bytes: u64, byte: u8) {
    write(disk, at, &vec![byte; usize::try_from(bytes).unwrap()]);
}

/// Does something to the open disk, and closes it.
pub fn change<T>(disk: &MemDisk, work: impl FnOnce(&mut Chain<MemFile>) -> T) -> T {
    let mut chain = disk.write().unwrap();
    let done = work(&mut chain);
    chain.close().unwrap();
    done
}

/// All that a shot has.
pub fn read(disk: &MemDisk, shot: Guid) -> Vec<u8> {
    let chain = disk.read(shot).unwrap();
    let mut bytes = vec![0xee; usize::try_from(chain.size().bytes()).unwrap()];
    chain.read(&mut bytes, DiskOffset(0)).unwrap();
    bytes
}

/// All that the disk has now.
pub fn read_top(disk: &MemDisk) -> Vec<u8> {
    read(disk, disk.descriptor().top())
}

/// The file of a shot.
pub fn file(disk: &MemDisk, shot: Guid) -> String {
    disk.descriptor().file(shot).unwrap().to_owned()
}

/// The BAT of a shot: clusters of the disk and their entries.
pub fn bat(disk: &MemDisk, shot: Guid) -> Vec<(u32, u32)> {
    let chain = disk.read(shot).unwrap();
    let delta = chain.top().delta().unwrap();
    let entries = delta.bat().allocated();
    entries
        .map(|(cluster, entry)| (cluster.0, entry.0))
        .collect()
}

/// Asserts that nothing is wrong with the disk, and nothing is left of any operation.
pub fn assert_clean(disk: &mut MemDisk) {
    let report = disk.check(None).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.stale_size, None);
    let known = disk.descriptor().images().iter().map(|image| &image.file);
    let mut known: Vec<_> = known.cloned().collect();
    known.push("DiskDescriptor.xml".to_owned());
    known.sort();
    assert_eq!(disk.folder().names(), known);
}
