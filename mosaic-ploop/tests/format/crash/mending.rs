// SPDX-License-Identifier: MIT OR Apache-2.0
//! What puts a disk in order that another program left, or makes it fit for one.

use mosaic_ploop::format::disk::{Disk, Kind};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::units::DiskOffset;

use super::operations::with_snapshot;
use super::survives;
use crate::disk::{CLUSTER, MemDisk, V1, V2, fill, guid, read, read_top};

const DESCRIPTOR: &str = "DiskDescriptor.xml";
const OTHER: &str = "DiskDescriptor.xml.tmp";

/// A snapshot of libploop that was killed before its descriptor was the disk's, while the kernel wrote
/// on: the new top has data, and is marked in use.
fn interrupted_snapshot() -> MemDisk {
    let mut disk = with_snapshot(V2);
    let folder = disk.folder().clone();
    let old = folder.bytes(DESCRIPTOR);
    disk.snapshot(guid(2)).unwrap();
    let mut chain = disk.write().unwrap();
    chain.write(&[6; 3000], DiskOffset(CLUSTER)).unwrap();
    chain.flush().unwrap();
    drop(chain);
    folder.put(OTHER, &folder.bytes(DESCRIPTOR));
    folder.put(DESCRIPTOR, &old);
    let disk = Disk::open(folder).unwrap();
    assert!(disk.newer_elsewhere().unwrap().is_some());
    disk
}

#[test]
fn end_the_snapshot_of_another_program() {
    survives(interrupted_snapshot, |disk| {
        disk.finish_interrupted()?;
        assert!(disk.descriptor().shot(guid(2)).is_some());
        Ok(())
    });
}

/// A merge of libploop that was killed when the snapshot had all of the top.
fn interrupted_merge(kind: Kind) -> MemDisk {
    let mut done = with_snapshot(kind);
    done.delete(guid(1)).unwrap();
    let disk = with_snapshot(kind);
    let folder = disk.folder().clone();
    folder.put("root.hds", &done.folder().bytes("root.hds"));
    folder.put(OTHER, &done.folder().bytes(DESCRIPTOR));
    let disk = Disk::open(folder).unwrap();
    assert!(read(&disk, guid(1)) == read_top(&disk));
    disk
}

#[test]
fn end_the_merge_of_another_program() {
    for setup in [|| interrupted_merge(V1), || interrupted_merge(V2)] {
        survives(setup, |disk| {
            disk.settle()?;
            let shot = disk.descriptor().shot(guid(1));
            assert!(shot.is_none_or(|shot| shot.temporary.is_some()));
            disk.delete_temporary()
        });
    }
}

#[test]
fn write_zeros_to_holes() {
    let setup = || {
        let disk = with_snapshot(V2);
        fill(&disk, 6 * CLUSTER, 2 * CLUSTER, 0);
        disk
    };
    survives(setup, |disk| {
        for shot in [guid(1), Guid::TOP] {
            let file = disk.descriptor().file(shot).unwrap().to_owned();
            assert!(disk.fill_holes(&file, || true)? > 0);
        }
        Ok(())
    });
}

#[test]
fn forget_paths() {
    let setup = || {
        let disk = with_snapshot(V2);
        let folder = disk.folder().clone();
        let text = disk.descriptor().to_string();
        let paths = text.replace(">root.hds", ">/memory/root.hds");
        assert_ne!(text, paths);
        folder.put(DESCRIPTOR, paths.as_bytes());
        Disk::open(folder).unwrap()
    };
    survives(setup, |disk| {
        disk.forget_paths()?;
        let stored = disk.folder().bytes(DESCRIPTOR);
        assert!(!String::from_utf8(stored).unwrap().contains("/memory/"));
        Ok(())
    });
}
