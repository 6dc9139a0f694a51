// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the driver takes for granted of the kernel, tried. Where one of these fails, the module
//! that it names has to be thought over.

mod common;

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use common::{Images, MIB};
use mosaic_core::Location;
use mosaic_core::busy::{Lease, LeaseOutcome, is_open_for_writing};
use mosaic_core::loopdev::ioctl;
use mosaic_core::loopdev::{Binding, LoopDevice};
use mosaic_core::volume::Lifetime;
use mosaic_loop::image::Image;
use mosaic_tests::{MountedFs, Scratch, eventually, requires_program, requires_root, volume};

fn read_write(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

fn is_alone(file: &File) -> bool {
    matches!(Lease::take(file.as_fd()).unwrap(), LeaseOutcome::Granted(_))
}

/// `image`: a query descriptor keeps nobody from a lease, any other one does.
#[test]
fn access_mode_3_is_neither_reader_nor_writer() {
    let scratch = Scratch::new("mode3").unwrap();
    let images = Images::open(scratch.path());
    images.create_disk("a", MIB).unwrap();
    let location = Location::open(scratch.path()).unwrap();
    let image = Image::require(&location, &volume("a")).unwrap();
    let claimer = read_write(&images.image("a"));
    let query = image.open_for_query().unwrap();
    // Another test that starts a program has copies of all descriptors for a moment.
    assert!(eventually(|| is_alone(&claimer)));
    assert!(rustix::io::read(&query, &mut [0; 1]).is_err());
    let reader = File::open(images.image("a")).unwrap();
    assert!(!is_alone(&claimer));
    drop(reader);
    assert!(eventually(|| is_alone(&claimer)));
}

/// `clone`: readers and writers can be told apart without looking at processes.
#[test]
fn a_read_lease_tells_writers_from_readers() {
    let scratch = Scratch::new("lease").unwrap();
    let path = scratch.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let file = File::open(&path).unwrap();
    let other = File::open(&path).unwrap();
    let answer = || is_open_for_writing(file.as_fd()).unwrap();
    assert!(eventually(|| answer() == Some(false)));
    drop(other);
    let writer = OpenOptions::new().write(true).open(&path).unwrap();
    assert_eq!(is_open_for_writing(file.as_fd()).unwrap(), Some(true));
    drop(writer);
    let again = || is_open_for_writing(file.as_fd()).unwrap();
    assert!(eventually(|| again() == Some(false)));
}

/// `claim`: a loop device counts as one that has its file open.
#[test]
fn root_a_bound_file_gets_no_lease_on_any_file_system() {
    for fs in ["ext4", "xfs", "btrfs"] {
        if !requires_root() || !requires_program(&format!("mkfs.{fs}")) {
            return;
        }
        let location = MountedFs::new(fs).unwrap();
        let path = location.path().join("image");
        File::create(&path).unwrap().set_len(MIB).unwrap();
        let file = read_write(&path);
        assert!(eventually(|| is_alone(&file)), "{fs}");
        let device = bind(&file, &path, Lifetime::Mount);
        drop(file);
        assert!(!is_alone(&read_write(&path)), "{fs}");
        drop(device);
        assert!(eventually(|| is_alone(&read_write(&path))));
    }
}

/// `loopdev`: LOOP_CLR_FD answers 0 while another opener keeps the device, and sets autoclear.
#[test]
fn root_clearing_a_device_that_others_have_open_lies() {
    if !requires_root() {
        return;
    }
    let scratch = Scratch::new("clear").unwrap();
    let path = scratch.path().join("image");
    File::create(&path).unwrap().set_len(MIB).unwrap();
    let device = bind(&read_write(&path), &path, Lifetime::Explicit);
    let opener = File::open(device.path()).unwrap();
    ioctl::clear(&device).unwrap();
    let status = device.status().unwrap().unwrap();
    assert!(status.autoclear, "it goes with its last opener");
    let number = device.number();
    drop((device, opener));
    let gone = || {
        let device = LoopDevice::open(number, rustix::fs::OFlags::RDONLY).unwrap();
        let now = device.status().unwrap();
        now.is_none_or(|now| now.backing != status.backing)
    };
    assert!(eventually(gone));
}

/// `loopdev`: without a lease one file would be bound twice without a word.
#[test]
fn root_one_file_can_be_bound_to_two_devices() {
    if !requires_root() {
        return;
    }
    let scratch = Scratch::new("twice").unwrap();
    let path = scratch.path().join("image");
    File::create(&path).unwrap().set_len(MIB).unwrap();
    let one = bind(&read_write(&path), &path, Lifetime::Mount);
    let other = bind(&read_write(&path), &path, Lifetime::Mount);
    assert_ne!(one.number(), other.number());
}

/// `attach`: O_EXCL is refused while somebody else has claimed the device.
#[test]
fn root_an_exclusive_open_is_refused_to_the_second() {
    if !requires_root() {
        return;
    }
    let scratch = Scratch::new("excl").unwrap();
    let path = scratch.path().join("image");
    File::create(&path).unwrap().set_len(MIB).unwrap();
    let device = bind(&read_write(&path), &path, Lifetime::Mount);
    let exclusive = || {
        OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_EXCL)
            .open(device.path())
    };
    let first = exclusive().unwrap();
    assert!(exclusive().is_err());
    drop(first);
    assert!(eventually(|| exclusive().is_ok()));
}

fn bind(file: &File, path: &Path, lifetime: Lifetime) -> LoopDevice {
    let how = Binding {
        read_only: false,
        lifetime,
        path,
        window: None,
    };
    LoopDevice::bind(file.as_fd(), &how).unwrap()
}
