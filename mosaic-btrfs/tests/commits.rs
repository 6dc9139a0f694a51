// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits that many ask for at the same time.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use mosaic_btrfs::{commit, ioctl};
use mosaic_tests::{MountedFs, requires_program, requires_root};

#[test]
fn root_a_commit_that_the_kernel_forgets_is_asked_for_again() {
    if !requires_root() || !requires_program("mkfs.btrfs") {
        return;
    }
    let fs = MountedFs::new("btrfs").unwrap();
    let top = File::open(fs.path()).unwrap();
    let change = &|name: String| {
        ioctl::create(top.as_fd(), &name, None).unwrap();
        let before = Instant::now();
        commit::commit(top.as_fd()).unwrap();
        before.elapsed()
    };
    let mut longest = Duration::ZERO;
    // Of many only the last one of a crowd is forgotten: those who come later wake the kernel.
    for round in 0..50 {
        std::thread::scope(|scope| {
            let two = ["a", "b"].map(|who| scope.spawn(move || change(format!("{who}{round}"))));
            for one in two {
                longest = longest.max(one.join().unwrap());
            }
        });
    }
    // The kernel commits by itself after 30 s.
    assert!(longest < Duration::from_secs(10), "{longest:?}");
}
