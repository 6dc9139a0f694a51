// SPDX-License-Identifier: MIT OR Apache-2.0
//! The umask is the process's, so this test has a process of its own.

mod common;

use std::os::unix::fs::MetadataExt;

use common::Directories;
use rustix::fs::Mode;
use rustix::process::umask;

#[test]
fn volumes_are_for_their_owner_alone_whatever_the_umask() {
    let location = Directories::new();
    for (name, mask) in [("open", 0o000), ("usual", 0o022), ("shut", 0o377)] {
        let before = umask(Mode::from_bits_retain(mask));
        let created = location.create(name);
        umask(before);
        created.unwrap();
        let volume = std::fs::metadata(location.at(name)).unwrap();
        assert_eq!(volume.mode() & 0o7777, 0o700, "umask {mask:o}");
    }
}
