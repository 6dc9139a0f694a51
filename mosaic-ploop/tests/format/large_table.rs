// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images whose table has room for far more entries than the disk needs, all of it a hole.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicU64, Ordering};

use mosaic_ploop::files::{DiskFile, DiskFolder};
use mosaic_ploop::format::check::{Fault, Repair, Report, check};
use mosaic_ploop::format::storage::{Access, Folder, ImageFile};
use mosaic_ploop::format::units::{ClusterSize, FileOffset, Sectors};

use crate::disk::{MIB, RealDisk, V2};

/// Bytes before the data, the most that a header may claim.
const HEAD: u64 = 16 << 30;

/// A file that counts what is read and written.
struct Counted<'a> {
    file: DiskFile,
    bytes: &'a AtomicU64,
}

impl Counted<'_> {
    fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl ImageFile for Counted<'_> {
    fn read_at(&self, buffer: &mut [u8], at: FileOffset) -> io::Result<()> {
        self.count(buffer.len());
        self.file.read_at(buffer, at)
    }

    fn write_at(&self, data: &[u8], at: FileOffset) -> io::Result<()> {
        self.count(data.len());
        self.file.write_at(data, at)
    }

    fn next_data(&self, at: FileOffset) -> io::Result<Option<FileOffset>> {
        self.file.next_data(at)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.file.set_length(bytes)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Checks the image; no more than a few parts of it are touched.
fn check_quickly(disk: &RealDisk, repair: Option<Repair>) -> Report {
    let folder = DiskFolder::open(disk.path("").as_path()).unwrap();
    let file = folder.open("root.hds", Access::Write).unwrap();
    let bytes = &AtomicU64::new(0);
    let report = check("root.hds", Counted { file, bytes }, repair).unwrap();
    let touched = bytes.load(Ordering::Relaxed);
    assert!(touched <= MIB, "{touched}");
    report
}

#[test]
fn what_is_a_hole_behind_a_table_is_neither_read_nor_written() {
    let disk = RealDisk::new(V2, ClusterSize::MIN, Sectors(64));
    let image = File::options().write(true).open(disk.path("root.hds"));
    let image = image.unwrap();
    let first_block = u32::try_from(HEAD / 512).unwrap();
    image.write_all_at(&first_block.to_le_bytes(), 48).unwrap();
    image.set_len(HEAD).unwrap();
    assert_eq!(check_quickly(&disk, None).faults, []);
    let places = [MIB + 4, HEAD / 2 + 8, HEAD - 4];
    for place in places {
        image.write_all_at(&[1], place).unwrap();
    }
    let strays = places.map(|place| Fault::Stray(FileOffset(place)));
    assert_eq!(check_quickly(&disk, None).faults, strays);
    assert!(check_quickly(&disk, Some(Repair::Safe)).is_repaired);
    assert_eq!(check_quickly(&disk, None).faults, []);
    let taken = image.metadata().unwrap().blocks() * 512;
    assert!(taken <= MIB, "{taken}");
}
