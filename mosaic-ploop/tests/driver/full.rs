// SPDX-License-Identifier: MIT OR Apache-2.0
//! A location that runs full under a disk in use: what fails says so, and nothing is lost.

use std::fs::File;
use std::os::unix::fs::FileExt;

use mosaic_core::{Driver, ErrorKind};
use mosaic_ploop::format::pages::{PAGE, Pages};
use mosaic_tests::{
    MountedFs, block_servers_beneath, eventually, requires_program, requires_root, requires_time,
};
use rustix::fs::{Mode, OFlags};

use super::common::{Disks, MIB, volume};

/// What is left to the disk each time is so much more, in bytes.
const STEP: u64 = 96 << 10;

/// Takes all there is.
fn fill(disks: &Disks) -> File {
    let filler = File::create(disks.file("filler")).unwrap();
    fill_again(&filler);
    filler
}

/// Takes what the file system has given back meanwhile: some do that late.
fn fill_again(filler: &File) {
    let block = [1; 4096];
    let mut end = filler.metadata().unwrap().len();
    // What is written is allocated only when it is synced.
    while filler.write_all_at(&block, end).is_ok()
        && (!end.is_multiple_of(MIB) || filler.sync_all().is_ok())
    {
        end += block.len() as u64;
    }
    let _ = filler.sync_all();
}

/// A disk "a" of 64 MiB, attached, and its device without the page cache.
fn attached_on(location: &MountedFs) -> (Disks, File) {
    let disks = Disks::open(location.path(), &[]);
    disks.create_disk("a", 64 * MIB).unwrap();
    let attached = disks.driver.attach(&volume("a"), false).unwrap();
    let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    let device = rustix::fs::open(&attached.device, flags, Mode::empty());
    let device = File::from(device.unwrap());
    (disks, device)
}

/// At more and more of the way through freezing the disk and making the clone there is no space.
#[test]
fn root_a_disk_in_use_outlives_clones_for_which_there_is_no_space() {
    if !requires_time() || !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let location = MountedFs::new("ext4").unwrap();
    let (disks, device) = attached_on(&location);
    let mut page = Pages::new(PAGE);
    let mut write = |byte| {
        page.bytes_mut().fill(byte);
        let written = device.write_all_at(page.bytes(), 8 * MIB);
        written.and_then(|()| device.sync_all())
    };
    let mut page = Pages::new(PAGE);
    let mut read = || {
        device.read_exact_at(page.bytes_mut(), 8 * MIB).unwrap();
        let first = page.bytes()[0];
        assert!(page.bytes().iter().all(|byte| *byte == first));
        first
    };
    write(1).unwrap();
    let mut expected = 1;
    let filler = fill(&disks);
    let (mut failed, mut refused) = (0, 0);
    while let Err(error) = disks.clone("a", "b", None) {
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", error.chain());
        assert!(disks.leftovers().is_empty());
        failed += 1;
        assert_eq!(read(), expected);
        let next = expected % 100 + 1;
        match write(next) {
            Ok(()) => expected = next,
            // Upon the snapshot of a clone that failed later it needs a cluster.
            Err(_) => refused += 1,
        }
        assert_eq!(read(), expected, "{refused} refused");
        let length = filler.metadata().unwrap().len();
        filler.set_len(length.checked_sub(STEP).unwrap()).unwrap();
        filler.sync_all().unwrap();
    }
    assert!(failed > 2 && refused > 0, "{failed} {refused}");
    filler.set_len(0).unwrap();
    assert_eq!(disks.read("b", 8 * MIB, 1), [expected]);
    write(200).unwrap();
    assert_eq!(read(), 200);
    drop(device);
    disks.driver.detach(&volume("a")).unwrap();
    assert!(eventually(|| block_servers_beneath(&disks.path).is_empty()));
    assert_eq!(disks.read("a", 8 * MIB, 1), [200]);
    assert_eq!(disks.read("b", 8 * MIB, 1), [expected]);
    assert!(disks.disk("a").check(None).unwrap().is_clean());
}

/// The kernel says no more of a device whose server has no space than that it failed.
#[test]
fn root_a_detach_says_that_there_is_no_space_and_goes_when_there_is() {
    if !requires_time() || !requires_root() || !requires_program("mkfs.btrfs") {
        return;
    }
    // Where a table is written to new blocks.
    let location = MountedFs::new("btrfs").unwrap();
    let (disks, device) = attached_on(&location);
    let mut page = Pages::new(PAGE);
    page.bytes_mut().fill(1);
    device.write_all_at(page.bytes(), 8 * MIB).unwrap();
    let filler = fill(&disks);
    drop(device);
    for _ in 0..2 {
        fill_again(&filler);
        let refused = disks.driver.detach(&volume("a")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NoSpace, "{}", refused.chain());
        assert!(refused.chain().contains("it stays attached"));
    }
    filler.set_len(0).unwrap();
    filler.sync_all().unwrap();
    disks.driver.detach(&volume("a")).unwrap();
    assert!(eventually(|| block_servers_beneath(&disks.path).is_empty()));
    assert_eq!(disks.read("a", 8 * MIB, 1), [1]);
    assert!(disks.disk("a").check(None).unwrap().is_clean());
}
