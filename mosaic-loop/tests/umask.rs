// SPDX-License-Identifier: MIT OR Apache-2.0
//! The umask is the process's, so this test has a process of its own.

mod common;

use std::os::unix::fs::PermissionsExt;

use common::{Images, MIB};
use mosaic_tests::Scratch;
use nix::sys::stat::{Mode, umask};

#[test]
fn images_are_private_whatever_the_umask() {
    let scratch = Scratch::new("umask").unwrap();
    let images = Images::open(scratch.path());
    for (name, mask) in [("open", 0o000), ("shut", 0o777)] {
        let before = umask(Mode::from_bits_truncate(mask));
        let created = images.create_disk(name, MIB);
        umask(before);
        created.unwrap();
        let image = std::fs::metadata(images.image(name)).unwrap();
        assert_eq!(image.permissions().mode() & 0o7777, 0o600);
    }
}
